//! The other kinds of sources: a release that names another one, files elsewhere, prefixes, git, registries.

use serde_json::{Value, json};
use wiremock::matchers::{header, header_regex, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{
    BRANCH, Scratch, TAGS, Upstream, answer, component, has, release, serve, serve_json, serve_tags, serve_text,
};

const LLAMACPP: &str = r#"
[components.llamacpp]
title = "llama.cpp"
scheme = "build"
source = { type = "github", repo = "ggml-org/llama.cpp", pointer = "nightly-tag.txt" }
file = { name = "llama-{tag}-bin-ubuntu-{arch}.tar.gz", contains = "llama-server" }
arch = { x86_64 = "x64", aarch64 = "arm64" }
"#;

fn build(tag: &str, arches: &[&str]) -> Value {
    let names: Vec<String> = arches.iter().map(|arch| format!("llama-{tag}-bin-ubuntu-{arch}.tar.gz")).collect();
    let assets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "build")).collect();
    release(tag, "2026-09-01", true, &assets)
}

#[tokio::test]
async fn a_stable_llama_cpp_release_names_its_build() {
    let (scratch, server) = (Scratch::new(LLAMACPP), MockServer::start().await);
    let stable = release("v0.6.0", "2026-09-02", false, &[("nightly-tag.txt", "b11429\n")]);
    let older = release("v0.5.0", "2026-08-30", false, &[("nightly-tag.txt", "b11400\n")]);
    let builds = [build("b11429", &["x64", "arm64"]), build("b11430", &["x64"]), build("b11400", &["x64", "arm64"])];
    serve_json(&server, "/repos/ggml-org/llama.cpp/releases/latest", &stable).await;
    serve_tags(&server, "ggml-org/llama.cpp", &builds).await;
    serve_text(&server, "/github/files/v0.6.0/nightly-tag.txt", "b11429\n").await;
    serve_text(&server, "/github/files/v0.5.0/nightly-tag.txt", "b11400\n").await;
    scratch.run(&server, &["bump"]).await.succeeded();
    scratch.lock_has(&["version = \"b11429\""]);

    // Also a build by name; one that lacks an architecture is refused.
    let ran = scratch.run(&server, &["bump", "llamacpp", "--to", "b11430"]).await;
    ran.failed_with(&["b11430 has no `llama-b11430-bin-ubuntu-arm64.tar.gz`"]);
    let ran = scratch.run(&server, &["bump", "llamacpp", "--to", "v0.6.0"]).await;
    ran.failed_with(&["`v0.6.0` is not a build version"]);

    // A stable release with an incomplete build is passed over for the one before it.
    server.reset().await;
    let broken = release("v0.7.0", "2026-09-09", false, &[("nightly-tag.txt", "b11430\n")]);
    serve_text(&server, "/github/files/v0.7.0/nightly-tag.txt", "b11430\n").await;
    serve_text(&server, "/github/files/v0.5.0/nightly-tag.txt", "b11400\n").await;
    serve_tags(&server, "ggml-org/llama.cpp", &builds).await;
    serve(&server, "ggml-org/llama.cpp", &[(vec![builds[1].clone(), broken, older], 3)]).await;
    let fresh = Scratch::new(LLAMACPP);
    fresh.run(&server, &["bump"]).await.printed(&["passed over v0.7.0"]);
    fresh.lock_has(&["version = \"b11400\""]);
    // The pin is newer than that, and is not moved back automatically.
    let stays = "`llamacpp` stays pinned at b11429, which is newer than b11400";
    scratch.run(&server, &["bump"]).await.said(&[stays]);
    scratch.lock_has(&["version = \"b11429\""]);
    scratch.run(&server, &["outdated"]).await.printed(&["b11400 (2026-09-01), which is older"]);
}

