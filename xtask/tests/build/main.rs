//! `build` with a `docker` on PATH that answers like a real engine, except for what each test changes: the refusal of
//! unfit engines, and interruptions. The rehearsal tests a real engine.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails should panic where it fails, helpers included"
)]

#[path = "../common/mod.rs"]
mod common;
mod rehearse;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

/// The answers of a fit engine; each test changes one.
struct Engine {
    version: &'static str,
    buildx: &'static str,
    store: &'static str,
    build: &'static str,
}

const FIT: Engine = Engine {
    version: "echo 26.1.5+dfsg1",
    buildx: "echo 'github.com/docker/buildx 0.13.1+ds1'",
    store: r#"echo '[["driver-type","io.containerd.snapshotter.v1"]]'"#,
    build: "exit 1",
};

/// A copy of this checkout, and a folder with the fake `docker`.
struct Scratch {
    folder: TempDir,
}

impl Scratch {
    fn new(engine: &Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        common::copy(&["stack.toml", "README.md", "docs", "templates", "image"], folder.path());
        common::copy_frozen_lock(folder.path());
        assert!(common::xtask(folder.path()).arg("render").output().unwrap().status.success());
        let Engine { version, buildx, store, build } = engine;
        let docker = format!(
            "#!/bin/sh\ncase \"$*\" in\n'version '*) {version} ;;\n'buildx version') {buildx} ;;\n'buildx inspect') echo 'Driver: docker' ;;\n'context inspect other') ;;\n\
             'info '*) {store} ;;\n'buildx build '*) {build} ;;\n*) echo \"unexpected: $*\" >&2; exit 9 ;;\nesac\n"
        );
        common::script(&folder.path().join("bin/docker"), &docker);
        Self { folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn build(&self) -> Command {
        self.command(&["build", "--arch", "aarch64"])
    }

    fn command(&self, words: &[&str]) -> Command {
        // `nohup` makes a process ignore hangups, which must end it here.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_xtask")]);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command
            .arg("--root")
            .arg(self.folder.path())
            .args(words)
            .env("PATH", path)
            .env("SCRATCH", self.folder.path())
            .env("npm_config_registry", "http://127.0.0.1:1/")
            .env_remove("DOCKER_HOST")
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end; returns its exit code and stderr.
    async fn run(&self) -> (Option<i32>, String) {
        let output = self.build().output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// buildx lists the engines of docker's contexts as builders, and refuses to use them by that name.
#[tokio::test]
async fn another_engine_is_a_builder_by_its_context() {
    let build = "echo \"here: ${DOCKER_CONTEXT-}, ${BUILDX_BUILDER-none}\" >&2; exit 1";
    let scratch = Scratch::new(&Engine { build, ..FIT });
    let output = scratch.build().args(["--builder", "other"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("here: other, none"), "{stderr}");
}

/// A checkout whose image has one file: `fetch` downloads it, and then the server is gone.
#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn an_offline_build_uses_the_fetched_files() {
    let (folder, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
    // Unique to this run, because the engine may cache it.
    let contents = format!("{:?}\n", std::time::SystemTime::now());
    write("tool.txt", &contents);
    let sha256 = common::digest(contents.as_bytes())[7..].to_owned();
    write(
        "stack.toml",
        "schema = 1\n[image]\nname = \"x\"\ntitle = \"x\"\nflavor = \"x\"\ntag = \"v{date}-{flavor}-r{revision}\"\n\
         license = \"MIT\"\nuid = 1\ngid = 1\nhealth = { interval = 10, timeout = 10, retries = 3 }\n\
         [components.tool]\ntitle = \"Tool\"\nscheme = \"semver\"\nsource = { type = \"github\", repo = \"a/tool\" }\n\
         file = { name = \"tool.txt\", contains = \"tool.txt\" }\n",
    );
    let url = "https://example.invalid/tool.txt";
    write(
        "versions.lock",
        &format!(
            "schema = 1\n[components.tool]\nversion = \"1.0.0\"\n[components.tool.pinned.files.any]\n\
             url = \"{url}\"\nsha256 = \"{sha256}\"\n"
        ),
    );
    write("README.md", "");
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    write("templates/Dockerfile.j2", &format!("FROM scratch\nADD --checksum=sha256:{sha256} {url} /tool.txt\n"));
    let run = async |words: &[&str]| {
        let mut command = Command::from(common::xtask(folder.path()));
        command.args(words).env("XDG_CACHE_HOME", cache.path());
        let output = command.env("npm_config_registry", "http://127.0.0.1:1").output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["render"]).await.0, Some(0));
    let build = ["build", "--offline", "--arch", "x86_64"];
    let (code, stderr) = run(&build).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("files of `tool` are not in the store") && stderr.contains("cargo xtask fetch"),
        "{stderr}"
    );
    let mut server = std::process::Command::new("python3");
    server.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(folder.path()).arg("0");
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let port = line.split_whitespace().find_map(|word| word.parse::<u16>().ok()).expect("a port");
    let fetched = run(&["fetch", "--mirror", &format!("https://example.invalid=http://127.0.0.1:{port}")]).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(fetched.0, Some(0), "{}", fetched.1);
    let (code, stderr) = run(&build).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(folder.path().join("target/image/x86_64/index.json").exists());
}

#[tokio::test]
async fn an_unfit_engine_is_refused_with_a_hint() {
    for (engine, error, hint) in [
        (Engine { version: "exit 1", ..FIT }, "no Docker engine answers", "install Docker and start it"),
        (Engine { version: "echo 20.10.24", ..FIT }, "engine is 20.10.24, which is older than 24.0", "install 24.0"),
        (Engine { buildx: "exit 1", ..FIT }, "docker has no buildx", "docker-buildx"),
        (Engine { buildx: "echo 'x v0.9.1'", ..FIT }, "buildx is v0.9.1, which is older than 0.11", "install 0.11"),
        (Engine { store: "echo '[]'", ..FIT }, "cannot export an OCI layout", "containerd-snapshotter"),
    ] {
        let (code, stderr) = Scratch::new(&engine).run().await;
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
        let line = stderr.lines().find_map(|line| line.strip_prefix("hint: "));
        assert!(line.is_some_and(|line| line.contains(hint)), "{stderr}");
    }
}

/// Without this, a rehearsal would skip half of its steps because of an engine that is easy to fix.
#[tokio::test]
async fn a_rehearsal_runs_without_an_engine_but_not_with_an_unfit_one() {
    let unfit = Engine { store: "echo '[]'", ..FIT };
    let output = Scratch::new(&unfit).command(&["rehearse"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot export an OCI layout") && stderr.contains("containerd-snapshotter"), "{stderr}");

    let scratch = Scratch::new(&Engine { version: "echo 'permission denied on the socket' >&2; exit 1", ..FIT });
    let output = scratch.command(&["rehearse"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // It fails at copying the checkout, which is not a repository here.
    assert!(stderr.contains("note: no Docker engine answers") && stderr.contains("permission denied"), "{stderr}");
    assert!(stderr.contains("copy the checkout ..."), "{stderr}");
}

#[tokio::test]
async fn rendered_files_must_match_the_lock() {
    let scratch = Scratch::new(&FIT);
    let dockerfile = scratch.path("image/Dockerfile");
    let text = std::fs::read_to_string(&dockerfile).unwrap();
    std::fs::write(&dockerfile, text + "RUN id\n").unwrap();
    let (code, stderr) = scratch.run().await;
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("run `cargo xtask render`"), "{stderr}");
}

#[tokio::test]
async fn a_failed_build_keeps_the_previous_image() {
    let scratch = Scratch::new(&FIT);
    let before = scratch.path("target/image/aarch64/index.json");
    std::fs::create_dir_all(before.parent().unwrap()).unwrap();
    std::fs::write(&before, "before").unwrap();
    let (code, stderr) = scratch.run().await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("docker buildx failed"), "{stderr}");
    assert_eq!(std::fs::read_to_string(before).unwrap(), "before");
}

/// A build that hangs in docker, with its files.
struct Hanging {
    scratch: Scratch,
    temporary: TempDir,
    child: tokio::process::Child,
    /// The process id of the docker that hangs.
    docker: String,
}

impl Hanging {
    async fn start(build: &'static str) -> Self {
        let scratch = Scratch::new(&Engine { build, ..FIT });
        let temporary = tempfile::tempdir().unwrap();
        let mut command = scratch.build();
        command.env("TMPDIR", temporary.path()).stderr(Stdio::piped()).stdout(Stdio::piped());
        let child = command.args(["--format", "json"]).process_group(0).spawn().unwrap();
        let started = async {
            while !std::fs::read_to_string(scratch.path("pid")).is_ok_and(|pid| pid.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), started).await.expect("the build never started");
        let docker = std::fs::read_to_string(scratch.path("pid")).unwrap().trim().to_owned();
        assert!(Path::new("/proc").join(&docker).exists());
        Self { scratch, temporary, child, docker }
    }

    /// Signals its process group, like a terminal.
    async fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id().unwrap());
        assert!(Command::new("kill").args([signal, "--", &group]).status().await.unwrap().success());
    }

    async fn end(self) -> (Option<i32>, String, String, Scratch, TempDir) {
        let output = tokio::time::timeout(Duration::from_secs(10), self.child.wait_with_output()).await;
        let output = output.expect("it does not end").unwrap();
        // An orphan may stay a zombie here, which has no command line.
        let runs = || !std::fs::read(format!("/proc/{}/cmdline", self.docker)).unwrap_or_default().is_empty();
        for _ in 0..100 {
            if runs() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        assert!(!runs(), "docker still runs");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr), self.scratch, self.temporary)
    }
}

#[tokio::test]
async fn a_signal_ends_the_build_and_leaves_no_files() {
    for (signal, expected) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let hanging = Hanging::start("echo $$ >$SCRATCH/pid; exec sleep 600").await;
        hanging.signal(signal).await;
        let (code, printed, stderr, scratch, temporary) = hanging.end().await;
        assert_eq!(code, Some(expected), "{signal}: {stderr}");
        assert_eq!(stderr, "error: interrupted; nothing was changed\n");
        let printed: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(printed["errors"][0]["message"], "interrupted; nothing was changed");
        let left: Vec<_> = std::fs::read_dir(scratch.path("target/image")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a temporary file was left behind");
    }
}

/// Clean-up waits for a slow child; a second signal does not.
#[tokio::test]
async fn a_second_signal_kills_the_build_and_its_child() {
    let hanging = Hanging::start("trap '' INT TERM HUP; echo $$ >$SCRATCH/pid; while :; do sleep 0.1; done").await;
    hanging.signal("-INT").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let second = std::time::Instant::now();
    hanging.signal("-TERM").await;
    let (code, _, stderr, _, _) = hanging.end().await;
    assert!(second.elapsed() < Duration::from_secs(2), "{stderr}");
    assert_eq!(code, Some(143), "{stderr}");
    assert!(stderr.contains("interrupted twice"), "{stderr}");
}

/// BuildKit reports "digest mismatch" for anything but the pinned file. Another request distinguishes a throttling
/// server from a replaced file.
#[tokio::test]
async fn a_digest_mismatch_is_explained() {
    let scratch = Scratch::new(&Engine {
        build: "echo \"ERROR: failed to solve: digest mismatch sha256:$WANTED: sha256:$WANTED\" >&2; exit 1",
        ..FIT
    });
    let lock = std::fs::read_to_string(scratch.path("versions.lock")).unwrap();
    let (_, bun) = lock.split_once("[components.bun.pinned.files.aarch64]").unwrap();
    let (_, digest) = bun.split_once("sha256 = \"").unwrap();
    let (pinned, wanted) = (&digest[..64], &common::digest(b"the file")[7..]);
    std::fs::write(scratch.path("versions.lock"), lock.replace(pinned, wanted)).unwrap();
    assert!(scratch.command(&["render"]).output().await.unwrap().status.success());
    let server = wiremock::MockServer::start().await;
    let mirror = format!("https://github.com={}", server.uri());
    let throttled = || wiremock::ResponseTemplate::new(429).insert_header("retry-after", "3600");
    for (reply, expected) in [
        (throttled(), "the server refuses requests for now (429 Too Many Requests)"),
        (wiremock::ResponseTemplate::new(200).set_body_string("the file"), "now the server returns the pinned file"),
        (wiremock::ResponseTemplate::new(200).set_body_string("another"), "the file was replaced since it was pinned"),
    ] {
        server.reset().await;
        wiremock::Mock::given(wiremock::matchers::any()).respond_with(reply).mount(&server).await;
        let mut command = scratch.command(&["build", "--arch", "aarch64", "--mirror", &mirror]);
        let output = command.env("WANTED", wanted).output().await.unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let named = "error: BuildKit got another file for `bun` than pinned, from https://github.com/";
        assert!(stderr.contains(named) && stderr.contains(expected), "{stderr}");
        assert_eq!(stderr.contains("replaced"), expected.contains("replaced"), "{stderr}");
    }
}
