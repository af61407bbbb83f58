//! The scripts of the workflows, called like their jobs do.

use std::process::Command;

use crate::common;
use crate::scratch::Scratch;

/// Runs a script; returns its exit code and output.
fn run(scratch: &Scratch, below: &str, name: &str, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(common::checkout().join(".github").join(name));
    scratch.surround(&mut command);
    // As on a runner, git knows no user: the scripts set the author.
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env_remove(name);
    }
    command.args(words).current_dir(scratch.path(below)).env("GH_TOKEN", "secret");
    command.env("GITHUB_REPOSITORY", "o/n").env("GITHUB_ACTOR", "someone").env("REGISTRY", scratch.registry());
    command.env("FLAVOR", "cpu");
    command.env("GITHUB_OUTPUT", scratch.path("outputs")).env("GITHUB_STEP_SUMMARY", scratch.path("summary"));
    command.env_remove("CARGO_TARGET_DIR");
    let tool = std::fs::read(env!("CARGO_BIN_EXE_xtask")).unwrap();
    let output = command.env("TOOL_SHA256", &common::digest(&tool)[7..]).output().unwrap();
    (output.status.code(), common::text(&output.stdout) + &common::text(&output.stderr))
}

/// Runs a script that must succeed; returns its output.
fn succeed(scratch: &Scratch, below: &str, name: &str, words: &[&str]) -> String {
    let (code, output) = run(scratch, below, name, words);
    assert_eq!(code, Some(0), "{name} {words:?}: {output}");
    output
}

