//! Pins whose upstream has changed: they stay with a warning, and `--to` pins the current state.

use serde_json::{Value, json};
use wiremock::matchers::{header_regex, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    BRANCH, INTEGRITY, NPM, Scratch, TAGS, Upstream, component, packument, release, serve_json, serve_tool,
};

const TOOL: &str = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "github", repo = "a/tool" }
file = { name = "tool-{arch}+x.zip", contains = "tool" }
arch = { x86_64 = "x64", aarch64 = "arm64" }
"#;

fn tool(tag: &str, contents: &str) -> Value {
    let mut tool = release(tag, "2026-09-01", false, &[("tool-x64+x.zip", contents), ("tool-arm64+x.zip", contents)]);
    for asset in tool["assets"].as_array_mut().unwrap() {
        let url = asset["browser_download_url"].as_str().unwrap().replace('+', "%2B");
        asset["browser_download_url"] = url.into();
    }
    tool
}

#[tokio::test]
async fn a_release_that_was_recreated_under_its_tag() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    let publish = async |release: &Value| {
        serve_tool(&server, vec![release.clone()]).await;
    };
    publish(&tool("v1.0.0", "one")).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let lock = scratch.lock();
    // The name has a `+`, which is `%2B` in its URL.
    scratch.run(&server, &["verify"]).await.succeeded();

    let mut again = tool("v1.0.0", "two");
    again["target_commitish"] = "1".repeat(40).into();
    publish(&again).await;
    let kept = "tool: 1.0.0 (2026-09-01) stays pinned\n  warning: replaced: https://github.com/files/v1.0.0/tool-arm64%2Bx.zip";
    let advice = "if you know why: cargo xtask bump tool --to v1.0.0";
    scratch.run(&server, &["bump"]).await.printed(&[kept, advice]);
    assert_eq!(scratch.lock(), lock);
    publish(&again).await;
    let warning = "    warning: replaced: https://github.com/files/v1.0.0";
    scratch.run(&server, &["outdated"]).await.printed(&[warning]);
    publish(&again).await;
    scratch.run(&server, &["bump", "tool", "--to", "v1.0.0"]).await.succeeded();
    assert_ne!(scratch.lock(), lock);

    // It was deleted, and only an older one is left, which is not pinned automatically.
    let old = tool("v0.9.0", "old");
    publish(&old).await;
    scratch.run(&server, &["bump"]).await.printed(&["warning: deleted: release v1.0.0 of a/tool"]);
    publish(&old).await;
    let ran = scratch.run(&server, &["outdated", "--format", "json"]).await;
    let findings = &ran.succeeded().json()["components"][0]["findings"];
    assert_eq!(*findings, json!([{"finding": "deleted", "what": "release v1.0.0 of a/tool"}]));
}

#[tokio::test]
async fn a_moved_tag_and_a_removed_commit() {
    let (upstream, server) = (Upstream::new(), MockServer::start().await);
    let manager = component("manager", "semver", TAGS) + "require = \"1\"\n";
    let scratch = upstream.scratch(&(manager + &component("app", "commit", BRANCH)));
    let git = |arguments: &[&str]| upstream.git(arguments);
    upstream.commit("one");
    git(&["tag", "v1.0.0"]);
    let run = async |arguments: &[&str]| scratch.run(&server, arguments).await;
    run(&["bump"]).await.succeeded();
    let lock = scratch.lock();

    git(&["commit", "--quiet", "--amend", "--allow-empty", "-m", "another one"]);
    git(&["tag", "--force", "v1.0.0"]);
    let warning = "warning: replaced: tag v1.0.0 of https://git.example/manager.git is ";
    run(&["bump", "manager"]).await.printed(&[warning]);
    assert_eq!(scratch.lock(), lock);
    run(&["outdated", "manager"]).await.printed(&[warning]);
    run(&["bump", "manager", "--to", "v1.0.0"]).await.succeeded();
    assert_ne!(scratch.lock(), lock);
    // The pinned tag is deleted, and the only newer tag is new: the pin stays, and both are reported.
    git(&["tag", "--delete", "v1.0.0"]);
    git(&["tag", "v1.0.1"]);
    let kept = scratch.lock();
    let ran = run(&["bump", "manager", "--dry-run"]).await;
    ran.printed(&["warning: deleted: tag v1.0.0", "passed over 1.0.1: seen for 0 of 24 hours"]);
    assert_eq!(scratch.lock(), kept);
    // A named prerelease is taken, although no ordinary requirement matches it.
    git(&["tag", "v1.1.0-rc.1"]);
    run(&["bump", "manager", "--to", "v1.1.0-rc.1"]).await.succeeded();
    git(&["tag", "v2.0.0-rc.1"]);
    run(&["bump", "manager", "--to", "v2.0.0-rc.1"]).await.failed_with(&["stack.toml requires ^1"]);

    // The old commit is on no branch any more, and later deleted.
    run(&["verify", "app"]).await.succeeded();
    git(&["reflog", "expire", "--expire=now", "--all"]);
    git(&["gc", "--quiet", "--prune=now"]);
    run(&["verify", "app"]).await.differed(&["deleted: commit "]);
}

