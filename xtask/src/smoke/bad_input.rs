//! What a front must withstand: requests that never end, many idle clients, large and slow transfers, and its own
//! crash.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::published::{COOKIE, ECHO_PORT, sign_in};
use super::raw;
use super::report::Report;
use super::running::{LLAMA_KEY, PAGE, Running, until};
use super::security::processes;

const LARGE: usize = 80 * 1024 * 1024;
/// Seconds that a response pauses; the usual timeout of a proxy is 60.
const PAUSE: u64 = 65;
/// Opens web sockets to a port with an Authorization header, and prints how many were open while another request was
/// answered.
const IDLE: &str = r#"
import { request } from "node:http";
import { secret } from "/opt/stack/lib/settings/read.mjs";
const [port, count] = process.argv.slice(1).map(Number);
const headers = { Host: `127.0.0.1:${port}`, Authorization: `Bearer ${secret("LLAMACPP_API_KEY")}` };
const socket = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==" };
const send = (more) => new Promise((resolve) => {
  const sent = request({ port, host: "127.0.0.1", agent: false, headers: { ...headers, ...more } });
  sent.on("upgrade", () => resolve(101)).on("response", (answer) => resolve(answer.statusCode)).on("error", (error) => resolve(error.code)).end();
});
let open = 0;
for (let asked = 0; asked < count; asked += 100) {
  open += (await Promise.all([...Array(100).keys()].map(() => send(socket)))).filter((it) => it === 101).length;
}
console.log(JSON.stringify({ open, answered: await send({}) }));
process.exit(0);
"#;

/// Checks that wait for a long time; others go on meanwhile.
pub(super) struct Waiting {
    headers: JoinHandle<anyhow::Result<String>>,
    pause: Option<JoinHandle<anyhow::Result<String>>>,
}

impl Waiting {
    pub(super) async fn begin(running: &Running<'_>) -> anyhow::Result<Self> {
        let headers = tokio::spawn(unfinished(running.address(PAGE)?));
        if running.bench.quick {
            return Ok(Self { headers, pause: None });
        }
        let session = sign_in(running, ECHO_PORT).await?;
        let pause = tokio::spawn(pause(running.address(ECHO_PORT)?, session));
        Ok(Self { headers, pause: Some(pause) })
    }
}

pub(super) async fn prove(report: &mut Report, running: &Running<'_>, waiting: Waiting) {
    report.group("bad input");
    report.see("1,000 idle WebSockets", 60, idle(running)).await;
    report.see("a large upload is not buffered", 60, upload(running)).await;
    report.see("endless headers are cut off", 60, async { waiting.headers.await? }).await;
    if let Some(pause) = waiting.pause {
        report.see("a slow response is not cut off", PAUSE + 20, async { pause.await? }).await;
    }
    report.see("the front is killed during an upload", 60, killed(running)).await;
}

/// Sends the start of a request, a line now and then, until the server closes the connection.
async fn unfinished(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let started = Instant::now();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\n").as_bytes()).await?;
    let mut read = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_secs(3), stream.read_buf(&mut read)).await {
            // It has sent a status, or just closed.
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => {
                let seconds = started.elapsed().as_secs();
                ensure!(seconds < 45, "it still waits after {seconds} s");
                let _ = stream.write_all(b"X-A: b\r\n").await;
            }
        }
    }
    Ok(format!("after {:.0} s", started.elapsed().as_secs_f64()))
}

async fn idle(running: &Running<'_>) -> anyhow::Result<String> {
    let port = running.port(ECHO_PORT)?.to_string();
    let result = running.node(IDLE, &[&port, "1000"]).await?;
    ensure!(result["open"] == 1000 && result["answered"] == 200, "{result}");
    Ok("all open, and a request is answered".to_owned())
}

/// The start of a request to the echo server, without the headers on its length.
fn upload_head(running: &Running<'_>) -> anyhow::Result<String> {
    let (address, key) = (running.address(ECHO_PORT)?, running.secret(LLAMA_KEY)?);
    Ok(format!("POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n"))
}

async fn upload(running: &Running<'_>) -> anyhow::Result<String> {
    let address = running.address(ECHO_PORT)?;
    let head = upload_head(running)?;
    for (how, header, end) in [
        ("with its length", format!("Content-Length: {LARGE}\r\n\r\n"), ""),
        ("in chunks", format!("Transfer-Encoding: chunked\r\n\r\n{LARGE:x}\r\n"), "\r\n0\r\n\r\n"),
    ] {
        let bytes = [head.as_bytes(), header.as_bytes(), &vec![b'a'; LARGE], end.as_bytes()].concat();
        let reply = raw::send_patiently(address, &bytes, Duration::from_secs(30)).await?;
        let seen: Value = serde_json::from_str(reply.body()).with_context(|| format!("{how}: {}", reply.summary()))?;
        ensure!(seen["bytes"] == LARGE, "{how}, {} bytes arrive", seen["bytes"]);
    }
    Ok(format!("{} MiB, with their length and in chunks", LARGE >> 20))
}

async fn pause(address: SocketAddr, session: String) -> anyhow::Result<String> {
    let request =
        format!("GET /pause?seconds={PAUSE} HTTP/1.1\r\nHost: {address}\r\nCookie: {COOKIE}={session}\r\n\r\n");
    let reply = raw::send_patiently(address, request.as_bytes(), Duration::from_secs(PAUSE + 10)).await?;
    ensure!(reply.text.contains("begin\n") && reply.text.contains("end\n"), "it is cut: {}", reply.summary());
    Ok(format!("{PAUSE} s within a stream"))
}

async fn killed(running: &Running<'_>) -> anyhow::Result<String> {
    let key = running.secret(LLAMA_KEY)?;
    let others = async || {
        let mut all = processes(running).await?;
        all.retain(|it| !matches!(it.service(), "supervisor" | "front"));
        anyhow::Ok(all.iter().map(|it| format!("{} {}", it.pid, it.words)).collect::<Vec<_>>())
    };
    let before = others().await?;
    let mut stream = TcpStream::connect(running.address(ECHO_PORT)?).await?;
    let head = format!("{}Content-Length: {LARGE}\r\n\r\n", upload_head(running)?);
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b'a'; LARGE / 8]).await?;
    let pid = running.container.exec(&["s6-svstat", "-o", "pid", "/run/stack/scan/front"]).await?;
    running.container.exec(&["bash", "-c", r#"kill -KILL "$0""#, pid.trim()]).await?;
    let started = Instant::now();
    until(|| async {
        let reply = raw::ask(running, ECHO_PORT, &format!("GET /|Authorization: Bearer {key}")).await;
        Ok(reply.is_ok_and(|it| it.status == 200).then_some(()))
    })
    .await?;
    let back = started.elapsed().as_secs_f64();
    let now = running.container.exec(&["s6-svstat", "-o", "pid", "/run/stack/scan/front"]).await?;
    ensure!(now != pid, "it was not killed");
    ensure!(back < 5.0, "it is back after {back:.1} s");
    let after = others().await?;
    ensure!(before == after && !before.is_empty(), "of those behind, {before:?} became {after:?}");
    Ok(format!("back after {back:.1} s; {} processes behind it are the same", before.len()))
}
