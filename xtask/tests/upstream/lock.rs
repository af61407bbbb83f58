//! The lock: written by one command at a time, completely or not at all, and reported precisely when it is broken.

use std::process::Stdio;
use std::time::Duration;

use wiremock::{MockServer, ResponseTemplate};

use crate::support::{Ran, Scratch, answer, components, release, serve, serve_tags, wrapped};

/// A checkout of two unrelated components.
fn two() -> Scratch {
    Scratch::new(&components(&["a", "b"]))
}

async fn server_of_two() -> MockServer {
    let server = MockServer::start().await;
    for (repo, file) in [("a/a", "a.bin"), ("a/b", "b.bin")] {
        let releases = vec![release("v1.2.3", "2026-09-01", false, &[(file, "x")])];
        let listing = ResponseTemplate::new(200).set_body_json(&releases).set_delay(Duration::from_millis(300));
        answer(&server, &format!("/repos/{repo}/releases"), listing).await;
        serve_tags(&server, repo, &releases).await;
    }
    server
}

#[tokio::test]
async fn two_bumps_at_once_lose_no_pin() {
    let (scratch, server) = (two(), server_of_two().await);
    let (a, b) = tokio::join!(scratch.run(&server, &["bump", "a"]), scratch.run(&server, &["bump", "b"]));
    a.succeeded();
    b.succeeded();
    scratch.lock_has(&["[components.a]", "[components.b]"]);
    let waited = [&a, &b].iter().filter(|ran| ran.stderr.contains("waiting for another command")).count();
    assert_eq!(waited, 1, "{}{}", a.stderr, b.stderr);
    assert_eq!(scratch.names(), ["stack.toml", "versions.lock"]);
}

#[tokio::test]
async fn a_lock_that_was_changed_meanwhile_is_not_overwritten() {
    let (scratch, server) = (two(), server_of_two().await);
    let mut command = scratch.command(&server, &["bump", "a"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let asked = async {
        while server.received_requests().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.expect("upstream was never asked");
    let theirs = "schema = 1\n\n[components]\n# of somebody else\n";
    std::fs::write(scratch.lock_path(), theirs).unwrap();
    let ran = Ran::from(child.wait_with_output().await.unwrap());
    ran.failed_with(&["versions.lock was changed by another program meanwhile; nothing was written"]);
    assert_eq!(scratch.lock().unwrap(), theirs);
}

#[tokio::test]
async fn a_broken_lock_is_reported_precisely() {
    let (scratch, server) = (two(), server_of_two().await);
    let lock = "schema = 1\n\n[components]\n";
    for (lock, error, hint) in [
        (lock.replace("[comp", "<<<<<<< HEAD\n=======\n>>>>>>> x\n[comp"), "merge conflict", "--ours versions.lock"),
        (lock.replace('\n', "\r\n"), "CRLF", "core.autocrlf"),
        (lock.replace("= 1", "= 99"), "schema 99", "update this checkout"),
        ("schema".to_owned(), "does not parse", "git checkout versions.lock"),
    ] {
        std::fs::write(scratch.lock_path(), &lock).unwrap();
        for command in [&["bump", "a"][..], &["verify"], &["outdated"]] {
            scratch.run(&server, command).await.failed_with(&[error, "hint: ", hint]);
        }
        assert_eq!(scratch.lock().unwrap(), lock);
    }
}

/// A file that is a mount of its own, as in containers, cannot be replaced, only overwritten.
#[tokio::test]
async fn a_lock_that_is_a_mount_is_written() {
    let (scratch, server) = (two(), MockServer::start().await);
    serve(&server, "a/a", &[(vec![release("v1.2.3", "2026-09-01", false, &[("a.bin", "x")])], 1)]).await;
    std::fs::write(scratch.lock_path(), "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mounted = folder.path().join("mounted");
    std::fs::write(&mounted, "schema = 1\n\n[components]\n").unwrap();
    let mut command = tokio::process::Command::new("unshare");
    let script = "mount --bind \"$1\" \"$2\" || exit 77; exec \"${@:3}\"";
    command.args(["--mount", "--map-root-user", "bash", "-c", script, "-"]);
    command.arg(&mounted).arg(scratch.lock_path());
    let ran = Ran::of(&mut wrapped(command, &scratch.command(&server, &["bump", "a"]))).await;
    if ran.code == Some(77) || ran.stderr.contains("unshare failed") {
        // This machine does not allow mounts.
        return;
    }
    ran.succeeded();
    assert!(std::fs::read_to_string(&mounted).unwrap().contains("[components.a]"));
    assert_eq!(scratch.names(), ["stack.toml", "versions.lock"]);
}
