//! The duration of a resolve, compared with its longest chain of dependent requests, with a latency of 80 ms. Not run
//! by default: `cargo test -p xtask --test upstream latency -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::server::{self, Answer, Fault, Request};
use crate::support::{AARCH64, CONVEX, Ran, Scratch, X86_64, release};

const AWAY: Duration = Duration::from_millis(80);
const RUNS: usize = 5;

/// The five components of the stack with releases on GitHub.
fn stack() -> String {
    let stack = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../stack.toml")).unwrap();
    let stack: toml::Table = stack.parse().unwrap();
    let components = stack["components"].as_table().unwrap();
    ["node", "bun", "llamacpp", "opencode", "convex"]
        .map(|name| {
            let mut component = components[name].as_table().unwrap().clone();
            component.remove("keyring");
            let fields: Vec<String> = component.iter().map(|(field, value)| format!("{field} = {value}\n")).collect();
            format!("[components.{name}]\n{}", fields.concat())
        })
        .concat()
        .replace(", keyring = \"keys/nodejs.gpg\"", "")
        .replace("keyring = \"keys/nodejs.gpg\", ", "")
}

fn documents() -> BTreeMap<String, Vec<u8>> {
    let one = |tag: &str, prerelease, names: &[&str]| -> Value {
        let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "x")).collect();
        release(tag, "2026-09-01", prerelease, &files)
    };
    let build = one("b11429", true, &["llama-b11429-bin-ubuntu-x64.tar.gz", "llama-b11429-bin-ubuntu-arm64.tar.gz"]);
    let listings = [
        ("nodejs/node", one("v24.21.0", false, &[])),
        ("oven-sh/bun", one("bun-v1.4.2", false, &["bun-linux-x64.zip", "bun-linux-aarch64.zip"])),
        ("anomalyco/opencode", one("v1.18.21", false, &["opencode-linux-x64.tar.gz", "opencode-linux-arm64.tar.gz"])),
        (CONVEX, one("precompiled-2026-09-11-157eb19", false, &[X86_64, AARCH64])),
    ];
    let mut documents: BTreeMap<String, Vec<u8>> = listings
        .into_iter()
        .map(|(repo, release)| (format!("/repos/{repo}/releases"), json!([release]).to_string().into_bytes()))
        .collect();
    let stable = one("v0.5.0", false, &["nightly-tag.txt"]);
    documents.insert("/repos/ggml-org/llama.cpp/releases/latest".to_owned(), stable.to_string().into_bytes());
    documents.insert("/repos/ggml-org/llama.cpp/releases/tags/b11429".to_owned(), build.to_string().into_bytes());
    documents.insert("/github/files/v0.5.0/nightly-tag.txt".to_owned(), b"b11429\n".to_vec());
    let sums = ["x64", "arm64"].map(|arch| format!("{}  node-v24.21.0-linux-{arch}.tar.xz\n", "a".repeat(64)));
    documents.insert("/node/dist/v24.21.0/SHASUMS256.txt".to_owned(), sums.concat().into_bytes());
    documents
}

/// A server with all of that and that latency, and its count of requests.
fn serve_from(away: Duration) -> (String, Arc<Mutex<usize>>) {
    let documents = documents();
    let asked: Arc<Mutex<usize>> = Arc::default();
    let counter = Arc::clone(&asked);
    let world = move |request: &Request| {
        *counter.lock().unwrap() += 1;
        std::thread::sleep(away);
        let path = request.path.split('?').next().unwrap_or_default();
        let kind = "application/octet-stream".to_owned();
        let body = documents.get(path).cloned();
        Answer { status: if body.is_some() { 200 } else { 404 }, kind, body: body.unwrap_or_default() }
    };
    (server::start(Arc::new(world), Fault::Fail(0)), asked)
}

/// Without a token, GitHub allows 60 requests an hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_resolve_sends_at_most_twelve_requests_to_githubs_api() {
    let (address, _) = serve_from(Duration::ZERO);
    let scratch = Scratch::new(&stack());
    let ran = Ran::of(&mut scratch.command_at(&address, &["bump", "--format", "json"])).await;
    let document = ran.succeeded().json();
    let calls = document["github"]["calls"].as_u64().unwrap();
    assert!((1..=12).contains(&calls), "{document}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "its figures are what it is for")]
#[ignore = "its figures depend on what else the machine does"]
async fn latency() {
    let (address, asked) = serve_from(AWAY);
    let median = |what: &str, mut times: Vec<Duration>| {
        times.sort();
        println!("{what}: median {:?} of {times:?}", times[RUNS / 2]);
        times[RUNS / 2].as_secs_f64()
    };
    let ours = async |command: &str| {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let scratch = Scratch::new(&stack());
            *asked.lock().unwrap() = 0;
            let started = Instant::now();
            Ran::of(&mut scratch.command_at(&address, &[command])).await.succeeded();
            times.push(started.elapsed());
        }
        median(&format!("{command}, {} requests", asked.lock().unwrap()), times)
    };
    let (bump, outdated) = (ours("bump").await, ours("outdated").await);
    // llama.cpp: the newest stable release, its file, the build that this names, its file's attestation.
    let chain = AWAY * 4;
    println!("bump: {:.2} times the longest chain of {chain:?}", bump / chain.as_secs_f64());
    // For comparison, `pip install nvchecker`, by its path: it reads only the tags of the same five.
    let Some(nvchecker) = std::env::var_os("NVCHECKER") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nvchecker.toml");
    let entry = |(name, path): (&str, &str)| {
        let url = format!("{address}/repos/{path}");
        format!("[{name}]\nsource = \"regex\"\nurl = \"{url}\"\nregex = '\"tag_name\": *\"([^\"]+)\"'\n")
    };
    let entries = [
        ("node", "nodejs/node/releases"),
        ("bun", "oven-sh/bun/releases"),
        ("llamacpp", "ggml-org/llama.cpp/releases/latest"),
        ("opencode", "anomalyco/opencode/releases"),
        ("convex", "get-convex/convex-backend/releases"),
    ];
    std::fs::write(&file, entries.map(entry).concat()).unwrap();
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        let output = tokio::process::Command::new(&nvchecker).arg("--file").arg(&file).output().await.unwrap();
        times.push(started.elapsed());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(stderr.matches("updated to").count(), entries.len(), "{stderr}");
    }
    let theirs = median("nvchecker", times);
    println!("outdated: {:.2} times nvchecker; bump: {:.2} times", outdated / theirs, bump / theirs);
}
