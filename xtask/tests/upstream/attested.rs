//! Sigstore attestations of real packages: `xtask/testdata/sigstore` has npm's for sigstore 5.0.0 and 2.0.0, and
//! GitHub's for pypi-attestations 0.0.19.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::support::{Ran, Scratch, component, digest_of, release, serve, serve_json};

const ROOTS: &str = include_str!("../../../keys/sigstore.json");
const NEW: &str = include_str!("../../testdata/sigstore/npm-sigstore-5.0.0.json");
const OLD: &str = include_str!("../../testdata/sigstore/npm-sigstore-2.0.0.json");
const FILE: &str = include_str!("../../testdata/sigstore/github-pypi-attestations-0.0.19.json");
const REPO: &str = "sigstore/sigstore-js";

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn statement(bundle: &Value) -> Value {
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(payload).unwrap()).unwrap()
}

/// The digest of a bundle's subject, in hex.
fn digest(bundle: &Value, algorithm: &str) -> String {
    statement(bundle)["subject"][0]["digest"][algorithm].as_str().unwrap().to_owned()
}

fn integrity(hex: &str) -> String {
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    format!("sha512-{}", STANDARD.encode(bytes))
}

/// A checkout with Sigstore's roots.
fn with_roots(stack: &str, roots: &str) -> Scratch {
    let scratch = Scratch::new(stack);
    std::fs::create_dir(scratch.root().join("keys")).unwrap();
    std::fs::write(scratch.root().join("keys/sigstore.json"), roots).unwrap();
    scratch
}

/// Verifies a pin of the package, whose registry has that integrity and that bundle.
async fn verify(repo: &str, version: &str, integrity: &str, bundle: &Value, roots: &str) -> Ran {
    let source = format!("type = \"npm\", package = \"sigstore\", directory = \"npm/tool\", repository = \"{repo}\"");
    let (scratch, server) = (with_roots(&component("tool", "semver", &source), roots), MockServer::start().await);
    let lockfile = scratch.root().join("image/npm/tool/package-lock.json");
    std::fs::create_dir_all(lockfile.parent().unwrap()).unwrap();
    std::fs::write(lockfile, "{}").unwrap();
    let sha256 = digest_of(b"{}")[7..].to_owned();
    let lock = format!(
        "schema = 4\n[components.tool]\nversion = \"{version}\"\ntrust = \"attested\"\n[components.tool.pinned.npm]\n\
         package = \"sigstore\"\nintegrity = \"{integrity}\"\nlockfile = \"{sha256}\"\n"
    );
    std::fs::write(scratch.lock_path(), lock).unwrap();
    let provenance = json!({"url": "https://x/", "provenance": {"predicateType": "https://slsa.dev/provenance/v1"}});
    let manifest = json!({"name": "sigstore", "version": version,
        "dist": {"integrity": integrity, "attestations": provenance}});
    serve_json(&server, &format!("/sigstore/{version}"), &manifest).await;
    let publication = json!({"predicateType": "https://github.com/npm/attestation/tree/main/specs/publish/v0.1",
        "bundle": {}});
    let answer = json!({"attestations": [publication,
        {"predicateType": "https://slsa.dev/provenance/v1", "bundle": bundle}]});
    serve_json(&server, &format!("/-/npm/v1/attestations/sigstore@{version}"), &answer).await;
    scratch.run(&server, &["verify"]).await
}

#[tokio::test]
#[ignore = "needs cosign, which not every machine has"]
async fn npm_provenance_is_valid_for_its_package_and_repository() {
    for (version, text) in [("5.0.0", NEW), ("2.0.0", OLD)] {
        let bundle = json_of(text);
        let ran = verify(REPO, version, &integrity(&digest(&bundle, "sha512")), &bundle, ROOTS).await;
        let expected = format!("tool {version}: as pinned (attested by a workflow of its repository)\n");
        assert_eq!(ran.succeeded().stdout, expected);
    }
}

