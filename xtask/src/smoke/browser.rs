//! A headless Chromium that is spoken to over a pipe, and what it sees of the pages.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::foreign_pages;
use super::report::Report;
use super::running::{Bench, Running, start_of};
use crate::io::process;

/// Chrome first: where a runner has both, its Chromium has no sandbox that can be used.
const NAMES: [&str; 3] = ["google-chrome", "chromium", "chromium-browser"];
/// What there is to install where none of them is found.
pub(super) const MISSING: &str = "no Chromium on PATH: apt-get install chromium";
/// Chromium reads commands from its third file and answers on its fourth; ours are the first two.
const PIPE: &str = r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#;
/// Nothing but the pages is to be fetched, and nothing kept.
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
/// A name that leads to this machine and is not the stack's.
pub(super) const FOREIGN_NAME: &str = "evil.example";

pub(super) async fn prove(report: &mut Report, running: &Running<'_>, nonce: &str, output: &Path, program: &Path) {
    report.group("browser");
    let name = "Mission Control's page signs in and shows the run";
    report.see(name, 90, mission_control(running, nonce, output, program)).await;
    report.see("the dashboard logs in by itself", 60, dashboard(running, output, program)).await;
    let name = "pages that are not the stack's get nothing";
    report.see(name, 120, foreign_pages::attack_unsigned(running, program)).await;
}

/// On a stack that asks for its password: the form, what it opens, and that it opens nothing to another page.
pub(super) async fn prove_signed_in(report: &mut Report, running: &Running<'_>, output: &Path, program: &Path) {
    let mut page = None;
    let signed_in = async {
        let (signed_in, told) = sign_in(running, output, program).await?;
        page = Some(signed_in);
        Ok(told)
    };
    report.see("a browser signs in through the form", 90, signed_in).await;
    if let Some(mut page) = page {
        let name = "no other page has a part in its session";
        report.see(name, 120, foreign_pages::attack(running, &mut page)).await;
    }
}

/// Signs in through the form, and opens the pages.
pub(super) async fn signed_in(running: &Running<'_>, output: &Path, program: &Path) -> anyhow::Result<String> {
    Ok(sign_in(running, output, program).await?.1)
}

async fn sign_in(running: &Running<'_>, output: &Path, program: &Path) -> anyhow::Result<(Page, String)> {
    let origin = running.origin("MISSION_CONTROL_PORT")?;
    let mut page = Page::open(program, &format!("{origin}/")).await?;
    let opened = open_pages(running, output, &mut page, &origin);
    let Ok(picture) = tokio::time::timeout(std::time::Duration::from_secs(60), opened).await else {
        anyhow::bail!("after 60 s it shows {:?}, {}", page.text().await?, page.seen.told())
    };
    let picture = picture?;
    ensure!(page.seen.wrong.is_empty(), "{}", page.seen.told());
    Ok((page, format!("Mission Control, the dashboard and /_stack open; {picture}")))
}

