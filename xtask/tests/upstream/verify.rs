//! `verify` finds files that were replaced or deleted since they were pinned.

use wiremock::MockServer;

use crate::support::{
    CONVEX, CONVEX_STACK, STABLE, Scratch, X86_64, asset, convex_asset, convex_releases, find, serve, serve_bytes,
    serve_tags, without_digest, zip_of,
};

#[tokio::test]
async fn a_replaced_and_a_deleted_file_are_named() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve_tags(&server, CONVEX, &convex_releases()).await;
    scratch.run(&server, &["bump", "convex", "--to", STABLE]).await.succeeded();
    scratch.run(&server, &["verify"]).await.printed(&[&format!("convex {STABLE}: as pinned")]);

    let mut releases = convex_releases();
    let release = find(&mut releases, STABLE);
    asset(release, X86_64)["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    release["assets"].as_array_mut().unwrap().retain(|asset| asset["name"] != "dashboard.zip");
    server.reset().await;
    serve_tags(&server, CONVEX, &releases).await;
    let ran = scratch.run(&server, &["verify"]).await;
    ran.differed(&[
        "replaced: https://github.com/",
        "x86_64-unknown-linux-gnu.zip is sha256 000",
        "deleted: https://github.com/",
    ]);
    let ran = scratch.run(&server, &["verify", "--format", "json"]).await;
    assert_eq!(ran.json()["components"][0]["findings"][0]["finding"], "replaced");

    // The release is deleted, but the repository is not.
    server.reset().await;
    serve(&server, CONVEX, &[(Vec::new(), 1)]).await;
    let deleted = format!("deleted: release {STABLE} of {CONVEX}");
    scratch.run(&server, &["verify", "convex"]).await.differed(&[&deleted]);
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
    scratch.run(&server, &["verify", "convex-dashboard"]).await.differed(&["replaced: https://github.com/"]);
}
