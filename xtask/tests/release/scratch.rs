//! A checkout with a bare remote, layouts of both architectures, a real registry, and wrappers of programs that log
//! their arguments and kill the release at a chosen step.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::{self, Folder, digest};

/// An engine whose containers answer on all ports, and exit like `$SCRATCH/exit` says.
const DOCKER: &str = r#"#!/bin/bash
echo "docker $*" >>"$SCRATCH/log"
case "$*" in
'version '*) echo 28.0.1 ;;
'buildx version') echo 'x v0.20.0' ;;
'buildx inspect') echo 'Driver: docker' ;;
'info '*) echo '[["driver-type","io.containerd.snapshotter.v1"]]' ;;
load) cat >/dev/null ;;
'login '*) cat >/dev/null; echo "logged in" ;;
'port '*) echo "$ADDRESS" ;;
'inspect '*ExitCode*) cat "$SCRATCH/exit" ;;
'inspect '*) echo healthy ;;
*) echo "$*" ;;
esac
"#;

/// A wrapper of git, skopeo and gh that counts the calls with an effect. `KILL="3 before"` kills the release before the
/// third one runs, `after` after it, `during` while it runs. `AT_PUSH` runs once before git pushes.
const FRONT: &str = r#"#!/bin/bash
name=${0##*/}
echo "$name $*" >>"$SCRATCH/log"
real() { PATH=${PATH#*:} "$@"; }
case "$name $*" in
'skopeo copy '* | 'git '*' tag --annotate '* | 'git '*' push '* | 'gh release '[cue]*) ;;
*)
	real "$name" "$@"
	exit ;;
esac
case "$name $*" in 'git '*' push '*)
	if [ -n "$AT_PUSH" ]; then
		hook=$AT_PUSH AT_PUSH= bash -c "$AT_PUSH" >>"$SCRATCH/at-push" 2>&1
	fi ;;
esac
echo >>"$SCRATCH/changes"
read -r at when <<<"$KILL"
if [ "$(wc -l <"$SCRATCH/changes")" != "$at" ]; then
	real "$name" "$@"
	exit
fi
case $when in
before) ;;
during)
	# git alone: its remote sees the end of the connection, and undoes what it began.
	PATH=${PATH#*:} timeout --foreground --signal KILL 0.1 "$name" "$@"
	while grep --quiet --no-messages 'receive-pac[k]' /proc/[0-9]*/cmdline; do sleep 0.05; done ;;
after) real "$name" "$@" ;;
esac
kill -KILL "$PPID"
"#;

/// GitHub's releases, each as a folder.
const GH: &str = r#"#!/bin/bash
release=$SCRATCH/releases/$3
case "$1 $2" in
'auth token') echo secret; exit ;;
'attestation verify') cat "$SCRATCH/attested" 2>/dev/null; exit ;;
*' list') cat "$SCRATCH/listed" 2>/dev/null; exit 0 ;;
'release '*) ;;
*) exit 0 ;;
esac
case $2 in
view)
	if [ ! -d "$release" ]; then echo 'release not found' >&2; exit 1; fi
	if [ -e "$release/draft" ]; then echo '{"isDraft":true}'; else echo '{"isDraft":false}'; fi ;;
create) mkdir -p "$release" && touch "$release/draft" ;;
upload)
	for file; do [ -f "$file" ] && cp "$file" "$release"; done
	true ;;
edit) rm "$release/draft"; echo "$*" >"$release/edit" ;;
esac
"#;

/// An architecture, and its name in OCI.
pub(crate) const X86_64: [&str; 2] = ["x86_64", "amd64"];
pub(crate) const AARCH64: [&str; 2] = ["aarch64", "arm64"];

pub(crate) struct Scratch {
    folder: Folder,
    /// The port of all the stand-in's containers.
    ports: String,
    registry: Registry,
}

