//! A headless Chromium, controlled through a pipe, and its network and console events.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use crate::io::process;
use crate::smoke::running::start_of;

/// Chrome first: on GitHub's runners, Chromium cannot use its sandbox.
const NAMES: [&str; 3] = ["google-chrome", "chromium", "chromium-browser"];
/// The advice if there is none.
pub(in crate::smoke) const MISSING: &str = "no Chromium on PATH: apt-get install chromium";
/// Chromium reads commands from file descriptor 3 and answers on 4; here they are its standard input and output.
const PIPE: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#;
/// No requests but those of the pages, and no stored state.
const FLAGS: [&str; 11] = [
    "--headless",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
];
/// A name that resolves to this machine and is not the stack's.
pub(in crate::smoke) const FOREIGN_NAME: &str = "evil.example";
/// The hosts that are on this machine.
const THIS_MACHINE: [&str; 3] = ["127.0.0.1", "localhost", FOREIGN_NAME];
/// Texts of a broken page, in lower case.
const BROKEN: [&str; 5] =
    ["something went wrong", "application error", "server error", "uncaught", "user agent not found"];
/// Files that may be missing.
const PICTURES: [&str; 2] = ["/favicon.ico", "/avatar"];
/// Timeout in seconds of what the page does without a turn of the model.
const PATIENCE: u64 = 30;

/// The first Chromium on PATH.
pub(in crate::smoke) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// A browser with one page; it ends when dropped, with its profile.
pub(in crate::smoke) struct Page {
    program: Child,
    profile: TempDir,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// An incomplete message, kept so that a timeout does not lose its start.
    begun: Vec<u8>,
    session: Option<String>,
    calls: u64,
    pub(in crate::smoke) seen: Seen,
}

impl Drop for Page {
    /// Processes write into the profile until all have ended: so all are killed at once, and removing is retried. It
    /// blocks, because `drop` cannot await.
    fn drop(&mut self) {
        if let Some(group) = self.program.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            // There is no caller for an error.
            let _ = kill_process_group(group, Signal::KILL);
        }
        for _ in 0..30 {
            match fs_err::remove_dir_all(self.profile.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                _ => break,
            }
        }
    }
}

/// Network traffic and errors.
#[derive(Debug, Default)]
pub(in crate::smoke) struct Seen {
    /// URLs by request: of web sockets, and of other requests.
    requests: BTreeMap<String, String>,
    /// The number of messages and successful responses, by URL.
    heard: BTreeMap<String, u32>,
    /// Every response's request and status, also of responses that the page cannot read.
    answers: Vec<(String, u16)>,
    /// Requests without a response yet.
    pending: BTreeSet<String>,
    wrong: Vec<String>,
}

impl Seen {
    /// Records an event of the browser.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&params["requestId"]);
        match event["method"].as_str().unwrap_or_default() {
            "Network.webSocketCreated" => self.request(id, text(&params["url"])),
            "Network.requestWillBeSent" => self.request(id, text(&params["request"]["url"])),
            "Network.responseReceivedExtraInfo" => {
                let status = params["statusCode"].as_u64().and_then(|it| u16::try_from(it).ok()).unwrap_or_default();
                self.pending.remove(&id);
                self.answers.push((id, status));
            }
            "Network.webSocketFrameReceived" => {
                if let Some(address) = self.requests.get(&id) {
                    *self.heard.entry(address.clone()).or_default() += 1;
                }
            }
            "Network.loadingFailed" | "Network.loadingFinished" => {
                self.pending.remove(&id);
            }
            "Network.responseReceived" if params["response"]["status"] == 200 => {
                *self.heard.entry(text(&params["response"]["url"])).or_default() += 1;
            }
            "Runtime.exceptionThrown" => {
                let details = &params["exceptionDetails"];
                let messages = [&details["exception"]["description"], &details["text"]];
                let message = messages.iter().find_map(|it| it.as_str()).unwrap_or("an exception");
                self.wrong.push(start_of(message));
            }
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                let words = params["args"].as_array().into_iter().flatten();
                let words = words.filter_map(|it| it["value"].as_str().or(it["description"].as_str()));
                let words: Vec<&str> = words.collect();
                self.wrong.push(start_of(&words.join(" ")));
            }
            "Page.javascriptDialogOpening" if params["type"] != "beforeunload" => {
                self.wrong.push(start_of(&format!("it opens a dialog: {}", text(&params["message"]))));
            }
            // A missing icon or picture of the user is no error.
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                let (message, url) = (text(&params["entry"]["text"]), text(&params["entry"]["url"]));
                let path = url.split('?').next().unwrap_or_default();
                if !PICTURES.iter().any(|name| path.ends_with(name)) {
                    self.wrong.push(start_of(&format!("{message} {url}")));
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, id: String, address: String) {
        let outside = reqwest::Url::parse(&address).ok().and_then(|url| Some(url.host_str()?.to_owned()));
        if let Some(host) = outside.filter(|host| !THIS_MACHINE.contains(&host.as_str())) {
            self.wrong.push(format!("it requests {host}, outside of this machine: {}", start_of(&address)));
        }
        self.pending.insert(id.clone());
        self.requests.insert(id, address);
    }