/// Fills in the form, then opens one page after the other; gives the picture of the form.
async fn open_pages(running: &Running<'_>, output: &Path, page: &mut Page, origin: &str) -> anyhow::Result<String> {
    page.wait("!!document.querySelector('form[action=\"/_stack/sign-in\"]')").await?;
    page.fill("input[type=password]", running.secret("ACCESS_PASSWORD")?).await?;
    let picture = page.screenshot(&output.join("sign-in.png")).await?;
    page.value("document.querySelector('form button').click()").await?;
    page.wait("document.title !== 'Sign in' && document.body.innerText.trim() !== ''").await?;
    // The page speaks to Convex when somebody logs in to it; a stand-in does so at once.
    let backend = format!("{origin}/api");
    while page.seen.heard_from(&backend) == 0 && !log_in(page, &Bench::nonce()).await? {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    page.hear(&backend, 1).await?;
    let dashboard = running.origin("CONVEX_DASHBOARD_PORT")?;
    page.go(&format!("{dashboard}/data")).await?;
    // The first answer is the front's, with the key.
    page.hear(&format!("{dashboard}/api"), 2).await?;
    page.go(&format!("{origin}/_stack")).await?;
    page.wait("document.body.innerText.includes('Everything that is switched on is up')").await?;
    Ok(picture)
}

/// The first Chromium on PATH.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

async fn mission_control(running: &Running<'_>, nonce: &str, output: &Path, program: &Path) -> anyhow::Result<String> {
    let origin = running.origin("MISSION_CONTROL_PORT")?;
    let backend = format!("{origin}/api");
    let mut page = Page::open(program, &origin).await?;
    let shown = async {
        // A form where the page asks who one is; a stand-in shows its tasks at once.
        let form = "!!document.querySelector('form input[type=password]')";
        let begun = page.wait(&format!("{form} || document.body.innerText.toLowerCase().includes('{nonce}')")).await;
        begun.context("neither a form nor the run is shown")?;
        let asks = log_in(&mut page, nonce).await?;
        page.wait(&format!("document.body.innerText.toLowerCase().includes('{nonce}')")).await?;
        anyhow::Ok(if asks { "signed in through its form" } else { "it asks for no account" })
    };
    let shown = tokio::time::timeout(std::time::Duration::from_secs(60), shown).await;
    let picture = page.screenshot(&output.join("mission-control.png")).await?;
    let how = match shown {
        Ok(shown) => shown?,
        Err(_) => {
            anyhow::bail!("the run is not shown after 60 s; it shows {:?}, {}", page.text().await?, page.seen.told())
        }
    };
    let spoken = page.seen.heard_from(&backend);
    ensure!(spoken > 0, "it heard nothing from Convex at {backend}");
    ensure!(page.seen.wrong.is_empty(), "{}", page.seen.told());
    Ok(format!("{how}; {spoken} messages from Convex; {picture}"))
}

/// Fills in Mission Control's own form where it is shown; tells whether it is.
async fn log_in(page: &mut Page, name: &str) -> anyhow::Result<bool> {
    let asks = page.value("!!document.querySelector('form input[type=email]')").await?.as_bool() == Some(true);
    if asks {
        page.fill("input[type=email]", &format!("{name}@example.com")).await?;
        page.fill("input[type=password]", name).await?;
        page.value("document.querySelector('form button[type=submit]').click()").await?;
    }
    Ok(asks)
}

async fn dashboard(running: &Running<'_>, output: &Path, program: &Path) -> anyhow::Result<String> {
    let origin = running.origin("CONVEX_DASHBOARD_PORT")?;
    let backend = format!("{origin}/api");
    let mut page = Page::open(program, &format!("{origin}/data")).await?;
    // What the page looks like is upstream's affair; that it asks the backend, and is answered, is ours.
    // The first answer is the front's, with the key.
    let asked = page.hear(&backend, 2);
    let asked = tokio::time::timeout(std::time::Duration::from_secs(40), asked).await;
    let picture = page.screenshot(&output.join("dashboard.png")).await?;
    ensure!(asked.is_ok(), "nothing from {backend}; it shows {:?}, {}", page.text().await?, page.seen.told());
    ensure!(page.seen.wrong.is_empty(), "{}", page.seen.told());
    Ok(format!("{} answers from Convex; {picture}", page.seen.heard_from(&backend)))
}

/// A browser and what it keeps; both end when this is dropped.
struct Browser {
    program: Child,
    profile: TempDir,
}

impl Drop for Browser {
    /// Its processes write into the profile until the last of them has ended: so they are ended all at once, and
    /// what one of them still wrote is removed after it. Nothing can be awaited here.
    fn drop(&mut self) {
        if let Some(group) = self.program.id() {
            let mut kill = std::process::Command::new("kill");
            // There is nobody left to tell.
            let _ = kill.args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
        }
        for _ in 0..30 {
            match fs_err::remove_dir_all(self.profile.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                _ => break,
            }
        }
    }
}

/// A browser with one page in it.
pub(super) struct Page {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// A message that is not all there: a wait that is given up must not lose its beginning.
    begun: Vec<u8>,
    session: Option<String>,
    calls: u64,
    seen: Seen,
    _browser: Browser,
}

/// What went over the wire, and what went wrong.
#[derive(Debug, Default)]
struct Seen {
    /// Addresses by request: of sockets, and of what was fetched.
    requests: BTreeMap<String, String>,
    /// Messages and good answers, by address.
    heard: BTreeMap<String, u32>,
    /// Every answer, also one that the page does not get: its request and its status.
    answers: Vec<(String, u16)>,
    wrong: Vec<String>,
}

impl Seen {
    /// Takes in an event of the browser.
    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["method"].as_str().unwrap_or_default() {
            "Network.webSocketCreated" => {
                self.requests.insert(text(&params["requestId"]), text(&params["url"]));
            }
            "Network.requestWillBeSent" => {
                self.requests.insert(text(&params["requestId"]), text(&params["request"]["url"]));
            }
            "Network.responseReceivedExtraInfo" => {
                let status = params["statusCode"].as_u64().and_then(|it| u16::try_from(it).ok()).unwrap_or_default();
                self.answers.push((text(&params["requestId"]), status));
            }
            "Network.webSocketFrameReceived" => {
                if let Some(address) = self.requests.get(&text(&params["requestId"])) {
                    *self.heard.entry(address.clone()).or_default() += 1;
                }
            }
            "Network.responseReceived" if params["response"]["status"] == 200 => {
                *self.heard.entry(text(&params["response"]["url"])).or_default() += 1;
            }
            "Runtime.exceptionThrown" => {
                let details = &params["exceptionDetails"];
                let said = [&details["exception"]["description"], &details["text"]];
                let said = said.iter().find_map(|it| it.as_str()).unwrap_or("an exception");
                self.wrong.push(start_of(said));
            }
            // What the page's own security policy forbids; a font that cannot be fetched is none of ours.
            "Log.entryAdded" if params["entry"]["source"] == "security" && params["entry"]["level"] == "error" => {
                self.wrong.push(start_of(&text(&params["entry"]["text"])));
            }
            _ => {}
        }
    }

    /// How often something came from that origin, over HTTP or a web socket.
    fn heard_from(&self, origin: &str) -> u32 {
        let socket = origin.replacen("http", "ws", 1);
        let from = |address: &str| {
            let rest = address.strip_prefix(origin).or_else(|| address.strip_prefix(&socket));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.heard.iter().filter(|(address, _)| from(address)).map(|(_, count)| count).sum()
    }

    fn told(&self) -> String {
        if self.wrong.is_empty() { "nothing went wrong in it".to_owned() } else { self.wrong.join("; ") }
    }
}

impl Page {
    pub(super) async fn open(program: &Path, address: &str) -> anyhow::Result<Self> {
        let profile = TempDir::with_prefix("mission-control-browser-")?;
        let mut command = process::command("bash");
        command.args(["-c", PIPE]).arg(program).args(FLAGS);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        // Chromium's sandbox refuses root.
        if fs_err::metadata("/proc/self")?.uid() == 0 {
            command.arg("--no-sandbox");
        }
        command.env("HOME", profile.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut browser = Browser { program: command.process_group(0).spawn().context("cannot run bash")?, profile };
        let input = browser.program.stdin.take().context("the browser has no input")?;
        let output = BufReader::new(browser.program.stdout.take().context("the browser has no output")?);
        let mut page = Self {
            input,
            output,
            begun: Vec::new(),
            session: None,
            calls: 0,
            seen: Seen::default(),
            _browser: browser,
        };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" })).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = page.call("Target.attachToTarget", attach).await?;
        page.session = Some(session["sessionId"].as_str().context("the browser gives no session")?.to_owned());
        // Nobody has signed the certificate of a test.
        if address.starts_with("https:") {
            page.call("Security.setIgnoreCertificateErrors", json!({ "ignore": true })).await?;
        }
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), json!({})).await?;
        }
        page.go(address).await?;
        Ok(page)
    }

    pub(super) async fn go(&mut self, address: &str) -> anyhow::Result<()> {
        self.call("Page.navigate", json!({ "url": address })).await.map(drop)
    }

    /// Waits until something came from an origin so often.
    async fn hear(&mut self, origin: &str, times: u32) -> anyhow::Result<()> {
        loop {
            self.wait("document.body.innerText.trim() !== ''").await?;
            if self.seen.heard_from(origin) >= times {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        }
    }

    /// Begins to note afresh.
    pub(super) fn forget(&mut self) {
        self.seen = Seen::default();
    }

    /// What was answered to the page's requests to an origin.
    pub(super) fn statuses(&self, origin: &str) -> Vec<u16> {
        let seen = &self.seen;
        let from = |request: &String| {
            seen.requests.get(request).is_some_and(|address| address.replacen("ws", "http", 1).starts_with(origin))
        };
        seen.answers.iter().filter(|(request, _)| from(request)).map(|(_, status)| *status).collect()
    }

    /// Sends one command and waits for its answer; events that come before it are noted.
    async fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message)?;
        bytes.push(0);
        self.input.write_all(&bytes).await.context("the browser has ended")?;
        loop {
            self.output.read_until(0, &mut self.begun).await?;
            let mut bytes = std::mem::take(&mut self.begun);
            ensure!(bytes.pop() == Some(0), "the browser has ended");
            let mut message: Value = serde_json::from_slice(&bytes)?;
            if message["id"] == self.calls {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]["message"]);
                return Ok(message["result"].take());
            }
            self.seen.note(&message);
        }
    }

    /// The value of an expression in the page.
    pub(super) async fn value(&mut self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params).await?;
        ensure!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]["text"]);
        Ok(result["result"]["value"].take())
    }

    /// Waits until an expression is true; a page that is being replaced has no answer yet.
    pub(super) async fn wait(&mut self, expression: &str) -> anyhow::Result<()> {
        loop {
            match self.value(&format!("document.body !== null && ({expression})")).await {
                Ok(value) if value == true => return Ok(()),
                Err(error) if error.to_string().contains("has ended") => return Err(error),
                _ => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            }
        }
    }

    /// Types into a field, as a person does.
    async fn fill(&mut self, field: &str, text: &str) -> anyhow::Result<()> {
        self.value(&format!("document.querySelector('{field}').focus()")).await?;
        self.call("Input.insertText", json!({ "text": text })).await.map(drop)
    }

    pub(super) async fn text(&mut self) -> anyhow::Result<String> {
        let text = self.value("document.body.innerText").await?;
        Ok(start_of(text.as_str().unwrap_or_default()))
    }

    /// Keeps a picture; gives where.
    async fn screenshot(&mut self, file: &Path) -> anyhow::Result<String> {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" })).await?;
        let data = taken["data"].as_str().context("the browser gives no picture")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).context("the picture is not base64")?;
        fs_err::write(file, bytes)?;
        Ok(file.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_an_origin_is_counted_over_http_and_sockets() {
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
    fn exceptions_and_broken_policies_are_kept_and_fonts_are_not() {
        let mut seen = Seen::default();
        let thrown =
            json!({ "exceptionDetails": { "text": "Uncaught", "exception": { "description": "Error: a\n b" } } });
        seen.note(&json!({ "method": "Runtime.exceptionThrown", "params": thrown }));
        for (source, text) in [("security", "Refused to connect"), ("network", "Failed to load resource")] {
            let entry = json!({ "entry": { "source": source, "level": "error", "text": text } });
            seen.note(&json!({ "method": "Log.entryAdded", "params": entry }));
        }
        assert_eq!(seen.wrong, ["Error: a b", "Refused to connect"]);
    }
}