#[tokio::test]
async fn node_is_the_highest_allowed_version_with_checksums() {
    let stack = r#"
[components.node]
title = "Node.js"
scheme = "semver"
require = ">=24.16.0, <25.0.0"
source = { type = "github", repo = "nodejs/node" }
file = { name = "node-{tag}-linux-{arch}.tar.xz", url = "https://nodejs.org/dist/{tag}/{name}", checksums = "https://nodejs.org/dist/{tag}/SHASUMS256.txt", contains = "bin/node" }
arch = { x86_64 = "x64", aarch64 = "arm64" }
"#;
    let (scratch, server) = (Scratch::new(stack), MockServer::start().await);
    let releases = [("v22.30.0", "06"), ("v26.1.0", "05"), ("v24.21.0", "04"), ("v24.20.0", "03"), ("v24.19.0", "02")];
    let releases = releases.map(|(tag, day)| release(tag, &format!("2026-09-{day}"), false, &[]));
    serve(&server, "nodejs/node", &[(releases.to_vec(), 1)]).await;
    let (x64, arm64) = ("a".repeat(64), "b".repeat(64));
    let sums = format!("{x64}  node-v24.20.0-linux-x64.tar.xz\n{arm64}  node-v24.20.0-linux-arm64.tar.xz\n");
    let half = sums.replace("v24.20.0-linux-x64", "v24.21.0-linux-x64");
    serve_text(&server, "/node/dist/v24.21.0/SHASUMS256.txt", &half).await;
    serve_text(&server, "/node/dist/v24.20.0/SHASUMS256.txt", &sums).await;
    let passed_over = "24.21.0 (2026-09-04): its list of checksums lacks `node-v24.21.0-linux-arm64.tar.xz`";
    scratch.run(&server, &["bump"]).await.printed(&[passed_over]);
    scratch.lock_has(&[
        "version = \"24.20.0\"",
        "tag = \"v24.20.0\"",
        &x64,
        &arm64,
        "https://nodejs.org/dist/v24.20.0/node-v24.20.0-linux-arm64.tar.xz",
    ]);
}

#[tokio::test]
async fn a_prefix_belongs_to_the_tag_and_a_young_release_waits() {
    let stack = r#"
[components.bun]
title = "Bun"
scheme = "semver"
minimum_age_days = 7
source = { type = "github", repo = "oven-sh/bun", prefix = "bun-" }
file = { name = "bun-linux.zip", contains = "bun" }
"#;
    let (scratch, server) = (Scratch::new(stack), MockServer::start().await);
    let today = chrono::Utc::now().format("%Y-%m-%d").to_string();
    let names = [("bun-linux.zip", "bun")];
    let releases = vec![
        release("canary", &today, true, &names),
        release("bun-v1.5.0", &today, false, &names),
        release("bun-v1.4.2", "2026-09-01", false, &names),
        release("bun-v1.10.0-rc.1", "2026-08-01", false, &names),
    ];
    serve(&server, "oven-sh/bun", &[(releases, 1)]).await;
    scratch.run(&server, &["bump"]).await.printed(&["out for 0 of the 7 days"]);
    scratch.lock_has(&["version = \"1.4.2\"\ntag = \"bun-v1.4.2\""]);
    // In any spelling.
    for to in ["1.5.0", "v1.5.0", "bun-v1.5.0"] {
        server.reset().await;
        serve_tags(&server, "oven-sh/bun", &[release("bun-v1.5.0", &today, false, &names)]).await;
        scratch.run(&server, &["bump", "bun", "--to", to]).await.succeeded();
        scratch.lock_has(&["tag = \"bun-v1.5.0\""]);
    }
}

