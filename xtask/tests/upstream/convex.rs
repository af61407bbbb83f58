//! Convex's rule: the newest release by publication that is not a prerelease and has both zips and the dashboard.

use serde_json::json;
use wiremock::matchers::{header_exists, method, path, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    AARCH64, CONVEX, CONVEX_STACK, Ran, STABLE, Scratch, complete, convex_asset, convex_releases, convex_server,
    digest_of, find, recorded, serve, serve_bytes, serve_tags, serve_text, without_digest, zip_of,
};

/// Bumps Convex in a new checkout, and checks the version that was pinned.
async fn bump_takes(server: &MockServer, version: &str) {
    let scratch = Scratch::new(CONVEX_STACK);
    scratch.run(server, &["bump", "convex"]).await.succeeded();
    scratch.lock_has(&[&format!("version = \"{version}\"")]);
}

#[tokio::test]
async fn the_newest_complete_stable_release_is_on_the_second_page() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), convex_server().await);
    let ran = scratch.run(&server, &["bump", "convex"]).await;
    ran.printed(&[
        "precompiled-2026-10-07-96d219c (2026-10-07): has no `convex-local-backend-aarch64-unknown-linux-gnu.zip`",
        "precompiled-2026-10-06-a3538c6 (2026-10-06): has no `dashboard.zip`",
        "3 prereleases, newest precompiled-2026-10-08",
        "MiB",
    ]);
    let lock = scratch.lock().unwrap();
    assert_eq!(lock.matches(&format!("version = \"{STABLE}\"")).count(), 2, "{lock}");
    // Digests come from the metadata: no downloads.
    assert!(lock.contains("b4d10c8a2a19f6b0e7e0de4fa80753d0ec479655277a87b"), "{lock}");
    assert!(!ran.stdout.contains("2026-09-21"), "only newer releases are passed over: {}", ran.stdout);

    // Again: each run reads two pages once, and there is nothing to do.
    server.reset().await;
    serve(&server, CONVEX, &[(recorded("convex-page-1.json"), 1), (recorded("convex-page-2.json"), 1)]).await;
    scratch.run(&server, &["bump"]).await.printed(&["nothing to bump"]);
    assert_eq!(scratch.lock().unwrap(), lock);
}

#[tokio::test]
async fn later_pages_are_not_read_when_they_can_hold_nothing_newer() {
    let server = MockServer::start().await;
    let mut first = recorded("convex-page-1.json");
    // Old enough that no release after it in the listing was published after the chosen one.
    first.push(find(&mut recorded("convex-page-2.json"), "precompiled-2026-09-21-0cf49cb").clone());
    find(&mut first, "precompiled-2026-10-07-96d219c")["assets"] =
        find(&mut convex_releases(), STABLE)["assets"].clone();
    serve(&server, CONVEX, &[(first, 1), (recorded("convex-page-2.json"), 0)]).await;
    bump_takes(&server, "precompiled-2026-10-07-96d219c").await;
}

/// The listing is sorted by creation date: a release that was published later is further down.
#[tokio::test]
async fn a_later_page_is_read_while_it_can_hold_something_newer() {
    let server = MockServer::start().await;
    let mut first = recorded("convex-page-1.json");
    find(&mut first, "precompiled-2026-10-07-96d219c")["assets"] =
        find(&mut convex_releases(), STABLE)["assets"].clone();
    let mut second = recorded("convex-page-2.json");
    find(&mut second, STABLE)["published_at"] = "2026-10-07T23:00:00Z".into();
    serve(&server, CONVEX, &[(first, 1), (second, 1)]).await;
    bump_takes(&server, STABLE).await;
}

#[tokio::test]
async fn publication_decides_and_not_the_order_of_the_listing_or_the_hash() {
    let server = MockServer::start().await;
    let mut releases = convex_releases();
    releases.push(complete("precompiled-2026-10-02-fffffff", "2026-10-02T11:00:00Z"));
    releases.push(complete("precompiled-2026-10-02-0000000", "2026-10-02T12:00:00Z"));
    serve(&server, CONVEX, &[(releases, 1)]).await;
    bump_takes(&server, "precompiled-2026-10-02-0000000").await;
}