#[tokio::test]
#[ignore = "needs cosign, which not every machine has"]
async fn invalid_attestations_are_refused() {
    let good = json_of(NEW);
    let own = integrity(&digest(&good, "sha512"));
    let other = integrity(&digest(&json_of(OLD), "sha512"));
    let mut changed = good.clone();
    let mut edited = statement(&good);
    edited["predicate"]["runDetails"]["builder"]["id"] = "https://example.com".into();
    changed["dsseEnvelope"]["payload"] = STANDARD.encode(edited.to_string()).into();
    let mut forged = good.clone();
    forged["dsseEnvelope"]["signatures"][0]["sig"] = json_of(OLD)["dsseEnvelope"]["signatures"][0]["sig"].clone();
    let mut without_log = good.clone();
    without_log["verificationMaterial"]["tlogEntries"] = json!([]);
    let mut roots = json_of(ROOTS);
    roots["tlogs"].as_array_mut().unwrap().retain(|log| log["baseUrl"] != "https://rekor.sigstore.dev");
    let no_log = roots.to_string();
    let mut roots = json_of(ROOTS);
    roots["certificateAuthorities"].as_array_mut().unwrap().truncate(1);
    let no_authority = roots.to_string();
    for (what, repo, integrity, bundle, roots, expected) in [
        ("another repository", "sigstore/cosign", &own, &good, ROOTS, "no matching CertificateIdentity"),
        ("a name that is not a pattern", "sigstore/sigstore.js", &own, &good, ROOTS, "no matching CertificateIdentity"),
        ("another owner", "x/sigstore-js", &own, &good, ROOTS, "no matching CertificateIdentity"),
        ("another digest", REPO, &other, &good, ROOTS, "it is not provenance of sha512:46d4e2f7"),
        ("another version", REPO, &own, &json_of(OLD), ROOTS, "it is not provenance of sha512:849a897e"),
        ("a changed statement", REPO, &own, &changed, ROOTS, "cosign says: "),
        ("a signature of something else", REPO, &own, &forged, ROOTS, "cosign says: "),
        ("in no log", REPO, &own, &without_log, ROOTS, "cosign says: "),
        ("in an unknown log", REPO, &own, &good, &*no_log, "not enough verified log entries"),
        ("by an unknown authority", REPO, &own, &good, &*no_authority, "cosign says: "),
        ("no bundle", REPO, &own, &json!({}), ROOTS, "it is not a Sigstore bundle"),
        ("no repository", "sigstore", &own, &good, ROOTS, "not of the form owner/name"),
    ] {
        let ran = verify(repo, "5.0.0", integrity, bundle, roots).await;
        assert_eq!(ran.code, Some(1), "{what}: {}{}", ran.stdout, ran.stderr);
        for text in ["the attestation of sigstore 5.0.0 is not valid", expected, "hint: ask its upstream why"] {
            assert!(ran.stderr.contains(text), "{what}: {text}\n{}", ran.stderr);
        }
    }
}

const TOOL: &str = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "github", repo = "trailofbits/pypi-attestations" }
file = { name = "tool.tar.gz", contains = "tool" }
"#;

/// Serves a release whose file has the digest of the first bundle, and GitHub's attestations.
async fn serve_file(server: &MockServer, bundles: &[Value]) {
    server.reset().await;
    let digest = digest(&json_of(FILE), "sha256");
    let mut one = release("v0.0.19", "2026-09-01", false, &[("tool.tar.gz", "x")]);
    one["assets"][0]["digest"] = format!("sha256:{digest}").into();
    serve(server, "trailofbits/pypi-attestations", &[(vec![one], 1)]).await;
    if !bundles.is_empty() {
        let attestations: Vec<Value> =
            bundles.iter().map(|bundle| json!({"bundle": bundle, "repository_id": 1})).collect();
        let at = format!("/repos/trailofbits/pypi-attestations/attestations/sha256:{digest}");
        serve_json(server, &at, &json!({"attestations": attestations})).await;
    }
}

#[tokio::test]
#[ignore = "needs cosign, which not every machine has"]
async fn a_file_of_a_release_is_attested_and_lower_trust_is_refused() {
    let (scratch, server) = (with_roots(TOOL, ROOTS), MockServer::start().await);
    // One valid attestation is enough.
    serve_file(&server, &[json_of(NEW), json_of(FILE)]).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    scratch.lock_has(&["schema = 4", "trust = \"attested\""]);
    let ran = scratch.run(&server, &["verify"]).await;
    assert_eq!(ran.succeeded().stdout, "tool 0.0.19: as pinned (attested by a workflow of its repository)\n");

    serve_file(&server, &[]).await;
    scratch.run(&server, &["verify"]).await.differed(&["is stated, required is attested"]);

    // With an invalid attestation, a version is only taken by name, with lower trust.
    std::fs::remove_file(scratch.lock_path()).unwrap();
    serve_file(&server, &[json_of(NEW)]).await;
    let ran = scratch.run(&server, &["bump"]).await;
    ran.failed_with(&["the attestation of tool.tar.gz is not valid", "it is not provenance of sha256:9bb1add0"]);
    let ran = scratch.run(&server, &["bump", "tool", "--to", "v0.0.19"]).await;
    ran.said(&["warning: the attestation of tool.tar.gz is not valid"]);
    scratch.lock_has(&["trust = \"stated\""]);
}

#[tokio::test]
async fn without_cosign_there_is_a_note_and_trust_is_not_lower() {
    let (scratch, server) = (with_roots(TOOL, ROOTS), MockServer::start().await);
    serve_file(&server, &[json_of(FILE)]).await;
    let run = async |arguments: &[&str]| Ran::of(scratch.command(&server, arguments).env("PATH", "/nonexistent")).await;
    run(&["bump"]).await.said(&["note: the attestation of tool.tar.gz is not verified: install cosign"]);
    scratch.lock_has(&["schema = 3", "trust = \"stated\""]);
    let lock = scratch.lock().unwrap();
    let attested = lock.replace("schema = 3", "schema = 4").replace("\"stated\"", "\"attested\"");
    std::fs::write(scratch.lock_path(), attested).unwrap();
    let ran = run(&["verify"]).await;
    assert_eq!(ran.succeeded().stdout, "tool 0.0.19: as pinned (stated by GitHub's API)\n");
    // The trust that stack.toml requires applies on every machine.
    scratch.edit_stack("title = \"Tool\"", "title = \"Tool\"\ntrust = \"attested\"");
    assert_eq!(run(&["verify"]).await.code, Some(3));
}
