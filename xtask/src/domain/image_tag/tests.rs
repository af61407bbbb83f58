//! Composing, parsing, counting and refusing tags.

use chrono::NaiveDate;
use proptest::prelude::*;

use super::{ImageTagTemplate, TagParts, next_revision};

const TEMPLATE: &str = "v{date}-{flavor}-r{revision}-llamacpp-opencode-{opencode}-manager-{manager}";
const TAG: &str = "v20260227-llamacpp-opencode-openclaw-r30-llamacpp-opencode-1.2.15-manager-v0.9.04";
const FLAVOR: &str = "llamacpp-opencode-openclaw";

fn template() -> ImageTagTemplate {
    ImageTagTemplate::parse(TEMPLATE).unwrap()
}

fn parts(flavor: &str, revision: u32, opencode: &str, manager: &str) -> TagParts {
    TagParts {
        date: NaiveDate::from_ymd_opt(2026, 2, 27).unwrap(),
        flavor: flavor.to_owned(),
        revision,
        components: [("opencode", opencode), ("manager", manager)].map(|(a, b)| (a.to_owned(), b.to_owned())).into(),
    }
}

#[test]
fn a_known_tag_is_composed_and_parsed() {
    let parts = parts(FLAVOR, 30, "1.2.15", "v0.9.04");
    let tag = template().compose(&parts).unwrap();
    assert_eq!(tag.as_str(), TAG);
    assert_eq!(template().parse_tag(TAG).unwrap(), parts);
    assert_eq!(serde_json::to_value(&tag).unwrap(), TAG);
    let expected = serde_json::json!({
        "date": "2026-02-27", "flavor": FLAVOR, "revision": 30,
        "components": { "manager": "v0.9.04", "opencode": "1.2.15" },
    });
    assert_eq!(serde_json::to_value(&parts).unwrap(), expected);
}

#[test]
fn awkward_flavors_and_versions_are_composed_and_parsed() {
    for (flavor, opencode, manager) in [
        ("r1", "1.2.15", "v0.9.04"),
        ("a-r3", "1.2.15", "v0.9.04"),
        ("a-r3-r4", "1.2.15", "v0.9.04"),
        ("a-r3-llamacpp", "1.2.15", "v0.9.04"),
        ("llamacpp-opencode-x-manager-y", "1.2.15", "v0.9.04"),
        ("a.b_c", "1.2.15-beta.1", "precompiled-2026-09-11-157eb19"),
        ("a", "0.0.0-dev-", "_x"),
        ("a", "r5", "r6-llamacpp-opencode-1"),
    ] {
        let parts = parts(flavor, 7, opencode, manager);
        let tag = template().compose(&parts).unwrap();
        assert_eq!(template().parse_tag(tag.as_str()).unwrap(), parts, "{tag}");
    }
}

#[test]
fn an_ambiguous_tag_is_neither_composed_nor_parsed() {
    for (flavor, opencode, manager, culprit) in [
        ("a-r3-llamacpp-opencode-b", "1", "2", "flavor"),
        ("a", "1-manager-2", "3", "opencode"),
        ("a", "1-r4-llamacpp-opencode-2", "3", "flavor"),
    ] {
        let message = template().compose(&parts(flavor, 7, opencode, manager)).unwrap_err().to_string();
        assert!(
            message.contains("is ambiguous") && message.contains(&format!("part `{culprit}` can be read in two")),
            "{message}"
        );
    }
    let text = "v20260227-a-r7-llamacpp-opencode-1-manager-2-manager-3";
    assert!(template().parse_tag(text).is_err());
}

