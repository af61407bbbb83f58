//! Pins whose upstream has changed: they stay with a warning, and `--to` pins the current state.

use serde_json::json;
use wiremock::MockServer;

use crate::support::{Ran, Scratch, git, release, serve, serve_tags, serve_text};

const TOOL: &str = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "github", repo = "a/tool" }
file = { name = "tool-{arch}+x.zip", contains = "tool" }
arch = { x86_64 = "x64", aarch64 = "arm64" }
"#;

fn tool(tag: &str, contents: &str) -> serde_json::Value {
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
    let publish = async |releases: Vec<serde_json::Value>| {
        server.reset().await;
        serve_tags(&server, "a/tool", &releases).await;
        serve(&server, "a/tool", &[(releases, 1)]).await;
    };
    publish(vec![tool("v1.0.0", "one")]).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let lock = scratch.lock();
    // The name has a `+`, which is `%2B` in its URL.
    scratch.run(&server, &["verify"]).await.succeeded();

    let mut again = tool("v1.0.0", "two");
    again["target_commitish"] = "1".repeat(40).into();
    publish(vec![again.clone()]).await;
    let ran = scratch.run(&server, &["bump"]).await;
    let kept = "tool: 1.0.0 (2026-09-01) stays pinned\n  warning: replaced: https://github.com/files/v1.0.0/tool-arm64%2Bx.zip";
    assert!(ran.succeeded().stdout.contains(kept), "{}", ran.stdout);
    assert!(ran.stdout.contains("if you know why: cargo xtask bump tool --to v1.0.0"), "{}", ran.stdout);
    assert_eq!(scratch.lock(), lock);
    publish(vec![again.clone()]).await;
    let ran = scratch.run(&server, &["outdated"]).await;
    assert!(
        ran.succeeded().stdout.contains("    warning: replaced: https://github.com/files/v1.0.0"),
        "{}",
        ran.stdout
    );
    publish(vec![again]).await;
    scratch.run(&server, &["bump", "tool", "--to", "v1.0.0"]).await.succeeded();
    assert_ne!(scratch.lock(), lock);

    // It was deleted, and only an older one is left, which is not pinned automatically.
    publish(vec![tool("v0.9.0", "old")]).await;
    let ran = scratch.run(&server, &["bump"]).await;
    assert!(ran.succeeded().stdout.contains("warning: deleted: release v1.0.0 of a/tool"), "{}", ran.stdout);
    publish(vec![tool("v0.9.0", "old")]).await;
    let ran = scratch.run(&server, &["outdated", "--format", "json"]).await;
    let rows: serde_json::Value = serde_json::from_str(&ran.succeeded().stdout).unwrap();
    assert_eq!(rows["components"][0]["findings"], json!([{"finding": "deleted", "what": "release v1.0.0 of a/tool"}]));
}

const GIT: &str = r#"
[components.manager]
title = "Manager"
scheme = "semver"
source = { type = "git", repository = "https://git.example/manager.git" }
require = "1"
[components.app]
title = "App"
scheme = "commit"
source = { type = "git", repository = "https://git.example/manager.git", branch = "main" }
"#;

#[tokio::test]
async fn a_moved_tag_and_a_removed_commit() {
    let (scratch, server) = (Scratch::new(GIT), MockServer::start().await);
    let upstream = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| git(upstream.path(), arguments);
    git(&["init", "--quiet"]);
    git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    git(&["commit", "--quiet", "--allow-empty", "-m", "one"]);
    git(&["tag", "v1.0.0"]);
    let mirror = format!("https://git.example/manager.git=file://{}", upstream.path().display());
    let run = async |arguments: &[&str]| scratch.run(&server, &[&["--mirror", &mirror], arguments].concat()).await;
    run(&["bump"]).await.succeeded();
    let lock = scratch.lock();

    git(&["commit", "--quiet", "--amend", "--allow-empty", "-m", "another one"]);
    git(&["tag", "--force", "v1.0.0"]);
    let ran = run(&["bump", "manager"]).await;
    let warning = "warning: replaced: tag v1.0.0 of https://git.example/manager.git is ";
    assert!(ran.succeeded().stdout.contains(warning), "{}", ran.stdout);
    assert_eq!(scratch.lock(), lock);
    let ran = run(&["outdated", "manager"]).await;
    assert!(ran.succeeded().stdout.contains(warning), "{}", ran.stdout);
    run(&["bump", "manager", "--to", "v1.0.0"]).await.succeeded();
    assert_ne!(scratch.lock(), lock);
    // The pinned tag is deleted, and the only newer tag is new: the pin stays, and both are reported.
    git(&["tag", "--delete", "v1.0.0"]);
    git(&["tag", "v1.0.1"]);
    let kept = scratch.lock();
    let ran = run(&["bump", "manager", "--dry-run"]).await;
    for line in ["warning: deleted: tag v1.0.0", "passed over 1.0.1: seen for 0 of 24 hours"] {
        assert!(ran.succeeded().stdout.contains(line), "{}", ran.stdout);
    }
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
    let ran = run(&["verify", "app"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.contains("deleted: commit "), "{}", ran.stdout);
}

const PACKAGE: &str = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "npm", package = "tool", directory = "npm/tool" }
require = "1"
"#;

