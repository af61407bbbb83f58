//! `verify` finds files that were replaced or deleted since they were pinned.

use serde_json::Value;
use wiremock::MockServer;

use crate::support::{
    CONVEX, CONVEX_STACK, Scratch, asset, convex_asset, convex_releases, find, serve, serve_bytes, serve_tags,
    without_digest, zip_of,
};

const STABLE: &str = "precompiled-2026-09-28-5c7cb5b";

#[tokio::test]
async fn a_replaced_and_a_deleted_file_are_named() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve_tags(&server, CONVEX, &convex_releases()).await;
    scratch.run(&server, &["bump", "convex", "--to", STABLE]).await.succeeded();
    let ran = scratch.run(&server, &["verify"]).await;
    assert!(ran.succeeded().stdout.contains(&format!("convex {STABLE}: as pinned")), "{}", ran.stdout);

    let mut releases = convex_releases();
    let release = find(&mut releases, STABLE);
    asset(release, "convex-local-backend-x86_64-unknown-linux-gnu.zip")["digest"] =
        format!("sha256:{}", "0".repeat(64)).into();
    release["assets"].as_array_mut().unwrap().retain(|asset| asset["name"] != "dashboard.zip");
    server.reset().await;
    serve_tags(&server, CONVEX, &releases).await;
    let ran = scratch.run(&server, &["verify"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for text in
        ["replaced: https://github.com/", "x86_64-unknown-linux-gnu.zip is sha256 000", "deleted: https://github.com/"]
    {
        assert!(ran.stdout.contains(text), "{text}\n{}", ran.stdout);
    }
    let ran = scratch.run(&server, &["verify", "--format", "json"]).await;
    let rows: Value = serde_json::from_str(&ran.stdout).unwrap();
    let rows = &rows["components"];
    assert_eq!(rows[0]["findings"][0]["finding"], "replaced");

    // The release is deleted, but the repository is not.
    server.reset().await;
    serve(&server, CONVEX, &[(Vec::new(), 1)]).await;
    let ran = scratch.run(&server, &["verify", "convex"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("deleted: release {STABLE} of {CONVEX}")), "{}", ran.stdout);
    // A failing upstream is an error, not a finding.
    server.reset().await;
    scratch.run(&server, &["verify"]).await.failed_with(&["failed to verify `convex`", "hint: check the spelling"]);
}

#[tokio::test]
async fn a_file_without_a_published_digest_is_downloaded() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let (one, two) = (zip_of(&["index.html", "one"]), zip_of(&["index.html", "two"]));
    let releases = without_digest(STABLE, "dashboard.zip", one.len());
    let at = convex_asset(STABLE, "dashboard.zip");
    serve_tags(&server, CONVEX, &releases).await;
    serve_bytes(&server, &at, &one).await;
    scratch.run(&server, &["bump", "convex", "--to", STABLE]).await.succeeded();
    server.reset().await;
    serve_tags(&server, CONVEX, &releases).await;
    serve_bytes(&server, &at, &two).await;
    let ran = scratch.run(&server, &["verify", "convex-dashboard"]).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stdout.contains("replaced: https://github.com/"), "{}", ran.stdout);
}
