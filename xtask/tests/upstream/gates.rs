//! The conditions under which a new version is not taken, and their overrides.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use wiremock::{MockServer, ResponseTemplate};

use crate::support::{
    BRANCH, Scratch, TAGS, TOOL, Upstream, answer, component, release, serve, serve_json, serve_tags, serve_text,
    serve_tool,
};

fn published(tag: &str, ago: TimeDelta) -> Value {
    let mut one = release(tag, "2026-09-01", false, &[("tool.zip", tag)]);
    one["published_at"] = (Utc::now() - ago).format("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    one
}

#[tokio::test]
async fn a_release_waits_for_a_day_unless_with_now() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    let releases = || vec![published("v1.1.0", TimeDelta::hours(5)), published("v1.0.0", TimeDelta::hours(25))];
    serve_tool(&server, releases()).await;
    let ran = scratch.run(&server, &["bump", "--format", "json"]).await;
    let tool = &ran.succeeded().json()["components"][0];
    assert_eq!(tool["new"]["version"], "1.0.0");
    assert_eq!(tool["passed_over"][0]["gate"], "too-fresh");
    assert_eq!(tool["passed_over"][0]["age_hours"], 5);
    assert_eq!(tool["passed_over"][0]["reason"], "out for 5 of 24 hours");
    serve_tool(&server, releases()).await;
    let ran = scratch.run(&server, &["outdated", "--format", "json"]).await;
    let tool = &ran.succeeded().json()["components"][0];
    let versions = ["pinned", "newest", "newest_allowed"].map(|field| &tool[field]["version"]);
    assert_eq!(versions, ["1.0.0", "1.1.0", "1.0.0"]);
    serve_tool(&server, releases()).await;
    scratch.run(&server, &["bump", "--now"]).await.succeeded();
    scratch.lock_has(&["version = \"1.1.0\""]);
}

/// A date that the lock cannot represent is refused, also for a named version.
#[tokio::test]
async fn a_clock_may_be_minutes_off_but_not_a_millennium() {
    let waits_for_nothing = TOOL.replace("scheme", "minimum_age_days = 0\nscheme");
    let (scratch, server) = (Scratch::new(&waits_for_nothing), MockServer::start().await);
    let mut odd = published("v2.0.0", TimeDelta::zero());
    odd["published_at"] = "+12026-09-01T00:00:00Z".into();
    serve_tool(&server, vec![odd.clone(), published("v1.0.0", -TimeDelta::minutes(2))]).await;
    scratch.run(&server, &["bump"]).await.printed(&["which lies in the future"]);
    scratch.lock_has(&["version = \"1.0.0\""]);
    server.reset().await;
    serve_tags(&server, "a/tool", &[odd]).await;
    scratch.run(&server, &["bump", "tool", "--to", "v2.0.0"]).await.succeeded();
    let lock = scratch.lock().unwrap();
    assert!(lock.contains("version = \"2.0.0\"") && !lock.contains("12026"), "{lock}");
    scratch.run(&server, &["verify"]).await.succeeded();
}

#[tokio::test]
async fn a_held_pin_stays_until_its_day() {
    let stack = |until: &str| {
        TOOL.replace("scheme", &format!("hold = {{ reason = \"1.1 eats data\", until = \"{until}\" }}\nscheme"))
    };
    let (scratch, server) = (Scratch::new(&stack("2999-12-31")), MockServer::start().await);
    let releases = |tags: &[&str]| tags.iter().map(|tag| published(tag, TimeDelta::days(9))).collect::<Vec<_>>();
    serve_tool(&server, releases(&["v1.0.0"])).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    for command in ["bump", "outdated"] {
        serve_tool(&server, releases(&["v1.1.0", "v1.0.0"])).await;
        let ran = scratch.run(&server, &[command, "tool"]).await;
        ran.printed(&["passed over 1.1.0 (2026-", "held until 2999-12-31: 1.1 eats data"]);
        scratch.lock_has(&["version = \"1.0.0\""]);
    }
    scratch.edit_stack("2999-12-31", "2026-01-01");
    let compare = "https://github.com/a/tool/compare/v1.0.0...v1.1.0";
    let note = "note: the hold of `tool` ended on 2026-01-01";
    for (arguments, code) in [(&["outdated"][..], 0), (&["outdated", "--exit-code"], 3), (&["bump"], 0)] {
        serve_tool(&server, releases(&["v1.1.0", "v1.0.0"])).await;
        let ran = scratch.run(&server, arguments).await;
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stdout.contains(compare) && ran.stderr.contains(note), "{}\n{}", ran.stdout, ran.stderr);
    }
    scratch.lock_has(&["version = \"1.1.0\""]);
    // No version is newer any more, so there is no comparison page.
    serve_tool(&server, releases(&["v1.1.0", "v1.0.0"])).await;
    let ran = scratch.run(&server, &["outdated", "--exit-code", "--format", "json"]).await;
    let tool = &ran.succeeded().json()["components"][0];
    assert_eq!([&tool["compare"], &tool["ended_hold"]], [&Value::Null, &json!("2026-01-01")]);
}