#[tokio::test]
async fn a_missing_digest_is_computed_from_a_download_whose_size_is_checked() {
    let contents = zip_of(&["index.html", "data.html"]);
    let size = contents.len();
    let serve_without_digest = async |stated: usize| {
        let server = MockServer::start().await;
        serve(&server, CONVEX, &[(without_digest(STABLE, "dashboard.zip", stated), 1)]).await;
        serve_bytes(&server, &convex_asset(STABLE, "dashboard.zip"), &contents).await;
        server
    };
    let scratch = Scratch::new(CONVEX_STACK);
    let server = serve_without_digest(size).await;
    scratch.run(&server, &["bump", "convex"]).await.succeeded();
    let digest = digest_of(&contents);
    scratch.lock_has(&[&format!("sha256 = \"{}\"\nsize = {size}\n", &digest["sha256:".len()..])]);

    let scratch = Scratch::new(CONVEX_STACK);
    let server = serve_without_digest(size + 1).await;
    let ran = scratch.run(&server, &["bump", "convex"]).await;
    let expected = format!("`dashboard.zip` has {size} bytes, but GitHub states {}", size + 1);
    ran.failed_with(&["failed to bump `convex`", &expected]);
    assert_eq!(scratch.lock(), None);
}

#[tokio::test]
async fn a_missing_asset_of_a_named_release_is_reported_with_other_releases() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(convex_releases(), 3)]).await;
    let ran = scratch.run(&server, &["bump", "convex", "--to", "precompiled-2026-10-07-96d219c"]).await;
    ran.failed_with(&[
        "error: failed to bump `convex`\n",
        &format!("caused by: precompiled-2026-10-07-96d219c has no `{AARCH64}`\n"),
        "hint: newest complete releases are precompiled-2026-10-08-02fe59b (2026-10-08, prerelease)",
        &format!("{STABLE} (2026-09-28): cargo xtask bump convex --to {STABLE}\n"),
    ]);
    let ran = scratch.run(&server, &["bump", "convex", "--to", "precompiled-2026-10-08-a4ad353"]).await;
    ran.failed_with(&[&format!("`{AARCH64}` (upload state `starter`)")]);
    let ran = scratch.run(&server, &["bump", "convex", "--to", "precompiled-2026-10-05-0000000"]).await;
    ran.failed_with(&["has no release `precompiled-2026-10-05-0000000`", "hint: newest complete"]);
    assert_eq!(scratch.lock(), None);
}

#[tokio::test]
async fn a_prerelease_is_taken_when_it_is_named() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve_tags(&server, CONVEX, &convex_releases()).await;
    let ran = scratch.run(&server, &["bump", "convex-dashboard", "--to", "precompiled-2026-10-08-02fe59b"]).await;
    ran.said(&["are from one release and change together"]);
    assert_eq!(scratch.lock().unwrap().matches("version = \"precompiled-2026-10-08-02fe59b\"").count(), 2);
}

/// The listing ends at 1,000 releases with 422; the promoted release is beyond.
#[tokio::test]
async fn where_the_listing_ends_the_promoted_release_is_looked_up() {
    let server = MockServer::start().await;
    let end = ResponseTemplate::new(422).set_body_json(json!({
        "message": "Only the first 1000 results are available.", "documentation_url": "https://docs.github.com",
    }));
    let next = Mock::given(method("GET")).and(path("/repositories/1/releases"));
    next.respond_with(end).expect(1..).with_priority(1).mount(&server).await;
    serve(&server, CONVEX, &[(recorded("convex-page-1.json"), 1), (Vec::new(), 0)]).await;
    serve_tags(&server, CONVEX, &recorded("convex-page-2.json")).await;
    let scratch = Scratch::new(CONVEX_STACK);

    let ran = scratch.run(&server, &["bump", "convex", "--dry-run"]).await;
    ran.failed_with(&[
        "version.convex.dev/v1/local_backend_version names no release",
        "checked releases of `get-convex/convex-backend` can be taken",
        "hint: newest complete release is precompiled-2026-10-08-02fe59b (2026-10-08, prerelease)",
    ]);

    server.reset().await;
    serve(&server, CONVEX, &[(recorded("convex-page-1.json"), 1), (Vec::new(), 1)]).await;
    serve_tags(&server, CONVEX, &recorded("convex-page-2.json")).await;
    serve_text(&server, "/version/v1/local_backend_version", r#"{"version": "precompiled-2026-09-11-157eb19"}"#).await;
    scratch.run(&server, &["bump", "convex"]).await.succeeded();
    scratch.lock_has(&["c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4"]);
}

#[tokio::test]
async fn the_token_is_sent_to_the_api_only() {
    let server = MockServer::start().await;
    let dashboard = zip_of(&["index.html"]);
    let releases = without_digest(STABLE, "dashboard.zip", dashboard.len());
    let with_token = Mock::given(path_regex("^/github/")).and(header_exists("authorization"));
    with_token.respond_with(ResponseTemplate::new(500)).expect(0).with_priority(1).mount(&server).await;
    serve_bytes(&server, &convex_asset(STABLE, "dashboard.zip"), &dashboard).await;
    serve(&server, CONVEX, &[(releases, 1)]).await;
    let scratch = Scratch::new(CONVEX_STACK);
    let ran = Ran::of(scratch.command(&server, &["bump", "convex"]).env("GH_TOKEN", "t0k3n")).await;
    ran.succeeded();
    let requests = server.received_requests().await.unwrap();
    let (downloads, api): (Vec<_>, Vec<_>) =
        requests.iter().partition(|request| request.url.path().starts_with("/github/"));
    assert_eq!(downloads.len(), 1);
    assert!(api.iter().all(|request| request.headers["authorization"] == "Bearer t0k3n"), "{api:?}");
    assert!(!format!("{ran:?}").contains("t0k3n"));
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_has_outputs_for_github_actions() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), convex_server().await);
    let outputs = tempfile::tempdir().unwrap();
    let (output, summary) = (outputs.path().join("output"), outputs.path().join("summary"));
    let mut command = scratch.command(&server, &["bump", "--dry-run", "--format", "json"]);
    let ran = Ran::of(command.env("GITHUB_OUTPUT", &output).env("GITHUB_STEP_SUMMARY", &summary)).await;
    let document = ran.json();
    assert_eq!([&document["changed"], &document["written"]], [true, false]);
    assert_eq!(document["components"][0]["new"]["version"], STABLE);
    assert_eq!(document["components"][0]["passed_over"].as_array().unwrap().len(), 5);
    assert_eq!(scratch.names(), ["stack.toml"]);
    assert_eq!(std::fs::read_to_string(output).unwrap(), "changed=true\n");
    assert!(std::fs::read_to_string(summary).unwrap().contains("| convex | not pinned |"));
}