#[test]
fn an_error_names_the_part() {
    for (flavor, revision, opencode, manager, expected) in [
        ("", 1, "1", "1", "part `flavor` of the image tag cannot be ``: it is empty"),
        ("a b", 1, "1", "1", "part `flavor`"),
        ("-a", 1, "1", "1", "part `flavor`"),
        ("a-", 1, "1", "1", "part `flavor`"),
        (
            "a",
            1,
            "1.2.3+linux.5",
            "1",
            "`opencode` of the image tag cannot be `1.2.3+linux.5`: `+` starts build metadata",
        ),
        ("a", 1, "1", "v1\n;rm -rf", r"part `manager` of the image tag cannot be `v1\n;rm -rf`"),
        ("a", 1, "1", "{{x}}", "part `manager`"),
        ("a", 1, "1", "\u{ff11}", r"cannot be `\u{ff11}`"),
        ("a", 1, ".1", "1", "part `opencode`"),
        ("a", 1_000_000_000, "1", "1", "part `revision`"),
    ] {
        let message = template().compose(&parts(flavor, revision, opencode, manager)).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_length_is_limited() {
    let fixed = template().compose(&parts("a", 1, "1", "2")).unwrap().as_str().len();
    let fits = parts(&"f".repeat(129 - fixed), 1, "1", "2");
    assert_eq!(template().compose(&fits).unwrap().as_str().len(), 128);
    let too_long = parts(&"f".repeat(130 - fixed), 1, "1", "2");
    let message = template().compose(&too_long).unwrap_err().to_string();
    assert!(message.contains("has 129 bytes, registries accept at most 128"), "{message}");
    assert!(message.contains(&format!("longest part is `flavor` with {}", 130 - fixed)), "{message}");
}

#[test]
fn components_are_those_of_the_template() {
    let mut parts = parts("a", 1, "1", "2");
    parts.components.insert("node".to_owned(), "24".to_owned());
    let message = template().compose(&parts).unwrap_err().to_string();
    assert!(message.contains("no place for `node`"), "{message}");
    parts.components.remove("node");
    parts.components.remove("manager");
    let message = template().compose(&parts).unwrap_err().to_string();
    assert!(message.contains("needs a value for `manager`"), "{message}");
}

#[test]
fn dates_outside_four_digit_years_are_refused() {
    for year in [-1, 10_000] {
        let date = NaiveDate::from_ymd_opt(year, 1, 1).unwrap();
        assert!(template().compose(&TagParts { date, ..parts("a", 1, "1", "2") }).is_err());
    }
}

#[test]
fn other_texts_are_not_tags() {
    for text in [
        "",
        "latest",
        "v20260227",
        "v20260230-a-r1-llamacpp-opencode-1-manager-2",
        "v20260227-a-r01-llamacpp-opencode-1-manager-2",
        "v20260227-a-r-llamacpp-opencode-1-manager-2",
        "v20260227-a-r4294967296-llamacpp-opencode-1-manager-2",
        "v20260227-a-r+1-llamacpp-opencode-1-manager-2",
        "v20260227-a-r1-llamacpp-opencode-1-manager-",
        "v20260227-a-r1-llamacpp-opencode-1-manager-2\n",
        "v20260227--r1-llamacpp-opencode-1-manager-2",
        " v20260227-a-r1-llamacpp-opencode-1-manager-2",
        &format!("{TAG}{}", "0".repeat(100)),
    ] {
        let message = template().parse_tag(text).unwrap_err().to_string();
        assert!(message.contains("is not an image tag of the template"), "{message}");
    }
}

#[test]
fn the_revision_continues_across_days() {
    let tags = [
        "v20260225-llamacpp-opencode-openclaw-r9-llamacpp-opencode-1.2.12-manager-v0.9.03",
        TAG,
        "v20260228-llamacpp-opencode-openclaw-r4-llamacpp-opencode-1.2.15-manager-v0.9.05",
        "v20260228-llamacpp-opencode-r77-llamacpp-opencode-1.2.15-manager-v0.9.05",
        "v20260228-llamacpp-opencode-openclaw-r088-llamacpp-opencode-1.2.15-manager-v0.9.05",
        "v1.0.0",
        "",
    ];
    let next = |flavor| next_revision(&template(), tags.into_iter(), flavor);
    assert_eq!(next(FLAVOR), 31);
    assert_eq!(next("llamacpp-opencode"), 78);
    assert_eq!(next("other"), 1);
    let last = "v20260228-a-r999999999-llamacpp-opencode-1-manager-2";
    assert_eq!(next_revision(&template(), [last].into_iter(), "a"), 1_000_000_000);
}

fn any_parts() -> impl Strategy<Value = TagParts> {
    // Flavors and versions made of the template's own words, to provoke ambiguity.
    let flavor = "(a|r[0-9]|r|llamacpp|opencode|manager|1\\.2)([-._](a|r[0-9]|llamacpp-opencode|manager|r)){0,4}";
    let value = "v?[0-9]\\.[0-9]{1,2}\\.[0-9]{1,2}(-(beta\\.[0-9]|manager-[0-9]|r[0-9]-llamacpp-opencode-1)){0,2}";
    (0..3_000_000_i32, flavor, 0..1_000_000_000_u32, value, value).prop_map(
        |(days, flavor, revision, opencode, manager)| {
            let date = NaiveDate::from_num_days_from_ce_opt(days + 366).unwrap();
            TagParts { date, ..parts(&flavor, revision, &opencode, &manager) }
        },
    )
}

proptest! {
    #[test]
    fn composed_tags_parse_to_the_same_parts(parts in any_parts()) {
        // It may be too long or ambiguous, but is never composed to something else.
        if let Ok(tag) = template().compose(&parts) {
            prop_assert!(tag.as_str().len() <= 128);
            prop_assert_eq!(template().parse_tag(tag.as_str()), Ok(parts));
        }
    }

    #[test]
    fn ordinary_parts_can_be_composed(
        flavor in "[a-z]{1,8}(-[a-z]{2,8}){0,3}",
        revision in 0..100_000_u32,
        opencode in "[0-9]{1,2}\\.[0-9]{1,2}\\.[0-9]{1,2}",
        manager in "v?[0-9]\\.[0-9]{1,2}\\.[0-9]{1,2}",
    ) {
        let parts = parts(&flavor, revision, &opencode, &manager);
        let tag = template().compose(&parts).unwrap();
        prop_assert_eq!(template().parse_tag(tag.as_str()), Ok(parts));
    }

    #[test]
    fn parsed_tags_compose_to_the_same_text(
        text in prop_oneof![any::<String>(), "v2026022[0-9]-[a-r1-]{1,9}-r[0-9]{1,3}-llamacpp-opencode-[a-z0-9.-]{1,9}-manager-[a-z0-9.-]{1,9}"],
    ) {
        if let Ok(parts) = template().parse_tag(&text) {
            let tag = template().compose(&parts).unwrap();
            prop_assert_eq!(tag.as_str(), text);
        }
    }
}
