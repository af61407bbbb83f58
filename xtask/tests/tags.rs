//! `tag next` and `tag list` in different kinds of clones, and with user settings of git.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails, helpers included")]

mod common;

use std::process::Output;

use common::{Folder, text};

/// A repository with the stack, the frozen lock and three released tags, in a folder for clones of it.
fn scratch() -> Folder {
    let scratch = Folder::new();
    let whole = scratch.path("whole");
    std::fs::create_dir(&whole).unwrap();
    common::copy(&["stack.toml"], &whole);
    common::copy_frozen_lock(&whole);
    scratch.git("whole", &["init", "--quiet", "--initial-branch=main"]);
    scratch.git("whole", &["add", "--all"]);
    scratch.git("whole", &["commit", "--quiet", "--message", "first"]);
    for revision in 1..=3 {
        let (flavor, versions) = ("llamacpp-opencode-openclaw", "llamacpp-opencode-1.18.2-manager-v0.16.2");
        scratch.git("whole", &["tag", &format!("v2026110{revision}-{flavor}-r{revision}-{versions}")]);
    }
    scratch.git("whole", &["commit", "--quiet", "--allow-empty", "--message", "work since then"]);
    scratch
}

impl Folder {
    /// `tag WORDS` in a clone, with user settings.
    fn tag(&self, below: &str, words: &[&str], settings: &str) -> Output {
        self.write("gitconfig", settings);
        let mut command = common::xtask(&self.path(below));
        command.arg("tag").args(words);
        command.env("GIT_CONFIG_GLOBAL", self.path("gitconfig")).env("COLUMNS", "200").output().unwrap()
    }

    fn next(&self, below: &str, settings: &str) -> Output {
        self.tag(below, &["next", "--date", "20261125"], settings)
    }
}

#[test]
fn user_settings_have_no_effect() {
    let scratch = scratch();
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
    let scratch = scratch();
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
    let scratch = scratch();
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
    let scratch = scratch();
    std::fs::remove_dir_all(scratch.path("whole/.git")).unwrap();
    scratch.git("whole", &["init", "--quiet"]);
    assert!(text(&scratch.next("whole", "").stdout).starts_with("v20261125-llamacpp-opencode-openclaw-r1-"));
}
