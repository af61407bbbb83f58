//! Every network fault crossed with every kind of source. Invariants: the exit code matches the outcome, the lock is
//! the old one byte by byte or a complete new one, and an error names the component and the cause.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::support::{NPM, Ran, Scratch, TAGS, TOOL, Upstream, component, release, undigested, zip_of};

pub(crate) mod server;

use server::{ALL, Answer, Fault, Request, World};

/// Concurrent runs; most of them wait.
const AT_ONCE: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Github,
    Npm,
    Git,
    Oci,
    Debian,
}

/// A kind of source, pinned at an old version, with a new one upstream.
struct Case {
    kind: Kind,
    stack: String,
    lock: String,
    /// A text that only the new lock contains.
    new: String,
    world: World,
    /// The repository of the fake network.
    _upstream: Option<Upstream>,
}

const DIGEST: &str = "c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4";

fn lock(pin: &str) -> String {
    format!("schema = 1\n\n[components.tool]\n{}", pin.replace("DIGEST", DIGEST))
}

fn found(kind: &str, body: impl Into<Vec<u8>>) -> Answer {
    Answer { status: 200, kind: kind.to_owned(), body: body.into() }
}

fn missing() -> Answer {
    Answer { status: 404, ..found("text/plain", "not here") }
}

fn documents(documents: Vec<(&'static str, Answer)>) -> World {
    Arc::new(move |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        documents.iter().find(|(at, _)| *at == path).map_or_else(missing, |(_, answer)| answer.clone())
    })
}

fn github() -> Case {
    let one = |tag: &str, day: &str| release(tag, day, false, &[("tool.zip", "x")]);
    // The new one is downloaded, because it has no published digest.
    let new = undigested(one("v2.0.0", "2026-09-02"), zip_of(&["tool"]).len());
    let listing = json!([new, one("v1.0.0", "2026-09-01")]).to_string();
    Case {
        kind: Kind::Github,
        stack: TOOL.to_owned(),
        lock: lock(
            "version = \"1.0.0\"\ntag = \"v1.0.0\"\n\n[components.tool.pinned.files.any]\n\
             url = \"https://github.com/files/v1.0.0/tool.zip\"\nsha256 = \"DIGEST\"\n",
        ),
        new: "version = \"2.0.0\"".to_owned(),
        world: documents(vec![
            ("/repos/a/tool/releases", found("application/json", listing)),
            ("/github/files/v2.0.0/tool.zip", found("application/zip", zip_of(&["tool"]))),
        ]),
        _upstream: None,
    }
}

fn npm() -> Case {
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let manifest = |version: &str| json!({"name": "tool", "version": version, "dist": {"integrity": integrity, "tarball": "http://127.0.0.1:1/t.tgz"}});
    let document = json!({"name": "tool", "dist-tags": {"latest": "2.0.0"},
        "versions": {"1.0.0": manifest("1.0.0"), "2.0.0": manifest("2.0.0")},
        "time": {"1.0.0": "2026-09-01T00:00:00Z", "2.0.0": "2026-09-02T00:00:00Z"}});
    Case {
        kind: Kind::Npm,
        stack: component("tool", "semver", NPM),
        lock: lock(&format!(
            "version = \"1.0.0\"\n\n[components.tool.pinned.npm]\npackage = \"tool\"\nintegrity = \"{integrity}\"\nlockfile = \"DIGEST\"\n"
        )),
        new: "version = \"2.0.0\"".to_owned(),
        world: documents(vec![("/tool", found("application/json", document.to_string()))]),
        _upstream: None,
    }
}

fn oci() -> Case {
    let platform = |arch: &str| json!({"digest": format!("sha256:{}", "2".repeat(64)), "platform": {"os": "linux", "architecture": arch}});
    let index = json!({"manifests": [platform("amd64"), platform("arm64")]}).to_string();
    let old = format!("sha256:{}", "1".repeat(64));
    Case {
        kind: Kind::Oci,
        stack: component("tool", "tag", "type = \"oci\", image = \"docker.io/library/tool\", tag = \"slim\""),
        lock: lock(&format!(
            "version = \"slim\"\ntag = \"slim\"\n\n[components.tool.pinned.image]\nname = \"docker.io/library/tool\"\n\
             digest = \"{old}\"\n\n[components.tool.pinned.image.platforms]\naarch64 = \"{old}\"\nx86_64 = \"{old}\"\n"
        )),
        new: "2".repeat(64),
        world: documents(vec![("/v2/tool/manifests/slim", found("application/vnd.oci.image.index.v1+json", index))]),
        _upstream: None,
    }
}

