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

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::Folder;
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
fn scratch(engine: &Engine) -> Folder {
    let scratch = Folder::new();
    common::copy(&["stack.toml", "README.md", "docs", "templates", "image"], scratch.root());
    common::copy_frozen_lock(scratch.root());
    assert!(common::xtask(scratch.root()).arg("render").output().unwrap().status.success());
    let Engine { version, buildx, store, build } = engine;
    let docker = format!(
        "#!/bin/sh\ncase \"$*\" in\n'version '*) {version} ;;\n'buildx version') {buildx} ;;\n'buildx inspect') echo 'Driver: docker' ;;\n'context inspect other') ;;\n\
         'info '*) {store} ;;\n'buildx build '*) {build} ;;\n*) echo \"unexpected: $*\" >&2; exit 9 ;;\nesac\n"
    );
    common::script(&scratch.path("bin/docker"), &docker);
    scratch
}

impl Folder {
    fn build(&self) -> Command {
        self.command(&["build", "--arch", "aarch64"])
    }

    fn command(&self, words: &[&str]) -> Command {
        // `nohup` makes a process ignore hangups, which must end it here.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_xtask")]);
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.arg("--root").arg(self.root()).args(words).env("PATH", path).env("SCRATCH", self.root());
        command.env("npm_config_registry", "http://127.0.0.1:1/").env_remove("DOCKER_HOST").kill_on_drop(true);
        command
    }
}

/// Runs a command to its end; returns its exit code and stderr.
async fn run(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().await.unwrap();
    (output.status.code(), common::text(&output.stderr))
}

/// buildx lists the engines of docker's contexts as builders, and refuses to use them by that name.
#[tokio::test]
async fn another_engine_is_a_builder_by_its_context() {
    let build = "echo \"here: ${DOCKER_CONTEXT-}, ${BUILDX_BUILDER-none}\" >&2; exit 1";
    let scratch = scratch(&Engine { build, ..FIT });
    let (_, stderr) = run(scratch.build().args(["--builder", "other"])).await;
    assert!(stderr.contains("here: other, none"), "{stderr}");
}

/// A checkout whose image has one file: `fetch` downloads it, and then the server is gone.
#[tokio::test]
#[ignore = "needs a Docker engine"]
async fn an_offline_build_uses_the_fetched_files() {
    let (folder, cache) = (Folder::new(), Folder::new());
    // Unique to this run, because the engine may cache it.
    let contents = format!("{:?}\n", std::time::SystemTime::now());
    folder.write("tool.txt", &contents);
    let sha256 = common::digest(contents.as_bytes())[7..].to_owned();
    folder.write(
        "stack.toml",
        "schema = 1\n[image]\nname = \"x\"\ntitle = \"x\"\nflavor = \"x\"\ntag = \"v{date}-{flavor}-r{revision}\"\n\
         license = \"MIT\"\nuid = 1\ngid = 1\nhealth = { interval = 10, timeout = 10, retries = 3 }\n\
         [components.tool]\ntitle = \"Tool\"\nscheme = \"semver\"\nsource = { type = \"github\", repo = \"a/tool\" }\n\
         file = { name = \"tool.txt\", contains = \"tool.txt\" }\n",
    );
    let url = "https://example.invalid/tool.txt";
    folder.write(
        "versions.lock",
        format!(
            "schema = 1\n[components.tool]\nversion = \"1.0.0\"\n[components.tool.pinned.files.any]\n\
             url = \"{url}\"\nsha256 = \"{sha256}\"\n"
        ),
    );
    folder.write("README.md", "");
    std::fs::create_dir(folder.path("templates")).unwrap();
    folder.write("templates/Dockerfile.j2", format!("FROM scratch\nADD --checksum=sha256:{sha256} {url} /tool.txt\n"));
    let tool = async |words: &[&str]| {
        let mut command = Command::from(common::xtask(folder.root()));
        command.args(words).env("XDG_CACHE_HOME", cache.root()).env("npm_config_registry", "http://127.0.0.1:1");
        run(&mut command).await
    };
    assert_eq!(tool(&["render"]).await.0, Some(0));
    let build = ["build", "--offline", "--arch", "x86_64"];
    let (code, stderr) = tool(&build).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("files of `tool` are not in the store") && stderr.contains("cargo xtask fetch"),
        "{stderr}"
    );
    let mut server = std::process::Command::new("python3");
    server.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(folder.root()).arg("0");
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(server.stdout.take().unwrap()), &mut line).unwrap();
    let port = line.split_whitespace().find_map(|word| word.parse::<u16>().ok()).expect("a port");
    let fetched = tool(&["fetch", "--mirror", &format!("https://example.invalid=http://127.0.0.1:{port}")]).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(fetched.0, Some(0), "{}", fetched.1);
    let (code, stderr) = tool(&build).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert!(folder.path("target/image/x86_64/index.json").exists());
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
        let (code, stderr) = run(&mut scratch(&engine).build()).await;
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
    let (code, stderr) = run(&mut scratch(&unfit).command(&["rehearse"])).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("cannot export an OCI layout") && stderr.contains("containerd-snapshotter"), "{stderr}");

    let scratch = scratch(&Engine { version: "echo 'permission denied on the socket' >&2; exit 1", ..FIT });
    let (_, stderr) = run(&mut scratch.command(&["rehearse"])).await;
    // It fails at copying the checkout, which is not a repository here.
    assert!(stderr.contains("note: no Docker engine answers") && stderr.contains("permission denied"), "{stderr}");
    assert!(stderr.contains("copy the checkout ..."), "{stderr}");
}

