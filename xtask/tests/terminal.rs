//! The program's output: for people, for machines, and with closed streams.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use std::process::{Command, Output, Stdio};

use common::{checkout, text};
use serde_json::Value;

const TAG: &str = "v20260227-llamacpp-opencode-openclaw-r30-llamacpp-opencode-1.2.15-manager-v0.9.04";

fn program(arguments: &[&str]) -> Command {
    let mut command = common::xtask(&checkout());
    command.args(arguments).env_remove("NO_COLOR");
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).output().unwrap()
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    for arguments in
        [&["tag", "parse", TAG][..], &["tag", "parse", "x"], &["--help"], &["tag", "parse", TAG, "--format=json"]]
    {
        // Both streams are pipes without a reader.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program(arguments);
        let status = command.stdout(writer.try_clone().unwrap()).stderr(writer).status().unwrap();
        let expected = i32::from(arguments.last() == Some(&"x"));
        assert_eq!(status.code(), Some(expected), "{arguments:?}");
    }
}

#[test]
fn a_result_that_cannot_be_printed_is_a_failure() {
    for arguments in [&["tag", "parse", TAG][..], &["tag", "parse", TAG, "--format=json"], &["--help"], &["--version"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = program(arguments).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("the result cannot be printed") && stderr.contains("No space left"), "{stderr}");
    }
}

#[test]
fn stdout_is_one_json_document_whatever_happens() {
    for (arguments, code, field) in [
        (&["tag", "parse", TAG][..], 0, "date"),
        (&["render", "--check"], 0, "changed"),
        (&["man", "bump"], 0, "text"),
        (&["completions", "bash"], 0, "text"),
        (&["tag", "parse", "x"], 1, "errors"),
        (&["bump", "nothing", "at-all"], 1, "errors"),
        (&["release", "--registry", "Not/A Registry"], 1, "errors"),
        (&["no-such-command"], 2, "errors"),
        (&["tag", "next", "--date"], 2, "errors"),
    ] {
        let output = run(&[arguments, &["--format", "json"]].concat());
        let stderr = text(&output.stderr);
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert_eq!(document["schema"], 1, "{document}");
        assert!(!document[field].is_null(), "{arguments:?}: {document}");
        assert_eq!(document["errors"].is_null(), stderr.is_empty(), "{document}\n{stderr}");
    }
    let output = run(&["bump", "nothing", "at-all", "--format=json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["errors"].as_array().unwrap().len(), 2, "{document}");
}

#[test]
fn colours_are_for_terminals_and_on_request() {
    let wrong = ["tag", "parse", "x"];
    assert!(!text(&run(&wrong).stderr).contains('\u{1b}'));
    let asked = run(&[&wrong[..], &["--color", "always"]].concat());
    assert!(text(&asked.stderr).contains("\u{1b}["), "{}", text(&asked.stderr));
    let help = run(&["--help", "--color=always"]);
    assert!(text(&help.stdout).contains("\u{1b}["));
}

#[test]
fn verbose_prints_the_programs_and_quiet_prints_errors_only() {
    // Not a repository, so that no remote is asked.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(checkout().join("stack.toml"), folder.path().join("stack.toml")).unwrap();
    for (arguments, expected) in [
        (&["tag", "list", "--verbose"][..], "+ git -C "),
        (&["tag", "list", "-q"], "error: cannot list the git tags"),
        (&["--quiet", "tag", "list", "--verbose"], "error: cannot list the git tags"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--root").arg(folder.path()).args(arguments).env("GIT_CEILING_DIRECTORIES", "/");
        let stderr = text(&command.output().unwrap().stderr);
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn completions_and_man_pages_have_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&run(&["completions", shell]).stdout);
        for word in ["rehearse", "dry-run", "doctor"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let syntax = Command::new("bash").args(["-n", "-c", &text(&run(&["completions", "bash"]).stdout)]).status();
    assert!(syntax.unwrap().success());
    assert!(text(&run(&["man"]).stdout).contains("cargo\\-xtask\\-release(1)"));
    assert!(text(&run(&["man", "bump"]).stdout).contains("Resolve and print, but write nothing"));
    assert!(text(&run(&["man", "nothing"]).stderr).contains("there is no command `nothing`"));
}

/// Relative paths are relative to the current directory, also with `--root`.
#[test]
fn paths_are_relative_to_the_current_directory() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["benchmark", "--only", "size", "--layout", "here"]);
    let stderr = text(&command.current_dir(folder.path()).output().unwrap().stderr);
    assert!(stderr.contains("`here/index.json`"), "{stderr}");
}