/// A checkout with one package.
fn package() -> Scratch {
    Scratch::new(&(component("tool", "semver", NPM) + "require = \"1\"\n"))
}

/// A registry without the addresses of single versions, as some are.
async fn serve_package(server: &MockServer, latest: &str, deprecated: Option<&str>) {
    server.reset().await;
    let versions = [("1.0.0", json!({})), ("1.1.0", json!({"deprecated": deprecated})), ("1.2.0-rc.1", json!({}))];
    serve_json(server, "/tool", &packument(server, "tool", latest, &versions)).await;
}

#[tokio::test]
async fn a_deprecated_package() {
    let (scratch, server) = (package(), MockServer::start().await);
    serve_package(&server, "1.1.0", None).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    scratch.run(&server, &["verify"]).await.succeeded();
    serve_package(&server, "1.0.0", Some("leaks its token")).await;
    let withdrawn = "withdrawn: tool 1.1.0 in npm's registry: deprecated by its publisher: leaks its token";
    for command in ["bump", "outdated"] {
        scratch.run(&server, &[command]).await.printed(&[&format!("warning: {withdrawn}")]);
    }
    scratch.run(&server, &["verify"]).await.differed(&[withdrawn]);
    // A named version is taken, also a prerelease or a withdrawn one.
    for version in ["1.2.0-rc.1", "1.1.0"] {
        scratch.run(&server, &["bump", "tool", "--to", version]).await.succeeded();
    }
}

/// Logins in `~/.npmrc` are used; settings that would change the lockfile are not.
#[tokio::test]
async fn of_the_users_npmrc_only_the_login_counts() {
    let (scratch, server) = (package(), MockServer::start().await);
    serve_package(&server, "1.1.0", None).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let lockfile = || std::fs::read_to_string(scratch.root().join("image/npm/tool/package-lock.json")).unwrap();
    let before = lockfile();
    let npmrc = format!(
        "//{}/:_authToken=a-word\nengine-strict=true\nmin-release-age=99999\nomit=optional\nlockfile-version=2\n",
        server.address()
    );
    std::fs::write(scratch.npmrc(), npmrc).unwrap();
    scratch.run(&server, &["bump", "tool", "--to", "1.1.0"]).await.succeeded();
    assert_eq!(lockfile(), before);
    let requests = server.received_requests().await.unwrap();
    let logins: Vec<_> = requests.iter().filter_map(|request| request.headers.get("authorization")).collect();
    assert!(logins.len() >= 2 && logins.iter().all(|login| *login == "Bearer a-word"), "{logins:?}");
}

#[tokio::test]
async fn a_document_that_is_too_long_is_requested_in_its_short_form() {
    let (scratch, server) = (package(), MockServer::start().await);
    let mut long = packument(&server, "tool", "1.1.0", &[("1.1.0", json!({}))]);
    long["readme"] = "x".repeat(65 << 20).into();
    serve_json(&server, "/tool", &long).await;
    let short = json!({"name": "tool", "dist-tags": {"latest": "1.0.0"}, "modified": "2026-09-03T00:00:00Z",
        "versions": {"1.0.0": {"name": "tool", "version": "1.0.0", "dist": {"integrity": INTEGRITY}}}});
    let short_form = Mock::given(path("/tool")).and(header_regex("accept", "install-v1"));
    let short = ResponseTemplate::new(200).set_body_json(short);
    short_form.respond_with(short).with_priority(1).mount(&server).await;
    scratch.run(&server, &["outdated"]).await.printed(&["1.0.0"]);
}
