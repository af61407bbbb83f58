//! Stand-in git repositories, served by git's own daemon on a loopback port.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::Child;

use super::provision::free_port;
use crate::io::process;

/// A git daemon that ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Repositories {
    pub(crate) url: String,
    _daemon: Child,
}

/// A repository to make: a path on the server, the sources of its one commit, and the tag or branch of it.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// As upstream has it: `owner/name.git`.
    pub(crate) path: &'a str,
    pub(crate) sources: &'a Path,
    pub(crate) tag: Option<&'a str>,
}

impl Repositories {
    pub(crate) async fn serve(scratch: &Path, sources: &[Source<'_>]) -> anyhow::Result<Self> {
        let served = scratch.join("git");
        for source in sources {
            make(&served, source).await.with_context(|| format!("cannot make the repository {}", source.path))?;
        }
        let port = free_port()?;
        let daemon = process::command("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", served.display()))
            .arg(&served)
            // The daemon's own child would outlive it; a group of its own lets Ctrl-C reach us first.
            .process_group(0)
            .spawn()
            .context("cannot run `git daemon`")?;
        for _ in 0..50 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Ok(Self { url: format!("git://127.0.0.1:{port}"), _daemon: daemon });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("git daemon does not listen on port {port}")
    }
}

/// One commit, the same on every machine: names and dates are fixed.
async fn make(served: &Path, source: &Source<'_>) -> anyhow::Result<()> {
    let folder = served.join(source.path);
    fs_err::create_dir_all(&folder)?;
    let git = || {
        let mut command = process::command("git");
        command
            .arg("-C")
            .arg(&folder)
            .env("GIT_DIR", &folder)
            .env("GIT_WORK_TREE", source.sources)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "stand-in")
                .env(format!("GIT_{role}_EMAIL"), "stand-in@localhost")
                .env(format!("GIT_{role}_DATE"), "2026-08-11T00:59:36Z");
        }
        command
    };
    process::output(git().args(["init", "--quiet", "--initial-branch=main"])).await?;
    process::output(git().args(["config", "core.bare", "false"])).await?;
    process::output(git().current_dir(source.sources).args(["add", "--all", "--force", "."])).await?;
    process::output(git().args(["commit", "--quiet", "--message", "Stand-in sources"])).await?;
    if let Some(tag) = source.tag {
        process::output(git().args(["tag", "--annotate", "--message", tag, tag])).await?;
    }
    // Shallow fetches of a commit are what both the resolver and BuildKit do.
    process::output(git().args(["config", "uploadpack.allowAnySHA1InWant", "true"])).await?;
    process::output(git().args(["config", "uploadpack.allowFilter", "true"])).await?;
    Ok(())
}
