//! `release` from layouts that were built before, against a `docker` and a `skopeo` that keep what they are told in a
//! folder: what it does and in which order, and what it says when it is stopped on the way. The real ones are the
//! rehearsal's.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails, helpers included")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sha2::Digest as _;
use tempfile::TempDir;
use tokio::process::Command;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

const DOCKER: &str = r#"#!/bin/bash
echo "docker $*" >>"$SCRATCH/log"
case "$*" in
'version '*) echo 28.0.1 ;;
'buildx version') echo 'x v0.20.0' ;;
'buildx inspect') echo 'Driver: docker' ;;
'info '*) echo '[["driver-type","io.containerd.snapshotter.v1"]]' ;;
load) cat >/dev/null ;;
'port '*) echo "$ADDRESS" ;;
'inspect '*ExitCode*) echo 0 ;;
'inspect '*) echo healthy ;;
'buildx imagetools create '*) echo "sha256:$(printf '%064d' 7)" >"$SCRATCH/tag" ;;
*) echo "$*" ;;
esac
"#;

const SKOPEO: &str = r#"#!/bin/bash
echo "skopeo $*" >>"$SCRATCH/log"
case "$1" in
inspect)
	if [ ! -e "$SCRATCH/tag" ]; then echo 'manifest unknown' >&2; exit 1; fi
	if [ -e "$SCRATCH/hang" ]; then sleep 600; fi
	cat "$SCRATCH/tag" ;;
esac
"#;

/// A committed copy of this checkout with layouts of both architectures, and an engine whose ports all answer.
struct Scratch {
    folder: TempDir,
    ports: MockServer,
}

