//! Realistic listings: long, unordered, with other kinds of tags and incomplete releases.

use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::support::{
    AARCH64, CONVEX, CONVEX_STACK, STABLE, Scratch, X86_64, answer, asset, complete, convex_releases, serve,
    serve_tags, serve_text,
};

const PROMOTED: &str = "precompiled-2026-09-11-157eb19";
const SERVICE: &str = "/version/v1/local_backend_version";

/// Pages of 100 prereleases, fourteen per day.
#[derive(Clone, Copy)]
struct Prereleases {
    pages: u64,
    /// The status of the page after the last; without one, there is no link to it.
    end: Option<u16>,
}

impl Respond for Prereleases {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let query = request.url.query_pairs().find(|(name, _)| name == "page");
        let page: u64 = query.map_or(1, |(_, page)| page.parse().unwrap());
        if let Some(status) = self.end
            && page > self.pages
        {
            return ResponseTemplate::new(status)
                .set_body_json(json!({"message": "Only the first 1000 results are available."}));
        }
        let release = |index: u64| {
            let number = (page - 1) * 100 + index;
            let (days, hour) = (number / 14, 23 - number % 14);
            let day = format!("2026-{:02}-{:02}", 12 - days / 28, 28 - days % 28);
            json!({
                "tag_name": format!("precompiled-{day}-{number:07x}"), "draft": false, "prerelease": true,
                "published_at": format!("{day}T{hour}:30:00Z"), "created_at": format!("{day}T{hour}:00:00Z"), "assets": [],
            })
        };
        let releases: Vec<Value> = (0..100).map(release).collect();
        let reply = ResponseTemplate::new(200).set_body_json(releases);
        if page == self.pages && self.end.is_none() {
            return reply;
        }
        let next = format!("https://api.github.com/repositories/1/releases?per_page=100&page={}", page + 1);
        reply.insert_header("link", format!("<{next}>; rel=\"next\""))
    }
}

async fn serve_prereleases(pages: u64, end: Option<u16>) -> MockServer {
    let server = MockServer::start().await;
    let listing = |at: &str| Mock::given(method("GET")).and(path(at)).respond_with(Prereleases { pages, end });
    listing(&format!("/repos/{CONVEX}/releases")).expect(1).mount(&server).await;
    listing("/repositories/1/releases").mount(&server).await;
    serve_tags(&server, CONVEX, &convex_releases()).await;
    server
}

