//! Interrupted bumps and fetches.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tokio::process::Command;
use wiremock::matchers::path_regex;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{CONVEX, CONVEX_STACK, Ran, Scratch, TOOL, asset, convex_releases, digest_of, find, serve};

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

/// Serves a file slowly; returns its URL.
fn trickling(file: Vec<u8>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let file = file.clone();
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", file.len());
                for chunk in file.chunks(4096) {
                    std::thread::sleep(Duration::from_millis(5));
                    if stream.write_all(chunk).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_fetch_that_is_stopped_at_any_moment_does_not_disturb_the_next_one() {
    let file: Vec<u8> = (0..400_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let digest = digest_of(&file)[7..].to_owned();
    let address = trickling(file);
    let scratch = Scratch::new(TOOL);
    let lock = format!(
        "schema = 1\n[components.tool]\nversion = \"1.0.0\"\ntag = \"v1.0.0\"\n[components.tool.pinned.files.any]\n\
         url = \"https://github.com/tool.zip\"\nsha256 = \"{digest}\"\n"
    );
    std::fs::write(scratch.lock_path(), &lock).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let bodies = scratch.cache.path().join("mission-control-xtask/bodies");
    for (round, signal) in ["INT", "TERM", "HUP"].into_iter().cycle().take(18).enumerate() {
        let mut command = scratch.command_at(&address, &["fetch"]);
        command.env("TMPDIR", temporary.path()).process_group(0).stderr(std::process::Stdio::piped());
        let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
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
    let ran = Ran::from(scratch.command_at(&address, &["fetch"]).output().await.unwrap());
    ran.succeeded();
    assert_eq!(digest_of(&std::fs::read(bodies.join(&digest)).unwrap())[7..], digest);
}

/// root ignores permissions, so the program runs as another user then.
#[tokio::test]
async fn a_read_only_checkout_is_reported_and_unchanged() {
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
