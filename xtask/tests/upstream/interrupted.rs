//! Interrupted bumps and fetches.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::faults::server::{self, Answer, Fault};
use crate::support::{
    CONVEX, CONVEX_STACK, Ran, STABLE, Scratch, TOOL, convex_releases, digest_of, has, serve, without_digest, wrapped,
};

#[tokio::test]
async fn ctrl_c_in_the_middle_leaves_the_old_lock_and_nothing_else() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(without_digest(STABLE, "dashboard.zip", 1000), 1)]).await;
    // The download never ends.
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(600));
    Mock::given(path_regex("^/github/")).respond_with(late).mount(&server).await;
    let old = "schema = 1\n\n[components]\n";
    std::fs::write(scratch.lock_path(), old).unwrap();
    let temporary = tempfile::tempdir().unwrap();

    let mut command = scratch.command(&server, &["bump", "convex"]);
    command.env("TMPDIR", temporary.path()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = child.id().unwrap().to_string();
    let is_downloading = async || {
        let requests = server.received_requests().await.unwrap();
        requests.iter().any(|request| request.url.path().starts_with("/github/"))
    };
    while !is_downloading().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
    let output = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap();
    let ran = Ran::from(output.unwrap());

    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    has(&ran.stderr, &["interrupted"]);
    assert_eq!(scratch.lock().unwrap(), old);
    assert_eq!(scratch.names(), ["stack.toml", "versions.lock"]);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a temporary file was left behind");
}

#[tokio::test]
async fn a_fetch_that_is_stopped_at_any_moment_does_not_disturb_the_next_one() {
    let file: Vec<u8> = (0..400_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let digest = digest_of(&file);
    let answer = Answer { status: 200, kind: "application/zip".to_owned(), body: file };
    let address = server::start(Arc::new(move |_| answer.clone()), Fault::Trickle);
    let scratch = Scratch::new(TOOL);
    let lock = scratch.pin_tool(&digest);
    let temporary = tempfile::tempdir().unwrap();
    let bodies = scratch.cache.path().join("mission-control-xtask/bodies");
    for (round, signal) in ["INT", "TERM", "HUP"].into_iter().cycle().take(18).enumerate() {
        let mut command = scratch.command_at(&address, &["fetch"]);
        command.env("TMPDIR", temporary.path()).process_group(0);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let id = child.id().unwrap().to_string();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..500))).await;
        // A terminal signals the whole process group.
        let whom = if round % 2 == 0 { id } else { format!("-{id}") };
        let kill = ["-s", signal, "--", &whom];
        assert!(Command::new("kill").args(kill).status().await.unwrap().success(), "it ended by itself: {round}");
        let output = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await.unwrap();
        let ran = Ran::from(output.unwrap());
        // No output if it did not handle signals yet.
        assert!(matches!(ran.code, None | Some(129 | 130 | 143)), "{:?} {}{}", ran.code, ran.stdout, ran.stderr);
        assert_eq!(scratch.lock().unwrap(), lock);
        assert_eq!(scratch.names(), ["stack.toml", "versions.lock"]);
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a temporary file was left behind");
        assert!(std::fs::read_dir(&bodies).into_iter().flatten().next().is_none(), "half a file passes for whole");
    }
    Ran::of(&mut scratch.command_at(&address, &["fetch"])).await.succeeded();
    assert_eq!(digest_of(&std::fs::read(bodies.join(&digest["sha256:".len()..])).unwrap()), digest);
}

/// root ignores permissions, so the program runs as another user then.
#[tokio::test]
async fn a_read_only_checkout_is_reported_and_unchanged() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(convex_releases(), 1)]).await;
    let set_mode = |mode| std::fs::set_permissions(scratch.root(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let inner = scratch.command(&server, &["bump", "convex"]);
    let is_root = std::fs::write(scratch.root().join("probe"), "").is_ok();
    let mut command = if is_root {
        std::fs::remove_file(scratch.root().join("probe")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        wrapped(command, &inner)
    } else {
        inner
    };
    let ran = Ran::of(&mut command).await;
    set_mode(0o755);
    ran.failed_with(&["cannot write", "versions.lock", "nothing was changed", "read-only?"]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}