fn git_server() -> Case {
    let upstream = Upstream::new();
    let one = upstream.commit("one");
    upstream.git(&["tag", "v1.0.0"]);
    upstream.commit("two");
    upstream.git(&["tag", "v2.0.0"]);
    let root = upstream.path().to_owned();
    Case {
        kind: Kind::Git,
        stack: component("tool", "semver", TAGS),
        lock: lock(&format!(
            "version = \"1.0.0\"\ntag = \"v1.0.0\"\ncommit = \"{one}\"\n\n[components.tool.pinned.git]\n\
             repository = \"https://git.example/manager.git\"\ncommit = \"{one}\"\n"
        )),
        new: "version = \"2.0.0\"".to_owned(),
        world: Arc::new(move |request| smart_http(&root, request).unwrap_or_else(missing)),
        _upstream: Some(upstream),
    }
}

/// git's own server, run as a CGI program.
fn smart_http(root: &Path, request: &Request) -> Option<Answer> {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", path.strip_prefix("/git/manager.git")?)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(&request.body).ok()?;
    let output = child.wait_with_output().ok()?.stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let status = field("Status: ").and_then(|status| status.get(..3)?.parse().ok()).unwrap_or(200);
    Some(Answer { status, kind: field("Content-Type: ")?, body: output[end + 4..].to_vec() })
}

/// An archive without a valid signature: no fault makes the bump accept it.
fn debian() -> Case {
    let package = |arch: &str| {
        format!(
            "[[components.tool.pinned.packages.{arch}]]\nname = \"curl\"\nversion = \"1\"\n\
             url = \"http://deb.example/20261101T000000Z/curl.deb\"\nsha256 = \"DIGEST\"\nsize = 1\n"
        )
    };
    Case {
        kind: Kind::Debian,
        stack: component(
            "tool",
            "snapshot",
            "type = \"debian\", suite = \"trixie\", archive = \"http://deb.example/{version}\", \
             security = \"http://deb.example/{version}\", packages = [\"curl\"]",
        ),
        lock: lock(&format!("version = \"20261101T000000Z\"\n\n{}\n{}", package("aarch64"), package("x86_64"))),
        new: "never".to_owned(),
        world: Arc::new(|_| {
            found("text/plain", "Origin: Debian\nSuite: trixie\nDate: Sun, 01 Nov 2026 00:00:00 UTC\n")
        }),
        _upstream: None,
    }
}

/// The text that an error must contain; `None` if the run must succeed.
fn cause(kind: Kind, fault: Fault) -> Option<&'static [&'static str]> {
    Some(match (kind, fault) {
        (Kind::Debian, _) => &["cannot read Debian's indexes"],
        (_, Fault::Delay | Fault::Throttle | Fault::Redirect | Fault::Fail(2) | Fault::Trickle) => return None,
        (Kind::Git, Fault::Stall) => &["Operation too slow"],
        (Kind::Git, Fault::Cut | Fault::Overstated) => &["transfer closed with"],
        (Kind::Git, Fault::Corrupt | Fault::Swap) => &["protocol error"],
        (Kind::Git, Fault::Understated) => &["expected flush"],
        (Kind::Git, Fault::Loop) => &["redirects followed"],
        (Kind::Git, Fault::Page) => &["is not a git repository that has commits"],
        (Kind::Git, Fault::ThrottleForLong) => &["returned error: 429"],
        (_, Fault::Stall) => &["timed out"],
        (_, Fault::Cut | Fault::Overstated) => &["end of file before message length reached"],
        (_, Fault::Corrupt | Fault::Understated) => &["is not the expected JSON"],
        (_, Fault::ThrottleForLong) => &["refuses requests for now", "the rate limit is used up; it resets at"],
        (_, Fault::Loop) => &["redirects in circles"],
        (_, Fault::Fail(_)) => &["500"],
        (_, Fault::Page) => &["but an HTML page"],
        (_, Fault::Swap) => &["not valid JSON"],
    })
}

/// A bump in a checkout with the old pin.
fn bump(case: &Case, address: &str, temporary: &Path, timeout: &str) -> (Scratch, tokio::process::Command) {
    let scratch = Scratch::new(&case.stack)
        .mirror("https://git.example", &format!("{address}/git"))
        .mirror("http://deb.example", &format!("{address}/debian"))
        .mirror("docker.io/library", address.trim_start_matches("http://"));
    std::fs::write(scratch.lock_path(), &case.lock).unwrap();
    let mut command = scratch.command_at(address, &["--timeout", timeout, "bump", "--now"]);
    command.env("npm_config_fetch_retry_mintimeout", "100").env("TMPDIR", temporary);
    (scratch, command)
}

fn is_new(case: &Case, lock: &str) -> bool {
    toml::from_str::<toml::Table>(lock).is_ok() && lock.contains(&case.new)
}