/// As in the committed lock: backend and dashboard of two releases, until the first bump.
#[tokio::test]
async fn a_waiver_is_shown_while_it_applies_and_noted_when_it_does_not() {
    let waiver = r#"
[[waivers]]
component = "convex-dashboard"
rule = "same-release-as"
versions = { convex = "precompiled-2026-09-11-157eb19", convex-dashboard = "precompiled-2026-09-28-5c7cb5b" }
reason = "digests are published for these two only"
"#;
    let (scratch, server) = (Scratch::new(&format!("{CONVEX_STACK}{waiver}")), MockServer::start().await);
    serve_tags(&server, CONVEX, &convex_releases()).await;
    scratch.run(&server, &["bump", "convex", "--to", "precompiled-2026-09-11-157eb19"]).await.succeeded();
    let lock = scratch.lock().unwrap();
    let (backend, dashboard) = lock.split_once("[components.convex-dashboard]").unwrap();
    let dashboard = dashboard.replace("precompiled-2026-09-11-157eb19", STABLE);
    std::fs::write(scratch.lock_path(), format!("{backend}[components.convex-dashboard]{dashboard}")).unwrap();

    serve(&server, CONVEX, &[(convex_releases(), 2)]).await;
    let note = "`same-release-as` waived: digests are published for these two only";
    scratch.run(&server, &["outdated"]).await.printed(&[note]);
    let stale = "does not apply any more: delete it from stack.toml";
    scratch.run(&server, &["bump", "convex"]).await.said(&[stale]);
    assert_eq!(scratch.lock().unwrap().matches(&format!("version = \"{STABLE}\"")).count(), 2);
}

#[tokio::test]
async fn outdated_shows_the_pinned_and_the_newest_version() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(convex_releases(), 2)]).await;
    scratch.run(&server, &["bump", "convex", "--to", "precompiled-2026-09-11-157eb19"]).await.succeeded();
    let before = scratch.lock();
    let ran = scratch.run(&server, &["outdated"]).await;
    ran.printed(&[
        "component         pinned                                       newest\n",
        &format!("convex            precompiled-2026-09-11-157eb19 (2026-09-11)  {STABLE} (2026-09-28)\n"),
        &format!("    passed over precompiled-2026-10-07-96d219c (2026-10-07): has no `{AARCH64}`\n"),
        "    passed over 3 prereleases, newest precompiled-2026-10-08",
    ]);
    ran.said(&["to pin the newest versions: cargo xtask bump convex\n"]);
    let ran = scratch.run(&server, &["outdated", "--format", "json"]).await;
    let row = &ran.succeeded().json()["components"][1];
    assert_eq!([&row["name"], &row["outdated"]], [&json!("convex-dashboard"), &json!(true)]);
    assert_eq!(scratch.lock(), before);
}
