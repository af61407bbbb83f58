//! The scripts of the workflows' jobs, as the jobs call them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::scratch::Scratch;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(".github").join(name)
}

fn run(scratch: &Scratch, below: &str, name: &str, words: &[&str]) -> Output {
    let mut command = Command::new(script(name));
    scratch.surround(&mut command);
    // A runner knows nobody: the scripts say who commits.
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env_remove(name);
    }
    command.args(words).current_dir(scratch.path(below)).env("GH_TOKEN", "secret");
    command.env("GITHUB_REPOSITORY", "o/n").env("GITHUB_ACTOR", "someone").env("REGISTRY", scratch.registry());
    let tool = std::fs::read(env!("CARGO_BIN_EXE_xtask")).unwrap();
    command.env("TOOL_SHA256", &crate::scratch::digest(&tool)[7..]).output().unwrap()
}

/// A clone for each job, with what it downloads.
fn job(scratch: &Scratch, name: &str) {
    scratch.clone(name);
    std::fs::create_dir_all(scratch.path(name).join("target/tool")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_xtask"), scratch.path(name).join("target/tool/xtask")).unwrap();
    std::fs::create_dir_all(scratch.path(name).join("target/layouts")).unwrap();
    for arch in ["x86_64", "aarch64"] {
        let from = scratch.path("layouts").join(arch);
        let to = scratch.path(name).join("target/layouts").join(format!("image-{arch}"));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn each_job_of_a_release_does_its_step_and_no_more() {
    let scratch = Scratch::new();
    let mut before = (0, 0, false);
    for (step, tagged, registered, published) in
        [("tag", 2, 0, false), ("push", 2, 1, false), ("move", 2, 3, false), ("github", 2, 3, true)]
    {
        job(&scratch, step);
        let output = run(&scratch, step, "release-step", &[step]);
        assert!(output.status.success(), "{step}: {}", said(&output));
        let releases = std::fs::read_dir(scratch.path("releases")).map_or(0, Iterator::count);
        let now = (scratch.tagged().len(), scratch.registered().len(), releases > 0);
        assert_eq!(now, (tagged, registered, published), "{step}, after {before:?}");
        before = now;
        assert!(!said(&output).contains("secret"));
    }
    assert!(!scratch.log().contains("secret"), "a token stands in a command line");
    // A tool that is not the one of `plan` does nothing.
    job(&scratch, "forged");
    std::fs::write(scratch.path("forged/target/tool/xtask"), "#!/bin/sh\necho forged\n").unwrap();
    let output = run(&scratch, "forged", "release-step", &["tag"]);
    assert!(!output.status.success() && !said(&output).contains("forged\n"), "{}", said(&output));
}

/// A patch that changes the lock's text, and its notes.
fn patch(scratch: &Scratch, line: &str) {
    scratch.clone("patched");
    let lock = scratch.path("patched/versions.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, format!("{text}# {line}\n")).unwrap();
    let patch = scratch.git("patched", &["diff", "--binary"]);
    std::fs::write(scratch.path("bump.patch"), patch + "\n").unwrap();
    std::fs::write(scratch.path("bump.md"), format!("what changed: {line}\n")).unwrap();
    std::fs::remove_dir_all(scratch.path("patched")).unwrap();
}

#[test]
fn a_bump_is_proposed_once_and_keeps_what_people_commit() {
    let scratch = Scratch::new();
    let branch = "refs/heads/bump/upstreams";
    let mut run_number = 0;
    let mut propose = || {
        run_number += 1;
        let clone = format!("clone-{run_number}");
        scratch.clone(&clone);
        let output = run(&scratch, &clone, "open-pull-request", &["../bump.patch", "../bump.md"]);
        assert!(output.status.success(), "{}", said(&output));
        (scratch.git("remote.git", &["rev-parse", branch]), scratch.log(), said(&output))
    };
    patch(&scratch, "one");
    let (first, log, _) = propose();
    assert!(log.contains("gh pr create") && log.contains("gh workflow run ci.yml"), "{log}");
    assert!(scratch.git("remote.git", &["log", "--format=%B", "-1", branch]).contains("what changed: one"));
    // The same pins again: nothing is pushed.
    std::fs::write(scratch.path("listed"), "7\n").unwrap();
    let (again, log, told) = propose();
    assert_eq!(again, first);
    assert!(told.contains("has these pins already") && !log.contains("gh pr"), "{log}");
    // A person's commit stays on top of the next pins.
    scratch.git(".", &["clone", "--quiet", "--branch", "bump/upstreams", "remote.git", "person"]);
    std::fs::write(scratch.path("person/by-hand"), "mended").unwrap();
    scratch.git("person", &["add", "by-hand"]);
    scratch.git("person", &["commit", "--quiet", "--message", "Mend what the new version breaks"]);
    scratch.git("person", &["push", "--quiet", "origin", "bump/upstreams"]);
    patch(&scratch, "two");
    let (_, log, _) = propose();
    assert!(log.contains("gh pr edit 7"), "{log}");
    let subjects = scratch.git("remote.git", &["log", "--format=%s", &format!("main..{branch}")]);
    assert_eq!(subjects, "Mend what the new version breaks\nPin what the upstreams published");
    assert!(scratch.git("remote.git", &["show", &format!("{branch}:versions.lock")]).ends_with("# two"));
    // One that no longer fits is left alone, with its branch.
    std::fs::write(scratch.path("person/versions.lock"), "by hand\n").unwrap();
    scratch.git("person", &["fetch", "--quiet"]);
    scratch.git("person", &["reset", "--quiet", "--soft", "origin/bump/upstreams"]);
    scratch.git("person", &["commit", "--quiet", "--all", "--message", "Another lock"]);
    scratch.git("person", &["push", "--quiet", "origin", "HEAD:bump/upstreams"]);
    let kept = scratch.git("remote.git", &["rev-parse", branch]);
    patch(&scratch, "three");
    let (after, _, told) = propose();
    assert!(after == kept && told.contains("the branch stays as it is"), "{told}");
}

#[test]
fn findings_keep_one_issue() {
    let scratch = Scratch::new();
    let findings = scratch.path("findings.txt");
    std::fs::write(&findings, "convex: replaced `$(id)`\n").unwrap();
    let report = |code: &str, expected: &str| {
        let output = run(&scratch, "checkout", "report-findings", &[findings.to_str().unwrap(), code]);
        assert!(output.status.success(), "{}", said(&output));
        let log = scratch.log();
        assert!(log.lines().any(|line| line.starts_with(expected)), "{log}");
    };
    report("0", "gh issue list");
    report("3", "gh issue create");
    std::fs::write(scratch.path("listed"), "12\n").unwrap();
    report("1", "gh issue edit 12");
    report("0", "gh issue close 12");
}
