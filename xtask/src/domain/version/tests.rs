//! Tests of all schemes: hostile text, total order, and the published order of real tags.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::{Key, Scheme, Version};

const VALID: [(Scheme, &str); 8] = [
    (Scheme::Semver, "1.18.21"),
    (Scheme::Dotted, "v0.9.04"),
    (Scheme::Calver, "2026.2.2-3"),
    (Scheme::Build, "b11457"),
    (Scheme::Precompiled, "precompiled-2026-09-11-157eb19"),
    (Scheme::Commit, "c56d5d5940b23921b0e817c97477293493da8d70"),
    (Scheme::Snapshot, "20261124T000000Z"),
    (Scheme::Tag, "trixie-slim"),
];

#[test]
fn the_examples_in_messages_are_valid() {
    for (scheme, text) in VALID {
        assert_eq!(scheme.described().example, text);
        let version = scheme.parse(text).unwrap();
        assert_eq!((version.as_str(), version.to_string().as_str()), (text, text));
        assert_eq!(serde_json::to_value(&version).unwrap(), text);
    }
}

#[test]
fn schemes_are_spelled_as_in_the_stack_table() {
    for (scheme, _) in VALID {
        assert_eq!(serde_json::to_value(scheme).unwrap(), scheme.to_string());
        assert_eq!(serde_json::from_value::<Scheme>(scheme.to_string().into()).unwrap(), scheme);
    }
    assert!(serde_json::from_value::<Scheme>("Semver".into()).is_err());
}

#[test]
fn every_scheme_refuses_hostile_text() {
    let hostile = [
        "\n", "{{", "}}", "{%", "`id`", "$(id)", "'", "\"", "\\", " ", "\t", "\0", "\r\n", "/", "..", "/../", "%2e",
        "#", "&", "|", ">", "\u{7f}", "\u{ff11}", "\u{0661}", "\u{202e}", "\u{feff}", "+x", ";rm -rf",
    ];
    for (scheme, text) in VALID {
        for bad in hostile {
            for text in [format!("{text}{bad}"), format!("{bad}{text}"), bad.to_owned()] {
                let message = scheme.parse(&text).unwrap_err().to_string();
                assert!(message.contains(&format!("a {scheme} version")), "{message}");
                assert!(message.contains("expected") && message.contains("such as"), "{message}");
                assert!(message.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{message}");
            }
        }
        for text in [String::new(), format!("{text}{}", "0".repeat(4096)), "9".repeat(129)] {
            assert!(scheme.parse(&text).is_err(), "{scheme} {text}");
        }
    }
}

#[test]
fn real_tags_sort_as_they_were_published() {
    for scheme in [Scheme::Semver, Scheme::Dotted, Scheme::Calver, Scheme::Build] {
        let versions = read(scheme);
        assert!(versions.len() > 10);
        for pair in versions.windows(2) {
            assert!(pair[0] < pair[1], "{} is not before {}", pair[0], pair[1]);
        }
        let mut sorted = versions.clone();
        sorted.reverse();
        sorted.sort();
        assert_eq!(sorted, versions);
    }
}

#[test]
fn real_convex_tags_sort_by_day() {
    let versions = read(Scheme::Precompiled);
    let same_day = |pair: &[Version]| match (&pair[0].key, &pair[1].key) {
        (Key::Precompiled(one), Key::Precompiled(other)) => one == other,
        _ => false,
    };
    for pair in versions.windows(2) {
        assert!(pair[0] < pair[1] || same_day(pair), "{} is not before {}", pair[0], pair[1]);
    }
    // Within a day, text and publication have different orders.
    assert!(versions.windows(2).any(|pair| same_day(pair) && pair[0] > pair[1]));
}

/// Reads a file of testdata/order: `#` comments, then a tag and its date on each line.
/// The dates must be ascending.
fn read(scheme: Scheme) -> Vec<Version> {
    let list = fs_err::read_to_string(format!("{}/testdata/order/{scheme}.txt", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<_> = lines.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
    assert!(lines.is_sorted_by_key(|(_, date)| *date));
    lines.into_iter().map(|(tag, _)| scheme.parse(tag).unwrap()).collect()
}

/// A scheme and a text that is often nearly valid, from a small range so that ties occur.
fn near_version() -> impl Strategy<Value = (Scheme, String)> {
    let text = prop_oneof![
        "v?[0-2]\\.[0-2]\\.0{0,2}[0-2](-(alpha|beta|rc)\\.[0-2])?",
        "v?202[67]\\.[0-2]\\.(1|2|33)(-((alpha|beta)\\.)?[1-3])?",
        "b[0-9]{1,3}",
        "precompiled-2026-0[1-3]-(0[1-9]|3[0-2])-[0-9a-b]{7}",
        "[0-9a-f]{39,41}",
        "20261[12][0-3][0-9]T2[0-5][0-5]000Z",
        "[a-z._-]{1,3}",
    ];
    (prop::sample::select(&VALID[..]).prop_map(|(scheme, _)| scheme), text)
}

fn version() -> impl Strategy<Value = (Scheme, Version)> {
    near_version().prop_filter_map("refused by its scheme", |(scheme, text)| Some((scheme, scheme.parse(&text).ok()?)))
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>(), (_, near) in near_version(), tail in any::<String>()) {
        for (scheme, _) in VALID {
            for text in [&text, &near, &format!("{near}{tail}")] {
                if let Err(error) = scheme.parse(text) {
                    prop_assert!(error.to_string().is_ascii());
                }
            }
        }
    }

    #[test]
    fn a_version_parses_to_itself((scheme, version) in version()) {
        prop_assert_eq!(scheme.parse(version.as_str()), Ok(version));
    }

    #[test]
    fn the_order_is_total((scheme, a) in version(), (other, b) in version(), (_, c) in version()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b) == Ordering::Equal, a == b);
        prop_assert_eq!(a == b, (scheme, a.as_str()) == (other, b.as_str()));
        if scheme != other {
            prop_assert_eq!(a.cmp(&b), scheme.cmp(&other));
        }
        let mut sorted = [&a, &b, &c];
        sorted.sort();
        prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
    }
}