#[tokio::test]
async fn git_tags_are_peeled_and_sorted_as_numbers_and_branches_followed() {
    let (upstream, server) = (Upstream::new(), MockServer::start().await);
    let manager = component("manager", "dotted", TAGS);
    let scratch = upstream.scratch(&(manager + &component("mission-control", "commit", BRANCH)));
    let tagged = upstream.commit("one");
    for tag in ["0.9.02", "v0.9.9", "nightly"] {
        upstream.git(&["tag", tag]);
    }
    upstream.git(&["tag", "--annotate", "-m", "x", "v0.9.10"]);
    let head = upstream.commit("two");
    let run = async |arguments: &[&str]| scratch.run(&server, arguments).await;

    run(&["bump"]).await.succeeded();
    scratch.lock_has(&[
        "version = \"v0.9.10\"",
        &format!("commit = \"{tagged}\""),
        &format!("version = \"{head}\""),
        "published = \"2026-08-21T10:00:00Z\"",
        "repository = \"https://git.example/manager.git\"",
    ]);
    let ran = run(&["bump", "manager", "--to", "v0.9.4"]).await;
    ran.failed_with(&["has no tag `v0.9.4`", "hint: newest tags are v0.9.10"]);
    run(&["bump", "manager", "--to", "nightly"]).await.failed_with(&["is not a dotted version"]);
    run(&["bump", "mission-control", "--to", &tagged]).await.succeeded();
    run(&["bump", "manager", "--to", "v0.9.02"]).await.succeeded();
    scratch.lock_has(&["tag = \"0.9.02\""]);
    run(&["verify"]).await.succeeded();

    // The tag is moved, then deleted.
    upstream.git(&["tag", "--force", "0.9.02", "HEAD"]);
    run(&["verify"]).await.differed(&["replaced: tag 0.9.02"]);
    upstream.git(&["tag", "--delete", "0.9.02"]);
    run(&["verify"]).await.differed(&["deleted: tag 0.9.02"]);

    std::fs::rename(upstream.path().join(".git"), upstream.path().join("away")).unwrap();
    run(&["outdated"]).await.failed_with(&["cannot read the git repository https://git.example/manager.git"]);
}

#[tokio::test]
async fn an_image_is_pinned_by_the_digest_of_its_index_after_an_anonymous_login() {
    let source = "type = \"oci\", image = \"docker.io/library/debian\", tag = \"trixie-slim\"";
    let server = MockServer::start().await;
    let platform = |digit: &str, os: &str, arch: &str| {
        json!({"digest": format!("sha256:{}", digit.repeat(64)), "size": 7,
               "platform": {"os": os, "architecture": arch}})
    };
    let index = json!({"schemaVersion": 2, "manifests": [
        platform("1", "linux", "amd64"), platform("2", "unknown", "unknown"), platform("3", "linux", "arm64"),
    ]})
    .to_string();
    let registry = server.address().to_string();
    let challenge = format!("Bearer realm=\"http://{registry}/token\",service=\"x\",scope=\"repository:debian:pull\"");
    let serve_registry = async |digest: Option<&str>| {
        server.reset().await;
        let login = Mock::given(path("/token")).and(query_param("service", "x"));
        let token = ResponseTemplate::new(200).set_body_json(json!({"token": "anonymous"}));
        let login = login.and(query_param("scope", "repository:debian:pull"));
        login.respond_with(token).mount(&server).await;
        let mut reply = ResponseTemplate::new(200).set_body_string(&index);
        if let Some(digest) = digest {
            reply = reply.insert_header("docker-content-digest", digest);
        }
        let get = Mock::given(method("GET")).and(path("/v2/debian/manifests/trixie-slim"));
        let with_token = get.and(header("authorization", "Bearer anonymous"));
        let for_index = with_token.and(header_regex("accept", "application/vnd.oci.image.index.v1\\+json"));
        for_index.respond_with(reply).with_priority(1).mount(&server).await;
        let refused = ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
        answer(&server, "/v2/debian/manifests/trixie-slim", refused).await;
    };
    serve_registry(None).await;
    let scratch = Scratch::new(&component("base", "tag", source));
    let scratch = scratch.mirror("docker.io/library/debian", &format!("{registry}/debian"));
    let run = async |arguments: &[&str]| scratch.run(&server, arguments).await;
    run(&["bump"]).await.succeeded();
    let lock = scratch.lock().unwrap();
    has(&lock, &["name = \"docker.io/library/debian\"", &"1".repeat(64), &"3".repeat(64), "version = \"trixie-slim\""]);
    run(&["outdated"]).await.printed(&["up to date"]);
    run(&["bump"]).await.printed(&["nothing to bump"]);
    let ran = run(&["bump", "base", "--to", "bookworm"]).await;
    ran.failed_with(&["`docker.io/library/debian` has no manifests/bookworm"]);
    // A registry whose stated digest is wrong.
    serve_registry(Some(&format!("sha256:{}", "0".repeat(64)))).await;
    run(&["bump"]).await.failed_with(&["has the digest sha256:", "but its registry states sha256:000"]);
    assert_eq!(scratch.lock().unwrap(), lock);
}