async fn run(case: &Case, fault: Fault) -> Result<(), String> {
    let address = server::start(Arc::clone(&case.world), fault);
    let temporary = tempfile::tempdir().unwrap();
    let (scratch, mut command) = bump(case, &address, temporary.path(), "3");
    let ended = tokio::time::timeout(std::time::Duration::from_secs(120), command.output()).await;
    let ran = Ran::from(ended.map_err(|_| "it does not end".to_owned())?.unwrap());
    let after = scratch.lock().unwrap_or_default();
    let output = format!("exit {:?}\n{}{}", ran.code, ran.stdout, ran.stderr);
    let wrong = |what: &str| Err(format!("{what}: {output}"));
    if std::fs::read_dir(temporary.path()).unwrap().count() > 0 {
        return wrong("a temporary file was left behind");
    }
    let is_new = is_new(case, &after);
    match (ran.code, cause(case.kind, fault)) {
        (Some(0), None) if is_new => Ok(()),
        // The replaced reply may have been requested only once.
        (Some(0), Some(_)) if is_new && fault == Fault::Swap => Ok(()),
        (Some(1), Some(causes)) if after == case.lock => {
            let named = ran.stderr.contains("failed to bump `tool`");
            let explained = causes.iter().any(|cause| ran.stderr.contains(cause));
            if named && explained { Ok(()) } else { wrong("it does not name the component and the cause") }
        }
        _ => wrong("the exit code or the lock is not as it must be"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_any_network_fault_the_lock_is_old_or_new_and_errors_name_the_cause() {
    let cases = [github(), npm(), git_server(), oci(), debian()];
    let all: Vec<(&Case, Fault)> = cases.iter().flat_map(|case| ALL.map(|fault| (case, fault))).collect();
    let runs = all.into_iter().map(async |(case, fault)| {
        run(case, fault).await.map_err(|wrong| format!("{:?} × {fault:?}: {wrong}", case.kind))
    });
    all_succeed(runs, "").await;
}

async fn all_succeed(runs: impl Iterator<Item = impl Future<Output = Result<(), String>>>, how: &str) {
    let ended: Vec<Result<(), String>> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let wrong: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{} of the runs{how}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A signal at any moment, to the process or, as a terminal does, to its group: the exit status is that of the signal,
/// and there are no partial results. A kill leaves temporary files, but no torn lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_at_any_moment_leaves_the_old_or_the_new_lock() {
    const RUNS: u64 = 48;
    let cases = [github(), git_server(), npm(), oci()];
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let runs = (0..RUNS).map(async |run| {
        let mut random = fastrand::Rng::with_seed(seed + run);
        interrupted(&cases[usize::try_from(run).unwrap() % cases.len()], &mut random).await
    });
    all_succeed(runs, &format!(", with the seed {seed}")).await;
}

async fn interrupted(case: &Case, random: &mut fastrand::Rng) -> Result<(), String> {
    let address = server::start(Arc::clone(&case.world), Fault::Delay);
    let temporary = tempfile::tempdir().unwrap();
    let (scratch, mut command) = bump(case, &address, temporary.path(), "60");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(random.u64(20..2000))).await;
    let (signal, code) = random.choice([("-INT", 130), ("-TERM", 143), ("-HUP", 129), ("-KILL", -1)]).unwrap();
    let group = if random.bool() { "-" } else { "" };
    let id = format!("{group}{}", child.id().unwrap());
    // It may have ended before.
    let _ = tokio::process::Command::new("kill").args([signal, "--", &id]).stderr(Stdio::null()).status().await;
    let ended = tokio::time::timeout(std::time::Duration::from_secs(30), child.wait_with_output()).await;
    let ran = Ran::from(ended.map_err(|_| format!("{signal} {id} does not end it"))?.unwrap());
    let output = format!("{:?}, {signal} {id}: exit {:?}\n{}{}", case.kind, ran.code, ran.stdout, ran.stderr);
    let after = scratch.lock().unwrap_or_default();
    let is_old = after == case.lock;
    if !is_old && !is_new(case, &after) {
        return Err(format!("the lock is neither old nor new: {output}\n{after}"));
    }
    if signal == "-KILL" {
        return Ok(());
    }
    let names = scratch.names();
    if names.iter().any(|name| name.starts_with('.')) || std::fs::read_dir(temporary.path()).unwrap().count() > 0 {
        return Err(format!("something was left behind, of {names:?}: {output}"));
    }
    match ran.code {
        Some(0) if !is_old => Ok(()),
        // Before its handlers are installed, signals have their default effect.
        None if is_old => Ok(()),
        Some(ended) if ended == code => {
            let is_true = ran.stderr.contains("nothing was changed") == is_old;
            if is_true { Ok(()) } else { Err(format!("what it says is not true: {output}")) }
        }
        _ => Err(format!("it does not end as it must: {output}")),
    }
}