struct Registry {
    child: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(folder: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n",
            folder.join("registry").display()
        );
        std::fs::write(folder.join("registry.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(folder.join("registry.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("these tests want docker-registry and skopeo: apt-get install both ({error})")
        });
        let is_up = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            std::net::TcpStream::connect(&address).is_ok()
        });
        assert!(is_up, "the registry does not listen");
        Self { child, address }
    }
}

/// Exit code and output of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) document: Value,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            document: serde_json::from_slice(&output.stdout).unwrap_or_default(),
            stderr: common::text(&output.stderr),
        }
    }
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.document
    }

    /// stderr of a failed run, which has these words.
    pub(crate) fn failed(self, words: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}`: {}", self.stderr);
        }
        self.stderr
    }
}

impl Deref for Scratch {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let ports = answering("200 OK");
        let folder = Folder::new();
        let registry = Registry::start(folder.root());
        let scratch = Self { folder, ports, registry };
        let checkout = scratch.path("checkout");
        std::fs::create_dir(&checkout).unwrap();
        let copied = ["stack.toml", "versions.lock", "README.md", "docs", "templates", "image", ".gitignore"];
        common::copy(&copied, &checkout);
        for (name, script) in [("docker", DOCKER), ("git", FRONT), ("skopeo", FRONT), ("gh", FRONT)] {
            scratch.program("bin", name, script);
        }
        scratch.program("gh", "gh", GH);
        scratch.write("exit", "0\n");
        scratch.git("checkout", &["init", "--quiet", "--initial-branch=main"]);
        scratch.git("checkout", &["add", "--all", "--force"]);
        scratch.git("checkout", &["commit", "--quiet", "--message", "all"]);
        scratch.git(".", &["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
        let remote = scratch.path("remote.git").display().to_string();
        scratch.git("checkout", &["remote", "add", "origin", &remote]);
        scratch.git("checkout", &["push", "--quiet", "origin", "main"]);
        scratch.layouts_of("checkout", "layouts");
        scratch
    }

    /// Both images, according to the lock of a checkout.
    pub(crate) fn layouts_of(&self, below: &str, layouts: &str) {
        let lock = digest(self.read(&format!("{below}/versions.lock")).as_bytes());
        for arches in [X86_64, AARCH64] {
            self.layout(layouts, arches, &lock, "");
        }
    }

    /// Commits another version of OpenCode.
    pub(crate) fn other_version(&self, below: &str, version: &str) {
        let lock = format!("{below}/versions.lock");
        let text = self.read(&lock);
        let (before, after) = text.split_once("[components.opencode]\nversion = \"").unwrap();
        let after = after.split_once('"').unwrap().1;
        let text = format!("{before}[components.opencode]\nversion = \"{version}\"{after}");
        self.write(&lock, &text);
        assert!(common::xtask(&self.path(below)).arg("render").status().unwrap().success());
        self.git(below, &["commit", "--quiet", "--all", "--message", "another version"]);
    }

    pub(crate) fn program(&self, folder: &str, name: &str, script: &str) {
        common::script(&self.path(folder).join(name), script);
    }

    pub(crate) fn lock_digest(&self) -> String {
        digest(self.read("checkout/versions.lock").as_bytes())
    }

    /// An image of one layer with one file, of these contents.
    pub(crate) fn layout(&self, layouts: &str, [arch, architecture]: [&str; 2], lock: &str, contents: &str) {
        let folder = self.path(layouts).join(arch);
        let flavor = if layouts.ends_with("remote") { "remote" } else { "cpu" };
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let blob = |kind: &str, bytes: &[u8]| {
            let digest = digest(bytes);
            std::fs::write(folder.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
            json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": bytes.len() })
        };
        let mut archive = tar::Builder::new(Vec::new());
        let debian = format!("Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: {architecture}\n");
        let npm = r#"{"name":"b","version":"1.0.0","license":"MIT"}"#;
        for (path, text) in
            [("var/lib/dpkg/status", debian.as_str()), ("opt/node_modules/b/package.json", npm), ("contents", contents)]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        let layer = blob("layer.v1.tar", &archive.into_inner().unwrap());
        let configuration = json!({
            "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
            "history": [{ "created_by": "COPY /out/ /" }],
            "config": { "Labels": { "mission-control.lock": lock, "mission-control.flavor": flavor } },
        });
        let configuration = blob("config.v1+json", configuration.to_string().as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": configuration, "layers": [layer],
        });
        let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    /// Another clone of the remote.
    pub(crate) fn clone(&self, name: &str) {
        self.git(".", &["clone", "--quiet", "remote.git", name]);
    }

    pub(crate) fn commit(&self, below: &str) {
        self.git(below, &["commit", "--quiet", "--allow-empty", "--message", below]);
    }

    pub(crate) fn registry(&self) -> String {
        format!("{}/mission-control", self.registry.address)
    }

    /// Runs a command of the tool in a checkout.
    pub(crate) fn tool(&self, below: &str, words: &[&str]) -> Ran {
        Ran::of(self.xtask(below).args(words).args(["--format", "json"]))
    }

    /// The tool in a checkout, with the stand-ins on PATH.
    pub(crate) fn xtask(&self, below: &str) -> Command {
        let mut command = common::xtask(&self.path(below));
        self.surround(&mut command);
        command
    }

    pub(crate) fn surround(&self, command: &mut Command) {
        let path =
            format!("{}:{}:{}", self.path("bin").display(), self.path("gh").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("SCRATCH", self.folder.root()).env("ADDRESS", &self.ports);
        for name in ["GIT_AUTHOR", "GIT_COMMITTER"] {
            command.env(format!("{name}_NAME"), "t").env(format!("{name}_EMAIL"), "t@example.invalid");
        }
        command.env_remove("GITHUB_OUTPUT").env_remove("DOCKER_HOST").env("KILL", "").env("AT_PUSH", "");
    }

    pub(crate) fn release(&self, below: &str, more: &[&str]) -> Command {
        let mut command = self.xtask(below);
        command.args(["release", "--layouts"]).arg(self.path("layouts"));
        command.args(["--format", "json", "--github", "o/n"]).args(more);
        if !more.contains(&"--registry") {
            command.args(["--registry", &self.registry()]);
        }
        command
    }

    pub(crate) fn run(&self, below: &str, more: &[&str]) -> Ran {
        Ran::of(&mut self.release(below, more))
    }

    /// The calls of the programs since the last time.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = std::fs::remove_file(self.path("log"));
        log
    }

    /// The tags in the registry, each with its digest.
    pub(crate) fn registered(&self) -> Vec<(String, String)> {
        let skopeo = |words: &[&str]| {
            let ran = Command::new("skopeo").args(words).arg("--tls-verify=false").output().unwrap();
            ran.status.success().then_some(ran.stdout)
        };
        let Some(listed) = skopeo(&["list-tags", &format!("docker://{}", self.registry())]) else { return Vec::new() };
        let listed: Value = serde_json::from_slice(&listed).unwrap();
        let mut tags: Vec<String> =
            listed["Tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        let with = |tag: String| {
            let raw = skopeo(&["inspect", "--raw", &format!("docker://{}:{tag}", self.registry())]).unwrap();
            (tag, digest(&raw))
        };
        tags.into_iter().map(with).collect()
    }

    /// The git tags of the remote, and its reserved revisions.
    pub(crate) fn tagged(&self) -> Vec<String> {
        let references =
            self.git("remote.git", &["for-each-ref", "--format=%(refname)", "refs/tags", "refs/revisions"]);
        references.lines().map(|name| name.trim_start_matches("refs/").to_owned()).collect()
    }
}

/// A server with the same response to everything, until the test ends.
pub(crate) fn answering(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let response = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.into_inner().write_all(response.as_bytes());
        }
    });
    address
}
