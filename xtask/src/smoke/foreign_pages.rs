//! Pages of other origins in a real browser: on another port of the same name, on another name, and on a name that was
//! rebound to this machine. They must read nothing and send nothing.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::browser::page::{FOREIGN_NAME, Page};
use super::running::{BACKEND, DASHBOARD, GATEWAY, LLAMA, MANAGER, OPENCODE, PAGE, Running, ensure_none};

/// Tries all ways of a page to reach another origin, and returns which succeeded. Only the statuses of the responses
/// show whether forms, frames and requests without CORS had an effect.
const TRY: &str = r#"(async () => {
  const target = TARGET;
  const done = {};
  const attempt = async (name, work) => {
    const late = new Promise((resolve) => setTimeout(resolve, 4000, "late"));
    try { done[name] = await Promise.race([work(), late]) } catch { done[name] = null }
  };
  const loaded = (element) => new Promise((resolve) => {
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve(null);
    document.body.append(element);
  });
  const element = (kind, more) => Object.assign(document.createElement(kind), more);
  await Promise.all([
    attempt("fetch", async () => (await fetch(target)).status),
    attempt("fetch with cookies", async () => (await fetch(target, { credentials: "include" })).status),
    attempt("fetch POST", async () => (await fetch(target, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" })).status),
    attempt("socket", () => new Promise((resolve) => {
      const socket = new WebSocket(target.replace("http", "ws"));
      socket.onopen = () => resolve("open");
      socket.onerror = () => resolve(null);
    })),
    attempt("script", () => loaded(element("script", { src: target }))),
    attempt("image", () => loaded(element("img", { src: target }))),
  ]);
  const without = async (method) => { await fetch(target, { method, mode: "no-cors", credentials: "include", body: method === "POST" ? "{}" : undefined }) };
  await Promise.all([without("GET"), without("POST")]).catch(() => {});
  const frame = element("iframe", { name: "frame", src: target });
  await Promise.race([loaded(frame), new Promise((resolve) => setTimeout(resolve, 2000))]);
  const form = element("form", { method: "post", action: target, target: "frame", enctype: "text/plain" });
  document.body.append(form);
  const sent = new Promise((resolve) => { frame.onload = resolve; setTimeout(resolve, 2000) });
  form.submit();
  await sent;
  return done;
})()"#;
/// What it tries to reach: a port and a path.
const TARGETS: [(&str, &str); 8] = [
    (DASHBOARD, "/api/current_deployment"),
    (BACKEND, "/api/1.31.7/sync"),
    (PAGE, "/api/1.31.7/sync"),
    (PAGE, "/hooks/agent"),
    (OPENCODE, "/pty"),
    (GATEWAY, "/"),
    (LLAMA, "/v1/models"),
    (MANAGER, "/api/health"),
];

pub(super) async fn attack_unsigned(running: &Running<'_>) -> anyhow::Result<String> {
    let mut page = Page::open("about:blank").await?;
    let summary = attack(running, &mut page).await?;
    let mut rebound = 0;
    for setting in running.settings() {
        page.go(&format!("http://{FOREIGN_NAME}:{}/", running.port(setting)?)).await?;
        page.wait("document.body.innerText !== ''").await?;
        let text = page.text().await?;
        ensure!(text.contains("ALLOWED_HOSTS"), "{setting} under {FOREIGN_NAME} shows {text:?}");
        rebound += 1;
    }
    Ok(format!("{summary}; {rebound} ports under a rebound name say what to set"))
}

/// Makes all attempts in a browser, which may be signed in to the stack.
pub(super) async fn attack(running: &Running<'_>, page: &mut Page) -> anyhow::Result<String> {
    let (_served, port) = serve().await?;
    let mut answers = 0;
    for name in ["127.0.0.1", FOREIGN_NAME] {
        for (setting, path) in TARGETS {
            let origin = running.origin(setting)?;
            let from = format!("http://{name}:{port}/");
            page.go(&from).await?;
            page.wait("document.body.innerText === 'foreign'").await?;
            page.forget();
            let target = json!(format!("{origin}{path}")).to_string();
            let done = page.value(&TRY.replace("TARGET", &target)).await?;
            let done = done.as_object().with_context(|| format!("{from} could not try {target}"))?;
            let got = done.iter().filter(|(_, value)| !value.is_null()).map(|(how, what)| format!("{how} {what}"));
            ensure_none(&format!("{from} reached {target}: "), ", ", got)?;
            let statuses = page.seen.statuses(&origin);
            ensure!(!statuses.is_empty(), "{from}: the browser sent no request to {target}");
            let taken = statuses.iter().filter(|it| **it != 403);
            ensure_none(&format!("{from}: requests to {target} get "), ", ", taken)?;
            answers += statuses.len();
        }
    }
    Ok(format!("{answers} requests of pages on another port and another name, each 403"))
}

/// Serves an empty page on a free port of this machine, until the result is dropped.
async fn serve() -> anyhow::Result<(JoinSet<()>, u16)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let page = "<!doctype html><title>foreign</title><body>foreign";
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}", page.len());
                let _ = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{page}").as_bytes()).await;
            });
        }
    });
    Ok((serving, port))
}
