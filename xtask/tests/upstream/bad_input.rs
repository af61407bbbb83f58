//! Faults of upstreams, people and disks during a bump. The lock is always the old or the new one, never torn.

use serde_json::json;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    CONVEX, CONVEX_STACK, Ran, STABLE, Scratch, answer, components, convex_releases, convex_server, find, has, release,
    serve, serve_tags, serve_text,
};

/// Runs `bump convex` with `reply` as the listing; there is no lock.
async fn bump_against(reply: ResponseTemplate) -> Ran {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    answer(&server, &format!("/repos/{CONVEX}/releases"), reply).await;
    let ran = scratch.run(&server, &["bump", "convex"]).await;
    assert_eq!(scratch.names(), ["stack.toml"], "something was written");
    ran
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    // A port that was free just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = scratch.command(&server, &["bump", "convex"]);
    let ran = Ran::of(command.env("GITHUB_API_URL", format!("http://127.0.0.1:{port}"))).await;
    ran.failed_with(&[
        "failed to bump `convex`",
        "cannot reach GitHub at http://127.0.0.1",
        "refused",
        "hint: check the network",
    ]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}

#[tokio::test]
async fn a_server_with_temporary_failures_is_retried() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let failing = Mock::given(method("GET")).respond_with(ResponseTemplate::new(502));
    failing.up_to_n_times(2).with_priority(1).mount(&server).await;
    serve(&server, CONVEX, &[(convex_releases(), 1)]).await;
    scratch.run(&server, &["bump", "convex"]).await.succeeded();
}

