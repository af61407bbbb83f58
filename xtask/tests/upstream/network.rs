//! The network in between: proxies, throttling servers, captive portals, unexpected encodings.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    CONVEX, CONVEX_STACK, NPM, Ran, STABLE, Scratch, X86_64, answer, component, convex_asset, convex_releases,
    packument, release, serve, serve_bytes, serve_json, serve_tags, without_digest, zip_of,
};

/// A component of GitHub and one of npm.
fn one_of_each() -> Scratch {
    let bun = component("bun", "semver", "type = \"github\", repo = \"oven-sh/bun\", prefix = \"bun-\"");
    let file = "file = { name = \"bun.zip\", contains = \"bun\" }\n";
    Scratch::new(&(bun + file + &component("tool", "calver", NPM)))
}

async fn serve_one_of_each(server: &MockServer) {
    let bun = release("bun-v1.4.3", "2026-09-01", false, &[("bun.zip", "bun")]);
    serve(server, "oven-sh/bun", &[(vec![bun], 1)]).await;
    let tool = packument(server, "tool", "2026.9.6", &[("2026.9.6", json!({}))]);
    serve_json(server, "/tool", &tool).await;
}

#[tokio::test]
async fn a_proxy_is_used_for_githubs_api_and_for_npms_registry() {
    let (scratch, proxy) = (one_of_each(), MockServer::start().await);
    serve_one_of_each(&proxy).await;
    let run = async |no_proxy: &str| {
        let mut command = scratch.command(&proxy, &["outdated"]);
        command.env("HTTP_PROXY", proxy.uri()).env("NO_PROXY", no_proxy);
        command.env("GITHUB_API_URL", "http://github.company.invalid");
        Ran::of(command.env("npm_config_registry", "http://npm.company.invalid")).await
    };
    run("").await.printed(&["1.4.3 (2026-09-01)"]);
    // Hosts of `no_proxy` are requested directly; this one has no address.
    run("github.company.invalid")
        .await
        .failed_with(&["cannot reach GitHub", "hint: check the network and HTTPS_PROXY"]);
    run(".company.invalid").await.failed_with(&["failed to look up `bun`", "failed to look up `tool`"]);
}

#[tokio::test]
async fn a_retry_after_header_is_obeyed() {
    for status in [429, 503] {
        let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
        let limited = ResponseTemplate::new(status).insert_header("retry-after", "1");
        let once = Mock::given(method("GET")).respond_with(limited).up_to_n_times(1);
        once.with_priority(1).mount(&server).await;
        serve(&server, CONVEX, &[(convex_releases(), 1)]).await;
        let started = Instant::now();
        scratch.run(&server, &["bump", "convex"]).await.succeeded();
        assert!(started.elapsed() >= Duration::from_secs(1), "{status}: nothing was waited for");
    }
}

/// A rate limit, a captive portal's page and a replaced file have different messages.
#[tokio::test]
async fn a_throttle_a_page_and_a_replaced_file_are_three_messages() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let bytes = zip_of(&["convex-local-backend"]);
    let releases = without_digest(STABLE, X86_64, bytes.len());
    serve_tags(&server, CONVEX, &releases).await;
    serve_bytes(&server, &convex_asset(STABLE, X86_64), &bytes).await;
    scratch.run(&server, &["bump", "convex", "--to", STABLE]).await.succeeded();
    let verify = async |reply: ResponseTemplate| {
        server.reset().await;
        serve_tags(&server, CONVEX, &releases).await;
        answer(&server, &convex_asset(STABLE, X86_64), reply).await;
        scratch.run(&server, &["verify", "convex"]).await
    };
    let throttled = verify(ResponseTemplate::new(429).insert_header("retry-after", "3600")).await;
    throttled.failed_with(&[
        "the server refuses requests for now (429 Too Many Requests) until 2",
        "hint: the server limits requests: wait and run it again",
    ]);
    let page = "<!DOCTYPE html><title>Sign in to the company</title>";
    let page = verify(ResponseTemplate::new(200).set_body_raw(page, "text/html")).await;
    page.failed_with(&[
        "returns an HTML page titled `Sign in to the company` instead of the file",
        "hint: a proxy or a login page answers instead of the server",
    ]);
    let mut other = bytes.clone();
    other[0] ^= 1;
    let replaced = verify(ResponseTemplate::new(200).set_body_bytes(other)).await;
    replaced.differed(&["replaced: https://github.com/"]);
    for ran in [&throttled, &page] {
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("replaced"), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn an_unexpectedly_compressed_reply_is_read() {
    let (scratch, server) = (one_of_each(), MockServer::start().await);
    serve_one_of_each(&server).await;
    let squeezed = |body: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(body.as_bytes()).unwrap();
        ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_bytes(gzip.finish().unwrap())
    };
    let tool = json!({"dist-tags": {"latest": "2026.9.7"}, "versions": {"2026.9.7": {}}, "time": {"2026.9.7": "2026-09-02T00:00:00Z"}});
    let plain = Mock::given(path("/tool")).and(header("accept-encoding", "identity"));
    plain.respond_with(squeezed(&tool.to_string())).with_priority(1).mount(&server).await;
    scratch.run(&server, &["outdated"]).await.printed(&["2026.9.7 (2026-09-02)"]);
}

/// A mirror may redirect, and credentials are sent only to the server that requires them.
#[tokio::test]
async fn redirects_are_followed_ten_times() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let bytes = zip_of(&["convex-local-backend"]);
    serve_tags(&server, CONVEX, &without_digest(STABLE, X86_64, bytes.len())).await;
    let leads_to = |to: &str| ResponseTemplate::new(302).insert_header("location", to);
    answer(&server, &convex_asset(STABLE, X86_64), leads_to("/elsewhere")).await;
    serve_bytes(&server, "/elsewhere", &bytes).await;
    scratch.run(&server, &["bump", "convex", "--to", STABLE]).await.succeeded();

    server.reset().await;
    serve_tags(&server, CONVEX, &without_digest(STABLE, X86_64, bytes.len())).await;
    answer(&server, &convex_asset(STABLE, X86_64), leads_to("/circle")).await;
    answer(&server, "/circle", leads_to("/circle")).await;
    scratch.run(&server, &["verify", "convex"]).await.failed_with(&["redirects in circles"]);
}