/// SHA-512 of no bytes: no tarball is downloaded.
const INTEGRITY: &str =
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";

/// A registry without the short form of documents, as some are.
async fn serve_package(server: &MockServer, latest: &str, deprecated: Option<&str>, more: &str) {
    server.reset().await;
    let manifest = |version: &str| json!({"name": "tool", "version": version, "dist": {"integrity": INTEGRITY}});
    let mut document = json!({"name": "tool", "dist-tags": {"latest": latest},
        "versions": {"1.0.0": manifest("1.0.0"), "1.1.0": manifest("1.1.0"), "1.2.0-rc.1": manifest("1.2.0-rc.1")},
        "time": {"1.0.0": "2026-09-01T00:00:00Z", "1.1.0": "2026-09-02T00:00:00Z", "1.2.0-rc.1": "2026-09-03T00:00:00Z"}});
    if let Some(message) = deprecated {
        document["versions"]["1.1.0"]["deprecated"] = message.into();
    }
    document["readme"] = more.into();
    serve_text(server, "/tool", &document.to_string()).await;
}

async fn run_npm(scratch: &Scratch, server: &MockServer, npmrc: &str, arguments: &[&str]) -> Ran {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("npmrc");
    std::fs::write(&file, npmrc).unwrap();
    let mut command = scratch.command(server, arguments);
    command.env("npm_config_registry", server.uri()).env("npm_config_cache", home.path().join("cache"));
    Ran::from(command.env("npm_config_userconfig", file).output().await.unwrap())
}

#[tokio::test]
async fn a_deprecated_package() {
    let (scratch, server) = (Scratch::new(PACKAGE), MockServer::start().await);
    serve_package(&server, "1.1.0", None, "").await;
    run_npm(&scratch, &server, "", &["bump"]).await.succeeded();
    run_npm(&scratch, &server, "", &["verify"]).await.succeeded();
    serve_package(&server, "1.0.0", Some("leaks its token"), "").await;
    let withdrawn = "withdrawn: tool 1.1.0 in npm's registry: deprecated by its publisher: leaks its token";
    for command in ["bump", "outdated"] {
        let ran = run_npm(&scratch, &server, "", &[command]).await;
        assert!(ran.succeeded().stdout.contains(&format!("warning: {withdrawn}")), "{}", ran.stdout);
    }
    let ran = run_npm(&scratch, &server, "", &["verify"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.contains(withdrawn), "{}", ran.stdout);
    // A named version is taken, also a prerelease or a withdrawn one.
    for version in ["1.2.0-rc.1", "1.1.0"] {
        run_npm(&scratch, &server, "", &["bump", "tool", "--to", version]).await.succeeded();
    }
}

/// Logins in `~/.npmrc` are used; settings that would change the lockfile are not.
#[tokio::test]
async fn of_the_users_npmrc_only_the_login_counts() {
    let (scratch, server) = (Scratch::new(PACKAGE), MockServer::start().await);
    serve_package(&server, "1.1.0", None, "").await;
    run_npm(&scratch, &server, "", &["bump"]).await.succeeded();
    let lockfile = || std::fs::read_to_string(scratch.root().join("image/npm/tool/package-lock.json")).unwrap();
    let before = lockfile();
    let npmrc = format!(
        "//{}/:_authToken=a-word\nengine-strict=true\nmin-release-age=99999\nomit=optional\nlockfile-version=2\n",
        server.address()
    );
    run_npm(&scratch, &server, &npmrc, &["bump", "tool", "--to", "1.1.0"]).await.succeeded();
    assert_eq!(lockfile(), before);
    let requests = server.received_requests().await.unwrap();
    let logins: Vec<_> = requests.iter().filter_map(|request| request.headers.get("authorization")).collect();
    assert!(logins.len() >= 2 && logins.iter().all(|login| *login == "Bearer a-word"), "{logins:?}");
}

#[tokio::test]
async fn a_document_that_is_too_long_is_requested_in_its_short_form() {
    let (scratch, server) = (Scratch::new(PACKAGE), MockServer::start().await);
    serve_package(&server, "1.1.0", None, &"x".repeat(65 << 20)).await;
    let short = json!({"name": "tool", "dist-tags": {"latest": "1.0.0"}, "modified": "2026-09-03T00:00:00Z",
        "versions": {"1.0.0": {"name": "tool", "version": "1.0.0", "dist": {"integrity": INTEGRITY}}}});
    wiremock::Mock::given(wiremock::matchers::path("/tool"))
        .and(wiremock::matchers::header_regex("accept", "install-v1"))
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_json(short))
        .with_priority(1)
        .mount(&server)
        .await;
    let ran = run_npm(&scratch, &server, "", &["outdated"]).await;
    assert!(ran.succeeded().stdout.contains("1.0.0"), "{}", ran.stdout);
}
