//! `tag next` and `tag list` in different kinds of clones, and with user settings of git.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails, helpers included")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A repository with the stack, the frozen lock and three released tags, and a folder for clones of it.
struct Scratch {
    folder: TempDir,
}

impl Scratch {
    fn new() -> Self {
        let scratch = Self { folder: tempfile::tempdir().unwrap() };
        let whole = scratch.path("whole");
        std::fs::create_dir(&whole).unwrap();
        common::copy(&["stack.toml"], &whole);
        common::copy_frozen_lock(&whole);
        scratch.git("whole", &["init", "--quiet", "--initial-branch=main"]);
        scratch.git("whole", &["add", "--all"]);
        scratch.commit("first");
        for revision in 1..=3 {
            let tag = format!(
                "v2026110{revision}-llamacpp-opencode-openclaw-r{revision}-llamacpp-opencode-1.18.2-manager-v0.16.2"
            );
            scratch.git("whole", &["tag", &tag]);
        }
        scratch.commit("work since then");
        scratch
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn commit(&self, message: &str) {
        let person = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"];
        self.git("whole", &[&person[..], &["commit", "--quiet", "--allow-empty", "--message", message]].concat());
    }

    fn git(&self, below: &str, words: &[&str]) {
        let ran = Command::new("git").arg("-C").arg(self.path(below)).args(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    }

    /// `tag WORDS` in a clone, with user settings.
    fn tag(&self, below: &str, words: &[&str], settings: &str) -> Output {
        std::fs::write(self.path("gitconfig"), settings).unwrap();
        let mut command = common::xtask(&self.path(below));
        command.arg("tag").args(words);
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).env("COLUMNS", "200").output().unwrap()
    }

    fn next(&self, below: &str, settings: &str) -> Output {
        self.tag(below, &["next", "--date", "20261125"], settings)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn user_settings_have_no_effect() {
    let scratch = Scratch::new();
    for settings in [
        "",
        "[column]\nui = always\n",
        "[color]\nui = always\n[tag]\nsort = -taggerdate\n",
        "[column]\ntag = always\n[versionsort]\nsuffix = -r\n[core]\npager = false\n",
    ] {
        let next = scratch.next("whole", settings);
        assert!(text(&next.stdout).starts_with("v20261125-llamacpp-opencode-openclaw-r4-"), "{settings}: {next:?}");
        let listed = text(&scratch.tag("whole", &["list"], settings).stdout);
        assert_eq!(listed.lines().count(), 3, "{settings}: {listed}");
    }
}

#[test]
fn json_has_the_parts_of_tags() {
    let scratch = Scratch::new();
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&scratch.tag("whole", &[words, &["--format", "json"]].concat(), "").stdout).unwrap()
    };
    let next = json(&["next", "--date", "20261125"]);
    assert_eq!((&next["schema"], &next["parts"]["revision"]), (&1.into(), &4.into()), "{next}");
    let list = json(&["list"]);
    let revisions: Vec<_> = list["tags"].as_array().unwrap().iter().map(|tag| &tag["parts"]["revision"]).collect();
    assert_eq!(revisions, [1, 2, 3], "{list}");
}

#[test]
fn a_clone_without_all_tags_asks_its_remote() {
    let scratch = Scratch::new();
    let from = format!("file://{}", scratch.path("whole").display());
    for (name, kind) in [("shallow", &["--depth=1", "--no-tags"][..]), ("tagless", &["--no-tags"]), ("full", &[])] {
        scratch.git(".", &[&["clone", "--quiet"][..], kind, &["--", &from, name]].concat());
        let next = scratch.next(name, "");
        assert!(text(&next.stdout).starts_with("v20261125-llamacpp-opencode-openclaw-r4-"), "{name}: {next:?}");
    }
    // A full clone asks no remote; without a reachable remote, it fails.
    std::fs::rename(scratch.path("whole"), scratch.path("gone")).unwrap();
    assert!(scratch.next("full", "").status.success());
    for name in ["shallow", "tagless"] {
        let next = scratch.next(name, "");
        let stderr = text(&next.stderr);
        assert_eq!((next.status.code(), text(&next.stdout).as_str()), (Some(1), ""), "{name}: {stderr}");
        assert!(stderr.contains("this clone may lack tags") && stderr.contains("hint: git fetch --tags"), "{stderr}");
    }
    scratch.git("shallow", &["remote", "remove", "origin"]);
    assert!(text(&scratch.next("shallow", "").stderr).contains("no remote"));
}

#[test]
fn the_first_tag_has_the_first_revision() {
    let scratch = Scratch::new();
    std::fs::remove_dir_all(scratch.path("whole/.git")).unwrap();
    scratch.git("whole", &["init", "--quiet"]);
    assert!(text(&scratch.next("whole", "").stdout).starts_with("v20261125-llamacpp-opencode-openclaw-r1-"));
}