#[tokio::test]
async fn a_thousand_prereleases_lead_to_what_is_promoted() {
    for end in [None, Some(422), Some(500)] {
        let server = serve_prereleases(10, end).await;
        serve_text(&server, SERVICE, &format!(r#"{{"version": "{PROMOTED}"}}"#)).await;
        let scratch = Scratch::new(CONVEX_STACK);
        let ran = scratch.run(&server, &["bump", "convex"]).await;
        ran.printed(&["passed over 1000 prereleases, newest precompiled-2026-12-28-0000000"]);
        assert_eq!(scratch.lock().unwrap().matches(&format!("version = \"{PROMOTED}\"")).count(), 2);
    }
}

#[tokio::test]
async fn a_server_that_fails_before_the_thousandth_release_is_an_error() {
    let server = serve_prereleases(3, Some(504)).await;
    serve_text(&server, SERVICE, &format!(r#"{{"version": "{PROMOTED}"}}"#)).await;
    let scratch = Scratch::new(CONVEX_STACK);
    scratch.run(&server, &["bump", "convex"]).await.failed_with(&["GitHub answers 504 Gateway Timeout"]);
    assert_eq!(scratch.lock(), None);
}

#[tokio::test]
async fn invalid_answers_of_the_version_service() {
    let (hostile, gone) = (r#"{"version": "precompiled-2026-09-11-157eb19/../x"}"#, "precompiled-2026-09-12-0123abc");
    for (answer, expected) in [
        ("<html>", "is not the expected JSON"),
        (r#"{"release": "x"}"#, "missing field `version`"),
        (r#"{"version": "v1.2.3"}"#, "`v1.2.3` is not a precompiled version"),
        (hostile, "157eb19/../x` is not a precompiled version"),
        (&format!(r#"{{"version": "{gone}"}}"#), "404 Not Found"),
        (r#"{"version": "precompiled-2026-10-07-96d219c"}"#, "promotes precompiled-2026-10-07-96d219c"),
    ] {
        let server = serve_prereleases(1, None).await;
        serve_text(&server, SERVICE, answer).await;
        let scratch = Scratch::new(CONVEX_STACK);
        scratch.run(&server, &["bump", "convex"]).await.failed_with(&["failed to bump `convex`", expected]);
        assert_eq!(scratch.names(), ["stack.toml"]);
    }
}

#[tokio::test]
async fn other_tags_drafts_and_incomplete_releases_are_passed_over() {
    let mut listing = vec![
        // Not versions of the backend, though new and complete.
        complete("self-hosted-release-2026-11-01", "2026-11-01T12:00:00Z"),
        complete("testing-precompiled-2026-11-01-1234567", "2026-11-01T12:00:00Z"),
        complete("precompiled-2026-11-01", "2026-11-01T12:00:00Z"),
        complete("precompiled-2026-13-01-1234567", "2026-11-01T12:00:00Z"),
        complete("latest", "2026-11-01T12:00:00Z"),
        // One commit on two days: the later publication is newer.
        complete("precompiled-2026-10-21-652b828", "2026-10-21T12:00:00Z"),
        complete("precompiled-2026-10-22-652b828", "2026-10-22T12:00:00Z"),
    ];
    let mut draft = complete("precompiled-2026-10-29-aaaaaaa", "2026-10-29T12:00:00Z");
    draft["draft"] = true.into();
    draft["published_at"] = Value::Null;
    let mut unpublished = complete("precompiled-2026-10-28-bbbbbbb", "2026-10-28T12:00:00Z");
    unpublished["published_at"] = Value::Null;
    let mut without_x86_64 = complete("precompiled-2026-10-27-ccccccc", "2026-10-27T12:00:00Z");
    let without = |release: &mut Value, name: &str| {
        release["assets"].as_array_mut().unwrap().retain(|asset| asset["name"] != name);
    };
    without(&mut without_x86_64, X86_64);
    let mut without_dashboard = complete("precompiled-2026-10-26-ddddddd", "2026-10-26T12:00:00Z");
    without(&mut without_dashboard, "dashboard.zip");
    let mut half = complete("precompiled-2026-10-25-eeeeeee", "2026-10-25T12:00:00Z");
    asset(&mut half, "dashboard.zip")["state"] = "starter".into();
    let mut empty = complete("precompiled-2026-10-24-fffffff", "2026-10-24T12:00:00Z");
    empty["assets"] = json!([]);
    listing.extend([draft, unpublished, without_x86_64, without_dashboard, half, empty]);
    listing.extend(convex_releases());

    // In any order of the listing.
    for turn in [0, 5, 11] {
        listing.rotate_left(turn);
        let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
        serve(&server, CONVEX, &[(listing.clone(), 1)]).await;
        let ran = scratch.run(&server, &["bump", "convex", "--format", "json"]).await;
        let convex = &ran.succeeded().json()["components"][0];
        assert_eq!(convex["new"]["version"], "precompiled-2026-10-22-652b828");
        let reasons: Vec<(&str, &str)> = convex["passed_over"].as_array().unwrap().iter().map(reason_of).collect();
        let expected = [
            ("precompiled-2026-10-27-ccccccc", &*format!("has no `{X86_64}`")),
            ("precompiled-2026-10-26-ddddddd", "has no `dashboard.zip`"),
            ("precompiled-2026-10-25-eeeeeee", "has no `dashboard.zip` (upload state `starter`)"),
            ("precompiled-2026-10-24-fffffff", &format!("has no `{AARCH64}`, `{X86_64}`, `dashboard.zip`")),
        ];
        assert_eq!(reasons, expected);
    }
}

fn reason_of(passed_over: &Value) -> (&str, &str) {
    (passed_over["version"].as_str().unwrap(), passed_over["reason"].as_str().unwrap())
}

#[tokio::test]
async fn a_listing_with_circular_links_ends() {
    let server = MockServer::start().await;
    for at in [format!("/repos/{CONVEX}/releases"), "/repositories/1/releases".to_owned()] {
        let next = "<https://api.github.com/repositories/1/releases?page=2>; rel=\"next\"";
        let page = ResponseTemplate::new(200).set_body_json(json!([{"tag_name": "x"}])).insert_header("link", next);
        answer(&server, &at, page).await;
    }
    let scratch = Scratch::new(CONVEX_STACK);
    let ran = scratch.run(&server, &["bump", "convex"]).await;
    ran.failed_with(&["none of the 0 checked releases of `get-convex/convex-backend` can be taken"]);
    // No page is requested twice.
    let requests = server.received_requests().await.unwrap();
    assert!(requests.len() < 10, "{} requests", requests.len());
}

/// The next page is the one that the page links to, not a counted number.
#[tokio::test]
async fn pages_are_followed_by_their_links() {
    let server = MockServer::start().await;
    let next = "<https://api.github.com/repositories/7/releases?after=abc&per_page=100>; rel=\"next\"";
    let first = json!([{"tag_name": "precompiled-2026-10-09-1234567", "prerelease": true,
                        "published_at": "2026-10-09T12:00:00Z", "created_at": "2026-10-09T12:00:00Z"}]);
    let first = ResponseTemplate::new(200).set_body_json(first).insert_header("link", next);
    answer(&server, &format!("/repos/{CONVEX}/releases"), first).await;
    let second = ResponseTemplate::new(200).set_body_json(convex_releases());
    let linked = Mock::given(path("/repositories/7/releases")).and(query_param("after", "abc"));
    linked.respond_with(second).expect(1).mount(&server).await;
    let scratch = Scratch::new(CONVEX_STACK);
    scratch.run(&server, &["bump", "convex"]).await.succeeded();
    scratch.lock_has(&[&format!("version = \"{STABLE}\"")]);
}
