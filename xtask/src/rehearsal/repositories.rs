//! Stand-in git repositories, served by git's own daemon on a loopback port.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::io::{loopback, process};

/// A git daemon that ends when dropped.
#[derive(Debug)]
pub(crate) struct Repositories {
    pub(crate) url: String,
    _daemon: process::Running,
}

#[derive(Debug)]
pub(crate) struct Repo {
    /// The path at upstream: `owner/name.git`.
    pub(crate) path: String,
    pub(crate) contents: Contents,
}

#[derive(Debug)]
pub(crate) enum Contents {
    /// A new repository: one commit of these sources, tagged if versions are tags.
    StandIn { sources: PathBuf, tag: Option<String> },
    /// An existing repository of this machine.
    Real(PathBuf),
}

impl Repo {
    /// For the table of steps.
    pub(crate) fn describe(&self) -> String {
        match &self.contents {
            Contents::StandIn { .. } => format!("{} (stand-in)", self.path),
            Contents::Real(repository) => format!("{} from {}", self.path, repository.display()),
        }
    }
}

impl Repositories {
    pub(crate) async fn serve(scratch: &Path, sources: &[Repo]) -> anyhow::Result<Self> {
        let served = scratch.join("git");
        for source in sources {
            let folder = served.join(&source.path);
            let made = match &source.contents {
                Contents::StandIn { sources, tag } => make(&folder, sources, tag.as_deref()).await,
                Contents::Real(repository) => link(&folder, repository),
            };
            made.with_context(|| format!("cannot serve the repository {}", source.path))?;
        }
        let port = loopback::free_ports(1)?[0];
        // Called directly: as a child of `git`, the daemon would outlive it.
        let programs = process::text(process::command("git").arg("--exec-path")).await?;
        let mut daemon = process::command(Path::new(&programs).join("git-daemon"));
        // The resolver and BuildKit both fetch a commit shallowly.
        let settings =
            [("uploadpack.allowAnySHA1InWant", "true"), ("uploadpack.allowFilter", "true"), ("safe.directory", "*")];
        for (number, (key, value)) in settings.iter().enumerate() {
            daemon.env(format!("GIT_CONFIG_KEY_{number}"), key).env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        daemon
            .env("GIT_CONFIG_COUNT", settings.len().to_string())
            .args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", served.display()))
            .arg(&served)
            // It logs an error for every client that hangs up early; the client reports what matters.
            .stderr(std::process::Stdio::null());
        let daemon = process::spawn(&mut daemon).context("cannot run `git daemon`")?;
        ensure!(loopback::listens(port).await, "git daemon does not listen on port {port}");
        Ok(Self { url: format!("git://127.0.0.1:{port}"), _daemon: daemon })
    }
}

/// Makes one commit, the same on every machine: names and dates are fixed.
async fn make(folder: &Path, sources: &Path, tag: Option<&str>) -> anyhow::Result<()> {
    fs_err::create_dir_all(folder)?;
    let git = || {
        let mut command = process::command("git");
        command
            .arg("-C")
            .arg(folder)
            .env("GIT_DIR", folder)
            .env("GIT_WORK_TREE", sources)
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
    process::run(git().args(["init", "--quiet", "--initial-branch=main"])).await?;
    process::run(git().args(["config", "core.bare", "false"])).await?;
    process::run(git().current_dir(sources).args(["add", "--all", "--force", "."])).await?;
    process::run(git().args(["commit", "--quiet", "--message", "Stand-in sources"])).await?;
    match tag {
        Some(tag) => process::run(git().args(["tag", "--annotate", "--message", tag, tag])).await,
        None => Ok(()),
    }
}

/// git daemon follows links and only reads the user's own repository.
fn link(folder: &Path, repository: &Path) -> anyhow::Result<()> {
    let repository = fs_err::canonicalize(repository)?;
    fs_err::create_dir_all(folder.parent().context("a repository without a folder")?)?;
    fs_err::os::unix::fs::symlink(repository, folder)?;
    Ok(())
}