/// Puts this tool into a folder of a clone.
fn install_tool(scratch: &Scratch, folder: &str) {
    std::fs::create_dir_all(scratch.path(folder)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_xtask"), scratch.path(folder).join("xtask")).unwrap();
}

/// A clone for each job, with its downloads.
fn job(scratch: &Scratch, name: &str) {
    scratch.clone(name);
    install_tool(scratch, &format!("{name}/target/tool"));
    let layouts = scratch.path(name).join("target/layouts");
    std::fs::create_dir_all(&layouts).unwrap();
    for arch in ["x86_64", "aarch64"] {
        let (from, to) = (scratch.path("layouts").join(arch), layouts.join(format!("image-{arch}")));
        assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }
}

#[test]
fn each_job_of_a_release_does_its_step_only() {
    let scratch = Scratch::new();
    let mut before = (0, 0, false);
    for (step, tagged, registered, published) in
        [("tag", 2, 0, false), ("push", 2, 1, false), ("move", 2, 3, false), ("github", 2, 3, true)]
    {
        job(&scratch, step);
        let output = succeed(&scratch, step, "release-step", &[step]);
        let releases = std::fs::read_dir(scratch.path("releases")).map_or(0, Iterator::count);
        let now = (scratch.tagged().len(), scratch.registered().len(), releases > 0);
        assert_eq!(now, (tagged, registered, published), "{step}, after {before:?}");
        before = now;
        assert!(!output.contains("secret"));
    }
    assert!(!scratch.log().contains("secret"), "a token stands in a command line");
    // Another tool than the one that `plan` compiled is refused.
    job(&scratch, "forged");
    scratch.write("forged/target/tool/xtask", "#!/bin/sh\necho forged\n");
    let (code, output) = run(&scratch, "forged", "release-step", &["tag"]);
    assert!(code != Some(0) && !output.contains("forged\n"), "{output}");
}

const BOT: &str = "user.email=41898282+github-actions[bot]@users.noreply.github.com";

/// A patch that changes the lock's text, and its notes.
fn patch(scratch: &Scratch, line: &str) {
    scratch.clone("patched");
    let text = scratch.read("patched/versions.lock");
    scratch.write("patched/versions.lock", format!("{text}# {line}\n"));
    let message = format!("Pin {line}\n\nwhat changed: {line}");
    scratch.git("patched", &["-c", BOT, "commit", "--quiet", "--all", "--message", &message]);
    let patches = scratch.git("patched", &["format-patch", "--quiet", "--binary", "--stdout", "HEAD~1"]);
    scratch.write("bump.patch", patches + "\n");
    scratch.write("bump.md", format!("what changed: {line}\n"));
    std::fs::remove_dir_all(scratch.path("patched")).unwrap();
}

#[test]
fn a_bump_is_proposed_once_and_keeps_commits_of_people() {
    let scratch = Scratch::new();
    let branch = "refs/heads/bump/upstreams";
    let mut run_number = 0;
    let mut propose = || {
        run_number += 1;
        let clone = format!("clone-{run_number}");
        scratch.clone(&clone);
        let output = succeed(&scratch, &clone, "open-pull-request", &["../bump.patch", "../bump.md"]);
        (scratch.git("remote.git", &["rev-parse", branch]), scratch.log(), output)
    };
    patch(&scratch, "one");
    let (first, log, _) = propose();
    assert!(log.contains("gh pr create") && log.contains("gh workflow run ci.yml"), "{log}");
    assert!(scratch.git("remote.git", &["log", "--format=%B", "-1", branch]).contains("what changed: one"));
    // The same pins again: no push.
    scratch.write("listed", "7\n");
    let (again, log, output) = propose();
    assert_eq!(again, first);
    assert!(output.contains("already has these pins") && !log.contains("gh pr"), "{log}");
    // The commit of a person is rebased onto the next pins.
    scratch.git(".", &["clone", "--quiet", "--branch", "bump/upstreams", "remote.git", "person"]);
    scratch.write("person/by-hand", "mended");
    scratch.git("person", &["add", "by-hand"]);
    scratch.git("person", &["commit", "--quiet", "--message", "Mend what the new version breaks"]);
    scratch.git("person", &["push", "--quiet", "origin", "bump/upstreams"]);
    patch(&scratch, "two");
    let (_, log, _) = propose();
    assert!(log.contains("gh pr edit 7"), "{log}");
    let subjects = scratch.git("remote.git", &["log", "--format=%s", &format!("main..{branch}")]);
    assert_eq!(subjects, "Mend what the new version breaks\nPin two");
    assert!(scratch.git("remote.git", &["show", &format!("{branch}:versions.lock")]).ends_with("# two"));
    // If it does not apply any more, the branch stays unchanged.
    scratch.write("person/versions.lock", "by hand\n");
    scratch.git("person", &["fetch", "--quiet"]);
    scratch.git("person", &["reset", "--quiet", "--soft", "origin/bump/upstreams"]);
    scratch.git("person", &["commit", "--quiet", "--all", "--message", "Another lock"]);
    scratch.git("person", &["push", "--quiet", "origin", "HEAD:bump/upstreams"]);
    let kept = scratch.git("remote.git", &["rev-parse", branch]);
    patch(&scratch, "three");
    let (after, _, output) = propose();
    assert!(after == kept && output.contains("the branch is not changed"), "{output}");
}

#[test]
fn findings_keep_one_issue() {
    let scratch = Scratch::new();
    let findings = scratch.path("findings.txt");
    std::fs::write(&findings, "convex: replaced `$(id)`\n").unwrap();
    let report = |code: &str, expected: &str| {
        succeed(&scratch, "checkout", "report-findings", &[findings.to_str().unwrap(), code, "Pins"]);
        let log = scratch.log();
        assert!(log.lines().any(|line| line.starts_with(expected)), "{log}");
    };
    report("0", "gh issue list");
    report("3", "gh issue create");
    scratch.write("listed", "12\n");
    report("1", "gh issue edit 12");
    report("0", "gh issue close 12");
}

#[test]
fn each_component_is_pinned_in_a_commit_of_its_own() {
    let scratch = Scratch::new();
    let cargo = r##"#!/bin/bash
echo "cargo $*" >>"$SCRATCH/log"
case "$*" in
'xtask bump --keep-going convex' | 'xtask bump --keep-going node') echo "# $4" >>versions.lock ;;
'xtask bump --keep-going') echo "# both" >>versions.lock; exit 1 ;;
'xtask bump --keep-going bun') exit 1 ;;
'xtask diff '*) echo "told of $3" ;;
esac
"##;
    scratch.program("bin", "cargo", cargo);
    let base = scratch.git("checkout", &["rev-parse", "HEAD"]);
    let (code, output) = run(&scratch, "checkout", "pin-each", &["../bump.patch", "../bump.md"]);
    assert_eq!(code, Some(1), "{output}");
    let subjects = scratch.git("checkout", &["log", "--reverse", "--format=%s", &format!("{base}..")]);
    assert_eq!(subjects, "Pin node\nPin convex\nPin components that are updated together");
    assert_eq!(scratch.read("outputs"), "changed=true\n");
    assert_eq!(scratch.read("bump.md"), format!("told of {base}\n"));
    // The next job applies its output.
    scratch.clone("next");
    succeed(&scratch, "next", "open-pull-request", &["../bump.patch", "../bump.md"]);
    let pushed = scratch.git("remote.git", &["log", "--reverse", "--format=%s", "main..refs/heads/bump/upstreams"]);
    assert_eq!(pushed, subjects);
}