    /// The number of messages and responses from that origin.
    pub(super) fn heard_from(&self, origin: &str) -> u32 {
        let socket = origin.replacen("http", "ws", 1);
        let from = |address: &str| {
            let rest = address.strip_prefix(origin).or_else(|| address.strip_prefix(&socket));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.heard.iter().filter(|(address, _)| from(address)).map(|(_, count)| count).sum()
    }

    /// The statuses of responses from an origin.
    pub(in crate::smoke) fn statuses(&self, origin: &str) -> Vec<u16> {
        let from = |request: &String| {
            self.requests.get(request).is_some_and(|address| address.replacen("ws", "http", 1).starts_with(origin))
        };
        self.answers.iter().filter(|(request, _)| from(request)).map(|(_, status)| *status).collect()
    }

    fn errors(&self) -> String {
        if self.wrong.is_empty() { "no errors".to_owned() } else { self.wrong.join("; ") }
    }

    /// The URLs that have not responded.
    fn unanswered(&self) -> String {
        let pending = self.pending.iter().filter_map(|id| self.requests.get(id));
        let addresses: Vec<String> = pending.map(|it| start_of(it)).collect();
        if addresses.is_empty() {
            "every request has a response".to_owned()
        } else {
            format!("no response from {}", addresses.join(", "))
        }
    }
}

impl Page {
    pub(in crate::smoke) async fn open(address: &str) -> anyhow::Result<Self> {
        let program = find().context(MISSING)?;
        let profile = TempDir::with_prefix("mission-control-browser-")?;
        let mut command = process::command("bash");
        command.args(["-c", PIPE]).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // Chromium's sandbox refuses root.
        if fs_err::metadata("/proc/self")?.uid() == 0 {
            command.arg("--no-sandbox");
        }
        command.env("HOME", profile.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = command.process_group(0).spawn().context("cannot run bash")?;
        let input = program.stdin.take().context("the browser has no input")?;
        let output = BufReader::new(program.stdout.take().context("the browser has no output")?);
        let (begun, seen) = (Vec::new(), Seen::default());
        let mut page = Self { program, profile, input, output, begun, session: None, calls: 0, seen };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.call("Target.attachToTarget", attach).await?;
        page.session = Some(session["sessionId"].as_str().context("the browser returns no session")?.to_owned());
        // The test's certificate is self-signed.
        if address.starts_with("https:") {
            page.call("Security.setIgnoreCertificateErrors", json!({ "ignore": true })).await?;
        }
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), json!({})).await?;
        }
        page.go(address).await?;
        Ok(page)
    }

    pub(in crate::smoke) async fn go(&mut self, address: &str) -> anyhow::Result<()> {
        self.call("Page.navigate", json!({ "url": address })).await.map(drop)
    }

    /// Waits for that number of messages and responses from an origin.
    pub(super) async fn hear(&mut self, origin: &str, times: u32) -> anyhow::Result<()> {
        loop {
            self.wait("document.body.innerText.trim() !== ''").await?;
            if self.seen.heard_from(origin) >= times {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Discards the recorded events.
    pub(in crate::smoke) fn forget(&mut self) {
        self.seen = Seen::default();
    }

    /// Sends a command and waits for its response; events before it are recorded.
    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let answer = tokio::time::timeout(Duration::from_secs(PATIENCE), self.exchange(method, params)).await;
        answer.unwrap_or_else(|_| {
            let (unanswered, errors) = (self.seen.unanswered(), self.seen.errors());
            bail!("the browser did not answer to {method} within {PATIENCE} s; {unanswered}, {errors}")
        })
    }

    async fn exchange(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        let id = self.send(method, params).await?;
        loop {
            self.output.read_until(0, &mut self.begun).await?;
            let mut bytes = std::mem::take(&mut self.begun);
            ensure!(bytes.pop() == Some(0), "the browser has ended");
            let mut message: Value = serde_json::from_slice(&bytes)?;
            if message["id"] == id {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]["message"]);
                return Ok(message["result"].take());
            }
            // Convex's client asks for confirmation to leave while a write is pending, which blocks the page.
            if message["method"] == "Page.javascriptDialogOpening" {
                self.send("Page.handleJavaScriptDialog", json!({ "accept": true })).await?;
            }
            self.seen.note(&message);
        }
    }

    /// Sends a command; returns its number.
    async fn send(&mut self, method: &str, params: Value) -> anyhow::Result<u64> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.input.write_all(&bytes).await.context("the browser has ended")?;
        Ok(self.calls)
    }

    /// Evaluates an expression in the page.
    pub(in crate::smoke) async fn value(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params).await?;
        ensure!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]["text"]);
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression is true; a page that is being replaced has no value yet.
    pub(in crate::smoke) async fn wait(&mut self, expression: &str) -> anyhow::Result<()> {
        loop {
            match self.value(&format!("document.body !== null && ({expression})")).await {
                Ok(value) if value == true => return Ok(()),
                Err(error) if error.to_string().contains("has ended") => return Err(error),
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Types into a field.
    pub(super) async fn fill(&mut self, field: &str, text: &str) -> anyhow::Result<()> {
        let enabled = format!("document.querySelector(`{field}`)?.disabled === false");
        self.expect(&format!("a field {field}"), &enabled).await?;
        self.value(&format!("document.querySelector(`{field}`).focus()")).await?;
        self.call("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    /// Waits for an expression to be true; the error has the page's text.
    pub(super) async fn expect(&mut self, what: &str, expression: &str) -> anyhow::Result<()> {
        self.expect_within(PATIENCE, what, expression).await
    }

    pub(super) async fn expect_within(&mut self, seconds: u64, what: &str, expression: &str) -> anyhow::Result<()> {
        if tokio::time::timeout(Duration::from_secs(seconds), self.wait(expression)).await.is_ok_and(|it| it.is_ok()) {
            return Ok(());
        }
        bail!("no {what} after {seconds} s; the page shows {}", self.shown().await?)
    }

    /// Waits until the page shows a text, ignoring case.
    pub(super) async fn read(&mut self, text: &str) -> anyhow::Result<()> {
        let text = text.to_lowercase();
        let shown = format!("document.body.innerText.toLowerCase().includes({})", json!(text));
        self.expect(&format!("text {text:?}"), &shown).await
    }

    /// Clicks an element with a text or title, once it is enabled and not covered.
    pub(super) async fn click(&mut self, text: &str) -> anyhow::Result<()> {
        let place = format!(
            "(() => {{
                const wanted = {};
                const named = (it) => it.title?.toLowerCase() === wanted || it.innerText.toLowerCase().includes(wanted);
                const found = [...document.querySelectorAll('button, a, h3')].filter(named).at(-1);
                if (!found || found.disabled) return undefined;
                found.scrollIntoView({{ block: 'center', inline: 'center' }});
                const {{ x, y, width, height }} = found.getBoundingClientRect();
                const place = [x + width / 2, y + height / 2];
                return found.contains(document.elementFromPoint(...place)) ? place : undefined;
            }})()",
            json!(text.to_lowercase())
        );
        self.expect(&format!("{text:?} that can be pressed"), &format!("{place} !== undefined")).await?;
        let place = self.value(&place).await?;
        self.press(place[0].as_f64().unwrap_or_default(), place[1].as_f64().unwrap_or_default()).await
    }

    pub(super) async fn press(&mut self, x: f64, y: f64) -> anyhow::Result<()> {
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event).await?;
        }
        Ok(())
    }

    pub(super) async fn resize(&mut self, width: u32) -> anyhow::Result<()> {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await.map(drop)
    }

    /// Fails on an error that the page shows or logged, and on a request that left this machine.
    pub(super) async fn fine(&mut self) -> anyhow::Result<()> {
        if let Some(broken) = self.first_of(&BROKEN).await? {
            bail!("the page says {broken:?}: {}", self.shown().await?);
        }
        ensure!(self.seen.wrong.is_empty(), "{}", self.seen.errors());
        Ok(())
    }

    /// The first of these texts, in lower case, that the page shows.
    pub(super) async fn first_of<'a>(&mut self, texts: &[&'a str]) -> anyhow::Result<Option<&'a str>> {
        let shown = self.value("document.body.innerText.toLowerCase()").await?;
        let shown = shown.as_str().unwrap_or_default();
        Ok(texts.iter().copied().find(|it| shown.contains(*it)))
    }

    /// The page's text and its errors, for a message.
    pub(super) async fn shown(&mut self) -> anyhow::Result<String> {
        Ok(format!("{:?}, {}", self.text().await?, self.seen.errors()))
    }

    pub(in crate::smoke) async fn text(&mut self) -> anyhow::Result<String> {
        let text = self.value("document.body.innerText").await?;
        Ok(start_of(text.as_str().unwrap_or_default()))
    }

    /// Writes a screenshot; returns its path.
    pub(super) async fn screenshot(&mut self, file: &Path) -> anyhow::Result<String> {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let data = taken["data"].as_str().context("the browser returns no picture")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).context("the picture is not base64")?;
        fs_err::write(file, bytes)?;
        Ok(file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_and_messages_of_an_origin_are_counted() {
        let mut seen = Seen::default();
        let event = |method: &str, params: Value| json!({ "method": method, "params": params });
        let created = json!({ "requestId": "1", "url": "ws://127.0.0.1:3210/api/1.2/sync" });
        seen.note(&event("Network.webSocketCreated", created));
        seen.note(&event("Network.webSocketFrameReceived", json!({ "requestId": "1" })));
        seen.note(&event("Network.webSocketFrameReceived", json!({ "requestId": "2" })));
        for (url, status) in [
            ("http://127.0.0.1:3210/version", 200),
            ("http://127.0.0.1:3210/api/query", 401),
            ("http://127.0.0.1:32101/version", 200),
        ] {
            seen.note(&event("Network.responseReceived", json!({ "response": { "url": url, "status": status } })));
        }
        assert_eq!(seen.heard_from("http://127.0.0.1:3210"), 2);
        assert_eq!(seen.heard_from("http://127.0.0.1:3000"), 0);
    }

    #[test]
    fn errors_and_requests_to_other_machines_are_recorded() {
        let mut seen = Seen::default();
        let thrown =
            json!({ "exceptionDetails": { "text": "Uncaught", "exception": { "description": "Error: a\n b" } } });
        seen.note(&json!({ "method": "Runtime.exceptionThrown", "params": thrown }));
        for level in ["error", "warning"] {
            let entry = json!({ "entry": { "level": level, "text": "Failed to load", "url": "http://a/b" } });
            seen.note(&json!({ "method": "Log.entryAdded", "params": entry }));
            let call = json!({ "type": level, "args": [{ "value": "no" }, { "description": "Error: c" }] });
            seen.note(&json!({ "method": "Runtime.consoleAPICalled", "params": call }));
        }
        for url in ["http://127.0.0.1:1/a", "data:text/plain,a", "https://cdn.example/editor.js"] {
            let sent = json!({ "requestId": url, "request": { "url": url } });
            seen.note(&json!({ "method": "Network.requestWillBeSent", "params": sent }));
        }
        let outside = "it requests cdn.example, outside of this machine: https://cdn.example/editor.js";
        assert_eq!(seen.wrong, ["Error: a b", "Failed to load http://a/b", "no Error: c", outside]);
    }
}