impl Scratch {
    async fn new() -> Self {
        let ports = MockServer::start().await;
        Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&ports).await;
        let scratch = Self { folder: tempfile::tempdir().unwrap(), ports };
        let checkout = scratch.path("checkout");
        std::fs::create_dir(&checkout).unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for part in ["stack.toml", "README.md", "docs", "templates", "image"] {
            let copied = std::process::Command::new("cp").arg("-a").arg(repository.join(part)).arg(&checkout).status();
            assert!(copied.unwrap().success());
        }
        // Whatever the checkout pins today.
        std::fs::copy(repository.join("xtask/testdata/frozen/versions.lock"), checkout.join("versions.lock")).unwrap();
        let rendered =
            std::process::Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--root").arg(&checkout).arg("render").output();
        assert!(rendered.unwrap().status.success());
        scratch.git(&["init", "--quiet", "--initial-branch=main"]);
        scratch.git(&["add", "--all", "--force"]);
        scratch.git(&["commit", "--quiet", "--message", "all"]);
        scratch.program("docker", DOCKER);
        scratch.program("skopeo", SKOPEO);
        scratch.layout("x86_64", "amd64");
        scratch.layout("aarch64", "arm64");
        scratch
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn program(&self, name: &str, script: &str) {
        let program = self.path("bin").join(name);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An image of nothing.
    fn layout(&self, arch: &str, architecture: &str) {
        let blobs = self.path("layouts").join(arch).join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let digest = format!("sha256:{}", "0".repeat(64));
        let manifest = json!({ "config": { "digest": digest, "size": 1 }, "layers": [], "for": arch }).to_string();
        let digits: Vec<String> = sha2::Sha256::digest(&manifest).iter().map(|byte| format!("{byte:02x}")).collect();
        let hex = digits.concat();
        std::fs::write(blobs.join(&hex), &manifest).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "digest": format!("sha256:{hex}"), "size": manifest.len(), "platform": { "architecture": architecture },
        }] });
        std::fs::write(self.path("layouts").join(arch).join("index.json"), index.to_string()).unwrap();
    }

    fn git(&self, words: &[&str]) -> String {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(self.path("checkout")).args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"]);
        let ran = command.args(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn release(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        command.arg("--root").arg(self.path("checkout")).args(["release", "--registry", "127.0.0.1:1/mission-control"]);
        command.arg("--layouts").arg(self.path("layouts")).args(["--format", "json"]).args(more);
        command.env("PATH", path).env("SCRATCH", self.folder.path()).env("ADDRESS", self.ports.address().to_string());
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "t").env(format!("{name}_EMAIL"), "t@example.invalid");
        }
        command.env_remove("GITHUB_OUTPUT").env_remove("DOCKER_HOST").kill_on_drop(true);
        command
    }

    /// Runs it; gives its exit code, its document and what it said.
    async fn run(&self, more: &[&str]) -> (Option<i32>, Value, String) {
        let output = self.release(more).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap(), said)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn it_pushes_both_joins_them_and_tags_the_commit() {
    let scratch = Scratch::new().await;
    let (code, document, said) = scratch.run(&[]).await;
    assert_eq!(code, Some(0), "{said}");
    let tag = document["tag"].as_str().unwrap();
    assert!(tag.contains("-r1-"), "{tag}");
    let names: Vec<&str> =
        document["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap()).collect();
    let native = std::env::consts::ARCH;
    let probe = format!("probe {native}");
    assert_eq!(names, [&*probe, "push x86_64", "push aarch64", "join under one tag", "tag the commit"]);
    let digest = format!("sha256:{:064}", 7);
    assert_eq!(document["released"], format!("127.0.0.1:1/mission-control:{tag}@{digest}"));
    assert_eq!(scratch.git(&["tag", "--list"]).trim(), tag);
    assert_eq!(scratch.git(&["rev-parse", &format!("{tag}^{{commit}}")]), scratch.git(&["rev-parse", "HEAD"]));
    // The image was loaded under a name of this run, and removed.
    let log = scratch.log();
    let removed: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("docker image rm ")).collect();
    assert!(matches!(removed[..], [name] if name.starts_with("localhost/mission-control:run-")), "{removed:?}");

    // The next one counts on.
    let (code, document, said) = scratch.run(&["--dry-run"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(document["errors"][0]["message"].as_str().unwrap().contains("a released tag is never moved"), "{document}");
    std::fs::remove_file(scratch.path("tag")).unwrap();
    let (_, document, _) = scratch.run(&["--dry-run"]).await;
    assert!(document["tag"].as_str().unwrap().contains("-r2-"), "{document}");
}

#[tokio::test]
async fn nothing_is_released_from_what_is_not_committed() {
    let scratch = Scratch::new().await;
    std::fs::write(scratch.path("checkout/image/new"), "").unwrap();
    scratch.git(&["config", "status.showUntrackedFiles", "no"]);
    let (code, _, said) = scratch.run(&[]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("uncommitted changes") && said.contains("image/new"), "{said}");
    let orphan = "# @generated from templates/gone.j2 by `cargo xtask render`\n";
    std::fs::write(scratch.path("checkout/image/new"), orphan).unwrap();
    let (_, _, said) = scratch.run(&[]).await;
    assert!(said.contains("hint: run `cargo xtask render`"), "{said}");
    assert!(!scratch.log().contains("copy"), "something was pushed");
}

/// What is said last is true: by then the tag is there for everybody.
#[tokio::test]
async fn an_interruption_tells_what_was_done_by_then() {
    let scratch = Scratch::new().await;
    let mut command = scratch.release(&[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap();
    std::fs::write(scratch.path("hang"), "").unwrap();
    let joined = async {
        while !scratch.path("tag").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), joined).await.expect("it never came to the tag");
    let group = format!("-{}", child.id().unwrap());
    assert!(Command::new("kill").args(["-TERM", "--", &group]).status().await.unwrap().success());
    let output = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = document["errors"][0]["message"].as_str().unwrap();
    let done = "push x86_64, push aarch64; begun and not finished: join under one tag";
    assert!(said.starts_with("interrupted; done by then: probe ") && said.ends_with(done), "{said}");
    assert_eq!(scratch.git(&["tag", "--list"]), "");
}
