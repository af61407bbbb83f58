//! The trust of a pin: by the verified evidence, and never lower than before unless named.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use wiremock::MockServer;

use crate::support::{
    NPM, Scratch, TOOL, component, has, packument, release, serve_bytes, serve_json, serve_tags, serve_text,
    serve_tool, undigested, zip_of,
};

/// A release with or without GitHub's digest.
fn tool(tag: &str, has_digest: bool) -> Value {
    let one = release(tag, "2026-09-01", false, &[("tool.zip", "x")]);
    if has_digest { one } else { undigested(one, zip_of(&["tool"]).len()) }
}

#[tokio::test]
async fn lower_trust_is_refused_unless_by_name() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    let upstream = async |releases: Vec<Value>| {
        serve_tool(&server, releases).await;
        serve_bytes(&server, "/github/files/v2.0.0/tool.zip", &zip_of(&["tool"])).await;
    };
    upstream(vec![tool("v1.0.0", true)]).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let stated = scratch.lock().unwrap();
    has(&stated, &["schema = 3", "trust = \"stated\""]);
    let ran = scratch.run(&server, &["verify"]).await;
    assert_eq!(ran.succeeded().stdout, "tool 1.0.0: as pinned (stated by GitHub's API)\n");

    let both = || vec![tool("v2.0.0", false), tool("v1.0.0", true)];
    upstream(both()).await;
    let ran = scratch.run(&server, &["bump"]).await;
    ran.failed_with(&[
        "the digests of `tool` v2.0.0 are computed, those before were stated",
        "hint: find out why; to pin it anyway: cargo xtask bump tool --to v2.0.0",
    ]);
    assert_eq!(scratch.lock().unwrap(), stated);
    upstream(both()).await;
    let warning = "warning: the digests of `tool` v2.0.0 are computed";
    scratch.run(&server, &["bump", "tool", "--to", "v2.0.0"]).await.said(&[warning]);
    scratch.lock_has(&["trust = \"computed\""]);

    // The trust that stack.toml requires applies to named versions and to existing pins, too.
    scratch.edit_stack("title = \"Tool\"", "title = \"Tool\"\ntrust = \"stated\"");
    upstream(both()).await;
    let ran = scratch.run(&server, &["verify", "--format", "json"]).await;
    let row = &ran.differed(&[]).json()["components"][0];
    assert_eq!([&row["trust"], &row["findings"][0]["finding"]], ["computed", "weaker"]);
    std::fs::remove_file(scratch.lock_path()).unwrap();
    server.reset().await;
    serve_tags(&server, "a/tool", &both()).await;
    serve_bytes(&server, "/github/files/v2.0.0/tool.zip", &zip_of(&["tool"])).await;
    let ran = scratch.run(&server, &["bump", "tool", "--to", "v2.0.0"]).await;
    ran.failed_with(&["the digests of `tool` v2.0.0 are computed, but stack.toml requires stated", "lower `trust`"]);
}

#[tokio::test]
async fn a_signed_list_of_checksums_needs_a_known_key() {
    let stack = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "github", repo = "a/tool" }
file = { name = "tool.tar.gz", url = "https://nodejs.org/{tag}/{name}", checksums = "https://nodejs.org/{tag}/SUMS", keyring = "keys.gpg", contains = "tool" }
"#;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/signed");
    let signed = std::fs::read_to_string(data.join("SHASUMS256.txt.asc")).unwrap();
    let bump = async |keyring: &str, list: &str| {
        let (scratch, server) = (Scratch::new(stack), MockServer::start().await);
        std::fs::copy(keyring, scratch.root().join("keys.gpg")).unwrap();
        serve_tool(&server, vec![release("v1.0.0", "2026-09-01", false, &[])]).await;
        serve_text(&server, "/node/v1.0.0/SUMS.asc", list).await;
        serve_text(&server, "/node/v1.0.0/SUMS", &format!("{}  tool.tar.gz\n", "a".repeat(64))).await;
        let ran = scratch.run(&server, &["bump"]).await;
        (ran, scratch.lock())
    };
    let own = data.join("keyring.gpg").display().to_string();
    let (ran, lock) = bump(&own, &signed).await;
    ran.succeeded();
    let digest = "09ddb77640da3e6e8aaa6cad068a01432cfed551";
    has(&lock.unwrap(), &["trust = \"signed\"", digest]);
    // Text around the signed part is not signed.
    let (ran, lock) = bump(&own, &format!("{}  tool.tar.gz\n{signed}", "b".repeat(64))).await;
    ran.succeeded();
    has(&lock.unwrap(), &[digest]);
    let (ran, _) = bump(&own, &signed.replace("09ddb", "19ddb")).await;
    ran.failed_with(&["failed to bump `tool`", "SUMS.asc was changed after it was signed"]);
    // Signed by an unknown key, it counts as unsigned.
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys/nodejs.gpg").display().to_string();
    let (ran, lock) = bump(&other, &signed).await;
    ran.said(&["its signature is ignored"]);
    has(&lock.unwrap(), &["trust = \"stated\"", &"a".repeat(64)]);
}

#[tokio::test]
async fn the_signature_of_npms_registry_is_verified() {
    let stack = component("tool", "semver", NPM);
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let header = STANDARD.decode("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE").unwrap();
    let key = STANDARD.encode([&header[..26], pair.public_key().as_ref()].concat());
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let bump = async |text: &str, has_keys: bool| {
        let (scratch, server) = (Scratch::new(&stack), MockServer::start().await);
        let sig = STANDARD.encode(pair.sign(&random, text.as_bytes()).unwrap());
        let dist = json!({"integrity": integrity, "signatures": [{"keyid": "SHA256:x", "sig": sig}],
            "tarball": format!("{}/tool.tgz", server.uri())});
        let document = packument(&server, "tool", "1.0.0", &[("1.0.0", json!({"dist": dist}))]);
        serve_json(&server, "/tool", &document).await;
        if has_keys {
            let keys = json!({"keys": [{"keyid": "SHA256:x", "key": key, "expires": null}]});
            serve_json(&server, "/-/npm/v1/keys", &keys).await;
        }
        (scratch.run(&server, &["bump"]).await, scratch.lock())
    };
    let text = format!("tool@1.0.0:{integrity}");
    for (has_keys, level) in [(true, "signed"), (false, "stated")] {
        let (ran, lock) = bump(&text, has_keys).await;
        ran.succeeded();
        has(&lock.unwrap(), &[&format!("trust = \"{level}\"")]);
    }
    let (ran, lock) = bump("tool@1.0.1:x", true).await;
    ran.failed_with(&["failed to bump `tool`", "its metadata was changed after it was signed"]);
    assert_eq!(lock, None);
}
