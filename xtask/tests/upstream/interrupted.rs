//! A bump that does not come to its end.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tokio::process::Command;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{CONVEX, CONVEX_STACK, Ran, Scratch, asset, convex_releases, find, serve};

#[tokio::test]
async fn ctrl_c_in_the_middle_leaves_the_old_lock_and_nothing_else() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let mut releases = convex_releases();
    let release = find(&mut releases, "precompiled-2026-09-28-5c7cb5b");
    asset(release, "dashboard.zip")["digest"] = serde_json::Value::Null;
    serve(&server, CONVEX, &[(releases, 1)]).await;
    // The download never ends.
    Mock::given(path_regex("^/github/"))
        .respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(600)))
        .mount(&server)
        .await;
    let old = "schema = 1\n\n[components]\n";
    std::fs::write(scratch.lock_path(), old).unwrap();
    let temporary = tempfile::tempdir().unwrap();

    let mut command = scratch.command(&server, &["bump", "convex"]);
    command.env("TMPDIR", temporary.path()).stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
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
    assert!(ran.stderr.contains("interrupted"), "{}", ran.stderr);
    assert_eq!(scratch.lock().unwrap(), old);
    assert_eq!(scratch.names(), ["stack.toml", "versions.lock"]);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a temporary file was left behind");
}

/// root may write everywhere, so the program runs as somebody else then.
#[tokio::test]
async fn a_read_only_checkout_is_told_and_stays_as_it_is() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(convex_releases(), 1)]).await;
    let set_mode = |mode| std::fs::set_permissions(scratch.root(), std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let inner = scratch.command(&server, &["bump", "convex"]);
    let inner = inner.as_std();
    let is_root = std::fs::write(scratch.root().join("probe"), "").is_ok();
    let mut command = if is_root {
        std::fs::remove_file(scratch.root().join("probe")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(inner.get_program());
        command
    } else {
        Command::new(inner.get_program())
    };
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ran = Ran::from(command.output().await.unwrap());
    set_mode(0o755);
    ran.failed_with(&["cannot write", "versions.lock", "nothing was changed", "read-only?"]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}