#[tokio::test]
async fn a_used_up_rate_limit_says_when_it_resets_and_that_a_token_helps() {
    let limited = ResponseTemplate::new(403)
        .insert_header("x-ratelimit-remaining", "0")
        .insert_header("x-ratelimit-reset", "1790000000")
        .set_body_json(json!({"message": "API rate limit exceeded for 203.0.113.1."}));
    let ran = bump_against(limited).await;
    ran.failed_with(&["the rate limit is used up; it resets at 2026-09-21 14:13:20 UTC", "hint: set GITHUB_TOKEN"]);
    let secondary = ResponseTemplate::new(429).insert_header("retry-after", "60");
    bump_against(secondary).await.failed_with(&["the rate limit is used up; it resets at 2", "UTC"]);
    // Another 403 is not a rate limit.
    let blocked = ResponseTemplate::new(403).set_body_json(json!({"message": "Repository access blocked"}));
    let ran = bump_against(blocked).await;
    ran.failed_with(&["403", "Repository access blocked"]);
    assert!(!ran.stderr.contains("rate limit"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_missing_repository() {
    let not_found = || ResponseTemplate::new(404).set_body_json(json!({"message": "Not Found"}));
    bump_against(not_found()).await.failed_with(&[
        "GitHub has no repository `get-convex/convex-backend`",
        "hint: check the spelling of `get-convex/convex-backend` in [components.convex] of stack.toml",
    ]);
    // With --to both the release and the repository are 404: only the listing tells them apart.
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let ran = scratch.run(&server, &["bump", "convex", "--to", STABLE]).await;
    ran.failed_with(&["hint: check the spelling", "in [components.convex] of stack.toml"]);
}

#[tokio::test]
async fn a_renamed_repository_is_followed_with_a_note() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let moved = ResponseTemplate::new(301)
        .insert_header("location", "https://api.github.com/repositories/7/releases?per_page=100")
        .set_body_json(json!({"message": "Moved Permanently"}));
    let listing = ResponseTemplate::new(200).set_body_json(convex_releases());
    for (at, reply) in [(&*format!("/repos/{CONVEX}/releases"), moved), ("/repositories/7/releases", listing)] {
        Mock::given(path(at)).respond_with(reply).expect(1).mount(&server).await;
    }
    serve_text(&server, "/repositories/7", r#"{"full_name": "convex/backend"}"#).await;
    serve_tags(&server, CONVEX, &convex_releases()).await;
    let ran = scratch.run(&server, &["bump", "convex"]).await;
    let warning = "warning: GitHub renamed `get-convex/convex-backend` to `convex/backend`";
    assert_eq!(ran.succeeded().stderr.matches(warning).count(), 1, "{}", ran.stderr);
    scratch.lock_has(&[STABLE]);
}

#[tokio::test]
async fn truncated_and_malformed_json() {
    let whole = serde_json::to_string(&convex_releases()).unwrap();
    for (body, cause) in [
        (&whole[..whole.len() / 2], "EOF while parsing"),
        ("<html>oops</html>", "expected value"),
        (r#"{"message": "surprise"}"#, "invalid type: map"),
        (r#"[{"tag_name": 7}]"#, "invalid type: integer"),
    ] {
        let reply = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        bump_against(reply).await.failed_with(&["is not the expected JSON", cause]);
    }
}

#[tokio::test]
async fn no_release_with_every_architecture() {
    let mut releases = convex_releases();
    for release in &mut releases {
        let assets = release["assets"].as_array_mut().unwrap();
        assets.retain(|asset| !asset["name"].as_str().unwrap().starts_with("convex-local-backend-aarch64"));
    }
    let ran = bump_against(ResponseTemplate::new(200).set_body_json(releases)).await;
    ran.failed_with(&[
        "none of the 8 checked releases of `get-convex/convex-backend` can be taken",
        "has no `convex-local-backend-aarch64-unknown-linux-gnu.zip`",
    ]);
    assert!(!ran.stderr.contains("hint: newest complete"), "{}", ran.stderr);
}

#[tokio::test]
async fn an_unknown_component_gets_the_nearest_name() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let ran = scratch.run(&server, &["bump", "convx", "zzzzzzzz"]).await;
    ran.failed_with(&["unknown component `convx`", "did you mean `convex`?", "unknown component `zzzzzzzz`"]);
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn to_takes_a_version_of_the_components_own_scheme_and_no_hostile_one() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    for (to, expected) in [
        ("v1.2.3", "`v1.2.3` is not a precompiled version"),
        ("b11429", "such as `precompiled-2026-09-11-157eb19`"),
        (";rm -rf /", "`;rm -rf /` is not"),
        ("precompiled-2026-09-11-157eb19\nx", r"157eb19\nx` is not"),
        ("{{ 7 }}", "`{{ 7 }}` is not"),
        ("../../../user", "is not a precompiled version"),
    ] {
        scratch.run(&server, &["bump", "convex", "--to", to]).await.failed_with(&[expected]);
    }
    scratch.run(&server, &["bump", "--to", "x"]).await.failed_with(&["--to needs exactly one component"]);
    assert!(server.received_requests().await.unwrap().is_empty(), "a hostile version reached the network");
}

#[tokio::test]
async fn hostile_versions_and_addresses_from_upstream() {
    // Such a tag is not a version of the component, and is ignored.
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let mut releases = convex_releases();
    for tag in ["precompiled-2026-10-09-157eb19;rm -rf /", "precompiled-2026-10-09-157eb19\nRUN id", "{{ 7 }}", ""] {
        let mut hostile = find(&mut releases, STABLE).clone();
        hostile["tag_name"] = tag.into();
        releases.push(hostile);
    }
    serve(&server, CONVEX, &[(releases, 1)]).await;
    scratch.run(&server, &["bump", "convex"]).await.succeeded();
    scratch.lock_has(&[&format!("version = \"{STABLE}\"")]);

    let mut releases = convex_releases();
    for asset in find(&mut releases, STABLE)["assets"].as_array_mut().unwrap() {
        asset["browser_download_url"] = "https://github.com/a/$(id).zip".into();
    }
    let server = MockServer::start().await;
    serve(&server, CONVEX, &[(releases, 1)]).await;
    let scratch = Scratch::new(CONVEX_STACK);
    scratch.run(&server, &["bump", "convex"]).await.failed_with(&["is not a plain http(s) address"]);
    assert_eq!(scratch.lock(), None);
}

#[tokio::test]
async fn all_failing_components_are_reported_and_nothing_is_written() {
    let more = components(&["bun", "gone"]);
    let (scratch, server) = (Scratch::new(&format!("{CONVEX_STACK}{more}")), convex_server().await);
    let ran = scratch.run(&server, &["bump"]).await;
    ran.failed_with(&["failed to bump `bun`", "failed to bump `gone`"]);
    assert!(!ran.stderr.contains("failed to bump `convex`"), "{}", ran.stderr);
    assert_eq!(scratch.lock(), None);
    // `outdated` prints the others all the same.
    server.reset().await;
    serve(&server, CONVEX, &[(convex_releases(), 1)]).await;
    let ran = scratch.run(&server, &["outdated"]).await;
    ran.failed_with(&["failed to look up `bun`", "failed to look up `gone`"]);
    has(&ran.stdout, &["precompiled-2026-09-28-5c7cb5b (2026-09-28)"]);
}

/// A lock that parses but is invalid: reading it reports all errors, and a bump of the component fixes it.
#[tokio::test]
async fn an_incomplete_pin_in_the_lock_is_reported_and_fixed() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(convex_releases(), 4)]).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let whole = scratch.lock().unwrap();
    let from = whole.find("[components.convex.pinned.files.aarch64]").unwrap();
    let to = whole.find("[components.convex.pinned.files.x86_64]").unwrap();
    let half = format!("{}{}", &whole[..from], &whole[to..]).replace("[components.convex-d", "[components.convx-d");
    for command in ["verify", "render"] {
        std::fs::write(scratch.lock_path(), &half).unwrap();
        scratch.run(&server, &[command]).await.failed_with(&[
            "versions.lock pins no file of `convex` for aarch64",
            "versions.lock does not pin `convex-dashboard`",
            "versions.lock pins `convx-dashboard`, which stack.toml does not have",
            "hint: restore it with `git checkout versions.lock`, or resolve it again with `cargo xtask bump`",
        ]);
        assert_eq!(scratch.lock().unwrap(), half);
    }
    scratch.run(&server, &["bump"]).await.printed(&["convx-dashboard: dropped, stack.toml does not have it"]);
    assert_eq!(scratch.lock().unwrap(), whole);

    // An invalid version, and a tag that a shell would split.
    for (pinned, edited, expected) in [
        ("version = \"precompiled-2026-09-28-5c7cb5b\"", "version = \"1.2.3\"", "at an invalid version"),
        ("tag = \"precompiled-2026-09-28-5c7cb5b\"", "tag = \"x; id\"", "with the name or version `x; id`"),
    ] {
        std::fs::write(scratch.lock_path(), whole.replacen(pinned, edited, 1)).unwrap();
        scratch.run(&server, &["verify"]).await.failed_with(&["versions.lock pins `convex`", expected]);
        scratch.run(&server, &["bump"]).await.succeeded();
        assert_eq!(scratch.lock().unwrap(), whole);
    }
}

#[tokio::test]
async fn rules_between_components_apply_to_the_new_lock() {
    let more = components(&["needy", "other", "third"])
        .replace("needy.bin\" }", "needy.bin\" }\nneeds = { other = \">=2.0.0\" }");
    let (scratch, server) = (Scratch::new(&more), MockServer::start().await);
    let one = |tag: &str, file: &str| release(tag, "2026-01-01", false, &[(file, "x")]);
    serve(&server, "a/needy", &[(vec![one("v1.0.0", "needy.bin")], 1)]).await;
    let others = ["v1.9.0", "v2.1.0"].map(|tag| one(tag, "other.bin"));
    serve_tags(&server, "a/other", &others).await;
    let ran = scratch.run(&server, &["bump", "other", "--to", "1.9.0"]).await;
    ran.failed_with(&["stack.toml does not allow 1.9.0: `needy` needs >=2.0.0"]);

    // A lock from before the rule: bumping the other component does not satisfy it.
    let lock = "schema = 1\n[components.other]\nversion = \"1.9.0\"\ntag = \"v1.9.0\"\n\
        [components.other.pinned.files.any]\nurl = \"https://github.com/x\"\n\
        sha256 = \"c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4\"\n";
    std::fs::write(scratch.lock_path(), lock).unwrap();
    let ran = scratch.run(&server, &["bump", "needy"]).await;
    ran.failed_with(&[
        "the new pins break the rule `needs`",
        "`needy` needs `other` >=2.0.0, which is pinned at 1.9.0",
    ]);
    assert_eq!(scratch.lock().unwrap(), lock);

    // A rule that was violated before does not block the bump of an unrelated component.
    server.reset().await;
    serve(&server, "a/third", &[(vec![one("v3.0.0", "third.bin")], 1)]).await;
    let broken =
        format!("{lock}{}", lock.replace("schema = 1\n", "").replace("other", "needy").replace("1.9.0", "1.0.0"));
    std::fs::write(scratch.lock_path(), &broken).unwrap();
    let expected = "note: `needy` needs `other` >=2.0.0, which is pinned at 1.9.0, as before";
    scratch.run(&server, &["bump", "third"]).await.said(&[expected]);
    scratch.lock_has(&["[components.third]"]);
}
