//! The cache of network replies: unchanged replies are not sent again, interrupted transfers continue, and `--offline`
//! sends no requests.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use wiremock::matchers::{header, header_exists, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{Scratch, TOOL, digest_of, release, serve_text, serve_tool, zip_of};

#[tokio::test]
async fn an_unchanged_listing_is_not_sent_again() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    let releases = vec![release("v1.0.0", "2026-09-01", false, &[("tool.zip", "x")])];
    let listing = || Mock::given(path("/repos/a/tool/releases"));
    let whole = ResponseTemplate::new(200).set_body_json(&releases).insert_header("etag", "W/\"1\"");
    listing().respond_with(whole).expect(1).mount(&server).await;
    scratch.run(&server, &["bump"]).await.succeeded();
    let mut unchanged = ResponseTemplate::new(304);
    for (name, value) in [("remaining", "59"), ("limit", "60"), ("reset", "1800000000")] {
        unchanged = unchanged.insert_header(format!("x-ratelimit-{name}"), value);
    }
    let conditional = listing().and(header("if-none-match", "W/\"1\""));
    conditional.respond_with(unchanged).with_priority(1).expect(1).mount(&server).await;
    let ran = scratch.run(&server, &["outdated", "--format", "json"]).await;
    let document = ran.succeeded().json();
    assert_eq!(document["components"][0]["newest"]["version"], "1.0.0");
    assert_eq!(document["github"]["calls"], 1);
    assert_eq!(document["github"]["left"]["remaining"], 59, "{document}");
    server.verify().await;
    // A damaged cached body is not used.
    for body in std::fs::read_dir(scratch.cache.path().join("mission-control-xtask/bodies")).unwrap() {
        std::fs::write(body.unwrap().path(), "[]").unwrap();
    }
    serve_tool(&server, releases).await;
    scratch.run(&server, &["outdated"]).await.succeeded();
}

#[tokio::test]
async fn offline_uses_the_last_runs_replies_and_sends_no_requests() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    serve_tool(&server, vec![release("v1.0.0", "2026-09-01", false, &[("tool.zip", "x")])]).await;
    scratch.run(&server, &["outdated", "--offline"]).await.failed_with(&[
        "failed to look up `tool`",
        "is not in the store, and --offline allows no download",
        "hint: run it once without --offline",
    ]);
    scratch.run(&server, &["bump"]).await.succeeded();
    server.reset().await;
    scratch.run(&server, &["outdated", "--offline"]).await.printed(&["up to date"]);
    let old = scratch.lock();
    std::fs::remove_file(scratch.lock_path()).unwrap();
    scratch.run(&server, &["bump", "--offline"]).await.succeeded();
    assert_eq!(scratch.lock(), old);
    assert!(server.received_requests().await.unwrap().is_empty());
}

/// Serves one file with an `ETag`, but only `piece` bytes per request; records requests and the number of sent bytes.
fn breaking_server(file: Vec<u8>, piece: usize, asked: Arc<Mutex<Vec<String>>>, sent: Arc<AtomicUsize>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            let request = String::from_utf8_lossy(&request).to_lowercase();
            let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).map(str::to_owned);
            asked.lock().unwrap().push(range.clone().unwrap_or_default());
            let from: usize = range.and_then(|range| range.trim_end_matches('-').parse().ok()).unwrap_or(0);
            let status = if from > 0 {
                format!("206 Partial Content\r\ncontent-range: bytes {from}-{}/{}", file.len() - 1, file.len())
            } else {
                "200 OK".to_owned()
            };
            let head = format!(
                "HTTP/1.1 {status}\r\netag: \"1\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                file.len() - from
            );
            let to = (from + piece).min(file.len());
            sent.fetch_add(to - from, Ordering::Relaxed);
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&file[from..to]));
        }
    });
    address
}

#[tokio::test]
async fn an_interrupted_transfer_continues_also_in_the_next_run() {
    let mut file = zip_of(&["tool"]);
    file.resize(400_000, 7);
    let (asked, sent) = (Arc::default(), Arc::default());
    // The three tries of a run transfer 300,000 bytes.
    let address = breaking_server(file.clone(), 100_000, Arc::clone(&asked), Arc::clone(&sent));
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    let scratch = scratch.mirror("https://github.com/tool.zip", &format!("{address}/tool.zip"));
    scratch.pin_tool(&digest_of(&file));
    let fetch = async |more: &[&str]| scratch.run(&server, &[&["fetch", "--format", "json"], more].concat()).await;
    fetch(&[]).await.failed_with(&["failed to fetch `tool`", "cannot GET https://github.com/tool.zip"]);
    fetch(&["--offline"]).await.failed_with(&["is not in the store"]);
    let ran = fetch(&[]).await;
    let tool = &ran.succeeded().json()["components"][0];
    assert_eq!([&tool["size"], &tool["known"]], [400_000, 0]);
    assert_eq!(*asked.lock().unwrap(), ["", "100000-", "200000-", "300000-"]);
    assert_eq!(sent.load(Ordering::Relaxed), file.len(), "each byte is sent once");
    let ran = fetch(&["--offline"]).await;
    assert_eq!(ran.succeeded().json()["components"][0]["known"], 1);
}

#[tokio::test]
async fn fetched_files_must_match_their_pins_and_damaged_parts_are_discarded() {
    let (scratch, server) = (Scratch::new(TOOL), MockServer::start().await);
    scratch.pin_tool(&digest_of(b"the file"));
    serve_text(&server, "/github/tool.zip", "another file").await;
    scratch.run(&server, &["fetch"]).await.failed_with(&[
        "failed to fetch `tool`",
        "https://github.com/tool.zip has the sha256",
        "hint: see `cargo xtask verify tool`",
    ]);
    server.reset().await;
    let rest = ResponseTemplate::new(206).set_body_string("file").insert_header("content-range", "bytes 4-7/8");
    let of_rest = Mock::given(method("GET")).and(header_exists("range"));
    of_rest.respond_with(rest).with_priority(1).expect(1).mount(&server).await;
    serve_text(&server, "/github/tool.zip", "the file").await;
    // Left by a killed run.
    let partial = scratch.cache.path().join("mission-control-xtask/partial");
    let uri = format!("file {}/github/tool.zip\n\n", server.uri());
    let key = digest_of(uri.as_bytes())[7..].to_owned();
    std::fs::write(partial.join(&key), "bad!").unwrap();
    std::fs::write(partial.join(format!("{key}.etag")), "\"1\"").unwrap();
    let fetched = "tool: 1 file, 8 B, 0 of them in the store already";
    scratch.run(&server, &["fetch"]).await.printed(&[fetched]);
    assert_eq!(std::fs::read_dir(&partial).unwrap().count(), 0);
}