/// Changes the dates of seen versions in the lock, as if days had passed.
fn let_days_pass(scratch: &Scratch, days: i64) {
    let lock = scratch.lock().unwrap();
    let older = lock.lines().map(|line| match line.rsplit_once(" = \"") {
        Some((name, moment)) if name.len() >= 40 => {
            let moment: DateTime<Utc> = moment.trim_end_matches('"').parse().unwrap();
            format!("{name} = \"{}\"\n", (moment - TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%SZ"))
        }
        _ => format!("{line}\n"),
    });
    std::fs::write(scratch.lock_path(), older.collect::<String>()).unwrap();
}

/// Authors can set any date of a commit, so its age counts from when it was first seen.
#[tokio::test]
async fn tags_and_branches_wait_since_they_were_first_seen() {
    let (upstream, server) = (Upstream::new(), MockServer::start().await);
    let scratch = upstream.scratch(&(component("manager", "semver", TAGS) + &component("app", "commit", BRANCH)));
    let run = async |arguments: &[&str]| scratch.run(&server, arguments).await;
    let pins = |texts: &[&str]| {
        let lock = scratch.lock().unwrap();
        texts.iter().all(|text| lock.contains(&format!("version = \"{text}\"")))
    };
    let one = upstream.commit("one");
    upstream.git(&["tag", "v1.0.0"]);
    // There is no pin yet that could stay.
    run(&["bump"]).await.succeeded();
    assert!(pins(&["1.0.0", &one]));

    let two = upstream.commit("two");
    upstream.git(&["tag", "v1.1.0"]);
    run(&["bump"]).await.printed(&["nothing to bump; waiting versions were noted in versions.lock"]);
    assert!(pins(&["1.0.0", &one]));
    scratch.lock_has(&[&format!("\n[components.app.seen]\n{two} = \"2")]);
    run(&["outdated"]).await.printed(&["passed over 1.1.0: seen for 0 of 24 hours"]);

    // A branch that changes daily does not wait forever: the head of a day ago is taken.
    let_days_pass(&scratch, 1);
    let three = upstream.commit("three");
    run(&["bump"]).await.succeeded();
    assert!(pins(&["1.1.0", &two]), "{:?}", scratch.lock());
    // A commit that was removed meanwhile is not taken.
    let_days_pass(&scratch, 1);
    upstream.git(&["reset", "--quiet", "--hard", &two]);
    let four = upstream.commit("four");
    run(&["bump"]).await.succeeded();
    assert!(pins(&["1.1.0", &two]), "{three} was taken back: {:?}", scratch.lock());
    run(&["bump", "--now"]).await.succeeded();
    assert!(pins(&["1.1.0", &four]));
    assert!(!scratch.lock().unwrap().contains("seen"), "{:?}", scratch.lock());
}

#[tokio::test]
async fn a_moved_tag_of_an_image_waits_unless_with_now() {
    let stack = component("base", "tag", "type = \"oci\", image = \"docker.io/library/debian\", tag = \"slim\"");
    let server = MockServer::start().await;
    let scratch = Scratch::new(&stack).mirror("docker.io/library/debian", &format!("{}/debian", server.address()));
    let run = async |digit: &str, arguments: &[&str]| {
        server.reset().await;
        let platform = |arch: &str| json!({"digest": format!("sha256:{}", digit.repeat(64)), "platform": {"os": "linux", "architecture": arch}});
        let index = json!({"manifests": [platform("amd64"), platform("arm64")]});
        serve_json(&server, "/v2/debian/manifests/slim", &index).await;
        scratch.run(&server, arguments).await
    };
    // Its date cannot be read.
    run("1", &["bump"]).await.said(&["note: `docker.io/library/debian:slim` is pinned without a date"]);
    run("2", &["bump", "base"]).await.printed(&["seen for 0 of 24 hours"]);
    scratch.lock_has(&[&"1".repeat(64)]);
    run("2", &["bump", "--now"]).await.succeeded();
    scratch.lock_has(&[&"2".repeat(64)]);
}

/// If the newest releases lack a file, older ones are checked, too.
#[tokio::test]
async fn paging_goes_on_while_checksums_lack_a_file() {
    let stack = r#"
[components.node]
title = "Node.js"
scheme = "semver"
source = { type = "github", repo = "nodejs/node" }
file = { name = "node.tar.xz", url = "https://nodejs.org/{tag}/{name}", checksums = "https://nodejs.org/{tag}/SUMS", contains = "node" }
"#;
    let (scratch, server) = (Scratch::new(stack), MockServer::start().await);
    let page = |tag: &str, day: &str| vec![release(tag, day, false, &[]), release("canary", "2026-01-01", false, &[])];
    serve(&server, "nodejs/node", &[(page("v3.0.0", "2026-09-30"), 1), (page("v2.0.0", "2025-09-01"), 1)]).await;
    serve_text(&server, "/node/v3.0.0/SUMS", "").await;
    serve_text(&server, "/node/v2.0.0/SUMS", &format!("{}  node.tar.xz\n", "a".repeat(64))).await;
    scratch.run(&server, &["bump"]).await.printed(&["passed over 3.0.0 (2026-09-30): its list of checksums lacks"]);
    scratch.lock_has(&["version = \"2.0.0\""]);
}

#[tokio::test]
async fn other_components_are_pinned_when_an_upstream_fails() {
    let two = format!("{TOOL}{}", TOOL.replace("components.tool", "components.other").replace("a/tool", "a/other"));
    let (scratch, server) = (Scratch::new(&two), MockServer::start().await);
    serve_tool(&server, vec![published("v1.0.0", TimeDelta::days(9))]).await;
    answer(&server, "/repos/a/other/releases", ResponseTemplate::new(500)).await;
    let ran = scratch.run(&server, &["bump", "--keep-going"]).await;
    ran.failed_with(&["failed to bump `other`", "500 Internal Server Error"]);
    assert!(ran.stdout.contains("tool: not pinned → 1.0.0"), "{}", ran.stdout);
    scratch.lock_has(&["[components.tool]"]);
}

/// The requirements of a version itself count, in addition to those of stack.toml.
#[tokio::test]
async fn a_version_that_needs_another_companion_waits_for_it() {
    let stack = r#"
[components.node]
title = "Node.js"
scheme = "semver"
source = { type = "github", repo = "a/node" }
file = { name = "tool.zip", contains = "node" }
[components.pack]
title = "Pack"
scheme = "semver"
minimum_age_days = 0
source = { type = "npm", package = "pack", directory = "npm/pack" }
states = { node = { engines = "node" } }
[components.manager]
title = "Manager"
scheme = "semver"
minimum_age_days = 0
source = { type = "git", repository = "https://git.example/manager.git" }
[components.manager.states]
node = { file = "src/lowest.ts", pattern = "LOWEST = '([0-9.]+)'", at-least = true }
"#;
    let (upstream, server) = (Upstream::new(), MockServer::start().await);
    let scratch = upstream.scratch(stack);
    std::fs::create_dir(upstream.path().join("src")).unwrap();
    let publish = |tag: &str, lowest: &str| {
        std::fs::write(upstream.path().join("src/lowest.ts"), format!("const LOWEST = '{lowest}'\n")).unwrap();
        upstream.git(&["add", "."]);
        upstream.git(&["commit", "--quiet", "-m", tag]);
        upstream.git(&["tag", tag]);
    };
    publish("v1.0.0", "20.0.0");
    let newest_node = std::cell::Cell::new("v24.0.0");
    let run = async |arguments: &[&str]| {
        server.reset().await;
        let node = published(newest_node.get(), TimeDelta::days(9));
        serve_tags(&server, "a/node", std::slice::from_ref(&node)).await;
        serve_json(&server, "/repos/a/node/releases", &json!([node])).await;
        let manifest = |version: &str, node: &str| {
            json!({"name": "pack", "version": version, "engines": {"node": node},
                   "dist": {"integrity": format!("sha512-{}==", "A".repeat(86))}})
        };
        let versions =
            json!({"1.0.0": manifest("1.0.0", ">=20 <25"), "1.1.0": manifest("1.1.0", ">=26.1.0 || ^25.3.0")});
        let latest = if scratch.lock().is_some() { "1.1.0" } else { "1.0.0" };
        let document = json!({"name": "pack", "dist-tags": {"latest": latest}, "versions": versions});
        serve_json(&server, "/pack", &document).await;
        scratch.run(&server, arguments).await
    };
    run(&["bump"]).await.succeeded();
    publish("v1.1.0", "24.0.0");
    publish("v1.2.0", "26.0.0");
    let ran = run(&["bump", "manager", "pack"]).await;
    ran.printed(&[
        "passed over 1.1.0: needs `node` >=26.1.0 || ^25.3.0, but 24.0.0 is pinned: bump `pack` and `node` together",
        "passed over 1.2.0: needs `node` >=26.0.0, but 24.0.0 is pinned: bump `manager` and `node` together",
        "manager: 1.0.0",
        "→ 1.1.0",
    ]);
    run(&["bump", "manager", "--to", "v1.2.0"]).await.failed_with(&["1.2.0 needs `node` >=26.0.0"]);
    // What blocks the set is reported; afterwards all of it is bumped.
    let blocked = "needs `node` >=26.0.0, but 24.0.0 is the newest that can be taken: ";
    run(&["bump", "manager", "node"]).await.printed(&[blocked]);
    newest_node.set("v26.1.0");
    run(&["bump", "manager", "node"]).await.printed(&["node: 24.0.0", "→ 26.1.0", "manager: 1.1.0", "→ 1.2.0"]);
}