#[tokio::test]
async fn rendered_files_must_match_the_lock() {
    let scratch = scratch(&FIT);
    scratch.write("image/Dockerfile", scratch.read("image/Dockerfile") + "RUN id\n");
    let (code, stderr) = run(&mut scratch.build()).await;
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("run `cargo xtask render`"), "{stderr}");
}

#[tokio::test]
async fn a_failed_build_keeps_the_previous_image() {
    let scratch = scratch(&FIT);
    std::fs::create_dir_all(scratch.path("target/image/aarch64")).unwrap();
    scratch.write("target/image/aarch64/index.json", "before");
    let (code, stderr) = run(&mut scratch.build()).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("docker buildx failed"), "{stderr}");
    assert_eq!(scratch.read("target/image/aarch64/index.json"), "before");
}

/// A build that hangs in docker, with its files.
struct Hanging {
    scratch: Folder,
    temporary: Folder,
    child: tokio::process::Child,
    /// The process id of the docker that hangs.
    docker: String,
}

impl Hanging {
    async fn start(build: &'static str) -> Self {
        let scratch = scratch(&Engine { build, ..FIT });
        let temporary = Folder::new();
        let mut command = scratch.build();
        command.env("TMPDIR", temporary.root()).stderr(Stdio::piped()).stdout(Stdio::piped());
        let child = command.args(["--format", "json"]).process_group(0).spawn().unwrap();
        let started = async {
            while !std::fs::read_to_string(scratch.path("pid")).is_ok_and(|pid| pid.ends_with('\n')) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), started).await.expect("the build never started");
        let docker = scratch.read("pid").trim().to_owned();
        assert!(Path::new("/proc").join(&docker).exists());
        Self { scratch, temporary, child, docker }
    }

    /// Signals its process group, like a terminal.
    async fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id().unwrap());
        assert!(Command::new("kill").args([signal, "--", &group]).status().await.unwrap().success());
    }

    async fn end(self) -> (Option<i32>, String, String, Folder, Folder) {
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
        let (stdout, stderr) = (common::text(&output.stdout), common::text(&output.stderr));
        (output.status.code(), stdout, stderr, self.scratch, self.temporary)
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
        assert_eq!(std::fs::read_dir(temporary.root()).unwrap().count(), 0, "a temporary file was left behind");
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
    let scratch = scratch(&Engine {
        build: "echo \"ERROR: failed to solve: digest mismatch sha256:$WANTED: sha256:$WANTED\" >&2; exit 1",
        ..FIT
    });
    let lock = scratch.read("versions.lock");
    let (_, bun) = lock.split_once("[components.bun.pinned.files.aarch64]").unwrap();
    let (_, digest) = bun.split_once("sha256 = \"").unwrap();
    let (pinned, wanted) = (&digest[..64], &common::digest(b"the file")[7..]);
    scratch.write("versions.lock", lock.replace(pinned, wanted));
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
        let (code, stderr) = run(scratch.build().args(["--mirror", &mirror]).env("WANTED", wanted)).await;
        assert_eq!(code, Some(1), "{stderr}");
        let named = "error: BuildKit got another file for `bun` than pinned, from https://github.com/";
        assert!(stderr.contains(named) && stderr.contains(expected), "{stderr}");
        assert_eq!(stderr.contains("replaced"), expected.contains("replaced"), "{stderr}");
    }
}