/// A `cargo` that logs its arguments; its `build` fails the first `failures` times.
const CARGO: &str = r#"#!/bin/bash
echo "cargo $*" >>"$SCRATCH/log"
case "$*" in
'xtask build '*)
	for word; do case $word in type=local,dest=*) word=${word#*dest=}; mkdir -p "${word%%,*}" ;; esac; done
	if [ -s "$SCRATCH/failures" ]; then sed -i 1d "$SCRATCH/failures"; exit 1; fi ;;
'xtask repro '*) echo told; exit "$(cat "$SCRATCH/repro")" ;;
esac
"#;

#[test]
fn a_build_uses_the_second_mirror_if_the_first_refuses() {
    let scratch = Scratch::new();
    scratch.program("bin", "cargo", CARGO);
    let build = |words: &[&str], failures: &str| {
        scratch.write("failures", failures);
        let (code, _) = run(&scratch, "checkout", "build-image", words);
        (code == Some(0), scratch.log())
    };
    let (is_built, log) = build(&["aarch64"], "");
    let build_it = "cargo xtask build --arch aarch64 --flavor cpu --output target/image";
    let sbom = "cargo xtask sbom --arch aarch64 --flavor cpu --layouts target/image --output target/sbom\n";
    assert!(is_built && log == format!("{build_it}\n{sbom}"), "{log}");
    let (is_built, log) = build(&["aarch64"], "one\n");
    let mirror = "--mirror http://snapshot.debian.org=https://snapshot-cloudflare.debian.org";
    assert!(is_built && log.contains(&format!("{build_it} {mirror}\n{sbom}")), "{log}");
    let (is_built, log) = build(&["aarch64"], "one\ntwo\n");
    assert!(!is_built && !log.contains("sbom"), "{log}");
    // For a pull request: the second run uses the cache of the first one.
    let (_, log) = build(&["aarch64", "target/cache"], "");
    assert!(
        !log.contains("--cache-from") && log.contains("--cache-to type=local,dest=target/cache.new,mode=max"),
        "{log}"
    );
    let (_, log) = build(&["aarch64", "target/cache"], "");
    assert!(log.contains("--cache-from type=local,src=target/cache --cache-to"), "{log}");
}

#[test]
fn a_plan_compiles_the_tool_once_and_outputs_the_releases_target() {
    let scratch = Scratch::new();
    scratch.program("bin", "cargo", CARGO);
    install_tool(&scratch, "checkout/target/debug");
    std::fs::rename(scratch.path("remote.git"), scratch.path("gone")).unwrap();
    succeed(&scratch, "checkout", "plan-release", &[]);
    let log = scratch.log();
    assert!(log.starts_with("cargo build --locked --package xtask\n") && !log.contains("skopeo"), "{log}");
    let outputs = scratch.read("outputs");
    let tool = common::digest(&std::fs::read(scratch.path("checkout/target/tool/xtask")).unwrap());
    assert!(
        outputs.contains("registry=ghcr.io/o/n\n") && outputs.contains(&format!("sha256={}", &tool[7..])),
        "{outputs}"
    );
    assert!(scratch.read("summary").contains("docker pull ghcr.io/o/n:"));
}

#[test]
fn the_newest_release_is_rebuilt_by_its_own_tool() {
    let scratch = Scratch::new();
    scratch.program("bin", "cargo", CARGO);
    let rebuild = |code: &str| {
        let _ = std::fs::remove_file(scratch.path("outputs"));
        scratch.write("repro", code);
        succeed(&scratch, "checkout", "rebuild-release", &["x86_64", "findings.txt"]);
        (scratch.read("outputs"), scratch.read("checkout/findings.txt"), scratch.log())
    };
    let (output, findings, log) = rebuild("0");
    assert!(output == "x86_64=0\n" && findings.contains("there is no release") && !log.contains("repro"), "{log}");
    scratch.git("checkout", &["tag", "v1"]);
    scratch.commit("checkout");
    scratch.write("listed", "v1\n");
    for (code, runs) in [("0", 1), ("3", 1), ("1", 2)] {
        let (output, findings, log) = rebuild(code);
        assert_eq!((output, findings.as_str()), (format!("x86_64={code}\n"), "told\n"));
        let calls = log.matches("cargo xtask repro ghcr.io/o/n:v1 --arch x86_64").count();
        assert_eq!(calls, runs, "{log}");
    }
    assert_eq!(scratch.git("checkout", &["rev-parse", "HEAD"]), scratch.git("checkout", &["rev-parse", "v1"]));
}
