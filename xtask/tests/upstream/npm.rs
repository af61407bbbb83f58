//! Packages of an npm registry: the choice of a version, and its lockfile by npm.

use serde_json::{Value, json};
use wiremock::MockServer;

use crate::support::{INTEGRITY, NPM, Scratch, component, digest_of, packument, serve_json, serve_text};

/// A checkout with one package.
fn scratch() -> Scratch {
    Scratch::new(&component("tool", "calver", NPM))
}

/// Serves a package with its versions, each with additional fields.
async fn serve_package(server: &MockServer, package: &str, latest: &str, versions: &[(&str, Value)]) {
    let document = packument(server, package, latest, versions);
    for (version, manifest) in document["versions"].as_object().unwrap() {
        serve_json(server, &format!("/{package}/{version}"), manifest).await;
    }
    serve_json(server, &format!("/{package}"), &document).await;
}

/// Serves the package of a program for one platform, in some versions.
async fn serve_platform(server: &MockServer, cpu: &str, versions: &[&str]) {
    let only = json!({"os": ["linux"], "cpu": [cpu]});
    let versions: Vec<(&str, Value)> = versions.iter().map(|version| (*version, only.clone())).collect();
    serve_package(server, &format!("tool-linux-{cpu}"), versions[0].0, &versions).await;
}

fn with_platforms(version: &str) -> Value {
    json!({"optionalDependencies": {"tool-linux-x64": version, "tool-linux-arm64": version}})
}

#[tokio::test]
async fn the_newest_complete_version_is_taken_and_locked_by_npm() {
    let (scratch, server) = (scratch(), MockServer::start().await);
    let versions = [
        ("2026.9.5", with_platforms("2026.9.5")),
        ("2026.9.6", with_platforms("2026.9.6")),
        ("2026.9.7", with_platforms("2026.9.7")),
        ("2026.9.8", json!({"deprecated": "broken"})),
        ("2026.9.33", json!({})),
        ("2026.10.0-beta.1", json!({})),
        ("2026.10.1", json!({})),
    ];
    serve_package(&server, "tool", "2026.9.33", &versions).await;
    serve_platform(&server, "x64", &["2026.9.5", "2026.9.6", "2026.9.7"]).await;
    // The packages for the platforms are published one after another; this one is missing.
    serve_platform(&server, "arm64", &["2026.9.5", "2026.9.6"]).await;
    scratch.run(&server, &["bump"]).await.printed(&[
        "tool: not pinned → 2026.9.6 (2026-09-02)\n",
        "passed over 2026.10.1 (2026-09-07): newer than the dist-tag `latest`, 2026.9.33\n",
        "passed over 2026.9.33 (2026-09-05): of the extended-stable line\n",
        "passed over 2026.9.8 (2026-09-04): deprecated by its publisher: broken\n",
        "passed over 2026.9.7 (2026-09-03): npm's registry has no `tool-linux-arm64` 2026.9.7\n",
        "passed over 2026.10.0-beta.1 (2026-09-06): a prerelease\n",
    ]);
    let read = |name: &str| std::fs::read_to_string(scratch.root().join("image/npm/tool").join(name)).unwrap();
    let lockfile = read("package-lock.json");
    let pinned = &digest_of(lockfile.as_bytes())["sha256:".len()..];
    scratch.lock_has(&[INTEGRITY, &format!("lockfile = \"{pinned}\""), "version = \"2026.9.6\""]);
    // Both architectures, on any machine, and no URL of the registry.
    let packages: Value = serde_json::from_str(&lockfile).unwrap();
    for package in ["tool", "tool-linux-x64", "tool-linux-arm64"] {
        assert_eq!(packages["packages"][format!("node_modules/{package}")]["integrity"], INTEGRITY, "{package}");
    }
    assert!(!lockfile.contains(&server.uri()), "{lockfile}");
    assert!(read("package.json").contains("\"tool\": \"2026.9.6\""));

    scratch.run(&server, &["verify"]).await.succeeded();
    scratch.run(&server, &["bump"]).await.printed(&["nothing to bump"]);
    // The template of the installation was edited.
    std::fs::write(scratch.root().join("image/npm/tool/package-lock.json"), lockfile.replace("x64", "x32")).unwrap();
    scratch.run(&server, &["verify"]).await.differed(&["replaced: image/npm/tool/package-lock.json"]);
}

#[tokio::test]
async fn a_named_version_that_lacks_a_platform() {
    let (scratch, server) = (scratch(), MockServer::start().await);
    let versions = [("2026.9.5", json!({})), ("2026.9.7", with_platforms("2026.9.7"))];
    serve_package(&server, "tool", "2026.9.7", &versions).await;
    serve_platform(&server, "x64", &["2026.9.7"]).await;
    let take = "hint: newest complete version is 2026.9.5: cargo xtask bump tool --to 2026.9.5";
    for (to, expected) in [
        ("2026.9.7", "cannot be installed on every architecture: npm's registry has no `tool-linux-arm64` 2026.9.7"),
        ("2026.9.6", "npm's registry has no `tool` 2026.9.6"),
    ] {
        scratch.run(&server, &["bump", "tool", "--to", to]).await.failed_with(&[expected, take]);
    }
    scratch.run(&server, &["bump", "tool", "--to", "../tool"]).await.failed_with(&["is not a calver version"]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}

#[tokio::test]
async fn a_missing_registry_and_invalid_answers() {
    let (scratch, server) = (scratch(), MockServer::start().await);
    let ran = scratch.run(&server, &["bump"]).await;
    ran.failed_with(&["npm's registry has no package `tool`", "hint: the registry is http://127.0.0.1:"]);
    for (answer, expected) in [
        ("<html>", "is not the expected JSON"),
        (r#"{"dist-tags": {"latest": "newest"}}"#, "the dist-tag `latest` of `tool` is not a version"),
        (r#"{"versions": {}}"#, "none of the 0 versions of `tool` in npm's registry can be taken"),
    ] {
        server.reset().await;
        serve_text(&server, "/tool", answer).await;
        scratch.run(&server, &["bump"]).await.failed_with(&["failed to bump `tool`", expected]);
    }
    // An invalid integrity does not reach the lock.
    server.reset().await;
    serve_package(&server, "tool", "2026.9.6", &[("2026.9.6", json!({"dist": {"integrity": "sha1-x"}}))]).await;
    scratch.run(&server, &["bump"]).await.failed_with(&["is not an npm integrity"]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}
