//! apt with a state of its own in a temporary folder: nothing of the machine's packages is read or changed, so
//! that it resolves for any suite and architecture, as root and as anybody else (apt.conf(5)).

use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::process::Command;

use crate::domain::arch::Arch;
use crate::error::HintExt as _;
use crate::io::process;

/// What to resolve from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) suite: &'a str,
    pub(super) archive: &'a str,
    pub(super) security: &'a str,
    pub(super) keyring: &'a Path,
    pub(super) arch: Arch,
}

impl Sources<'_> {
    /// sources.list(5). Only `main`: it is what Debian calls Debian.
    fn list(&self) -> String {
        let Self { suite, archive, security, keyring, .. } = self;
        let line =
            |address: &str, suite: String| format!("deb [signed-by={}] {address} {suite} main\n", keyring.display());
        let updates = line(archive, format!("{suite}-updates"));
        line(archive, (*suite).to_owned()) + &updates + &line(security, format!("{suite}-security"))
    }
}

#[derive(Debug)]
pub(super) struct Apt {
    folder: TempDir,
}

impl Apt {
    pub(super) async fn new(sources: &Sources<'_>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("xtask-apt-").tempdir()?;
        let root = folder.path();
        for below in ["lists/partial", "cache/archives/partial", "etc"] {
            fs_err::create_dir_all(root.join(below))?;
        }
        // No package is installed: the closure is whole.
        fs_err::write(root.join("status"), "")?;
        fs_err::write(root.join("sources.list"), sources.list())?;
        fs_err::write(root.join("apt.conf"), configuration(root, sources.arch, &transport().await?))?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::command(program);
        command.env("APT_CONFIG", self.folder.path().join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Reads the indexes and checks their signatures.
    pub(super) async fn update(&self) -> anyhow::Result<()> {
        process::output(self.command("apt-get").args(["update", "-qq"])).await.hint(|| {
            "where the archive cannot be reached, another one may stand for it: \
             --mirror http://snapshot.debian.org/archive/debian=ADDRESS"
                .to_owned()
        })?;
        Ok(())
    }

    /// What would be fetched to install `wanted` on an empty system.
    pub(super) async fn closure(&self, wanted: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("apt-get");
        command.args(["install", "--print-uris", "-qq", "--"]).args(wanted);
        process::text(&mut command).await
    }

    /// What the indexes say of packages, all their versions.
    pub(super) async fn described(&self, names: &[&str]) -> anyhow::Result<String> {
        process::text(self.command("apt-cache").args(["show", "--"]).args(names)).await
    }

    /// The date of the newest index that was read, which its signature covers.
    pub(super) fn newest_index(&self) -> anyhow::Result<DateTime<Utc>> {
        let mut newest = None;
        for entry in fs_err::read_dir(self.folder.path().join("lists"))? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("Release") {
                newest = newest.max(date(&fs_err::read_to_string(&path)?));
            }
        }
        newest.context("no index has a date")
    }
}

/// The `Date` of a Release file: RFC 2822, with `UTC` as the only zone (repository format, Debian wiki).
fn date(release: &str) -> Option<DateTime<Utc>> {
    let text = release.lines().find_map(|line| line.strip_prefix("Date: "))?;
    DateTime::parse_from_rfc2822(&text.trim().replace("UTC", "GMT")).ok().map(|date| date.with_timezone(&Utc))
}

/// How this machine's apt reaches the network (proxies, certificates); all else of its configuration is left out.
async fn transport() -> anyhow::Result<String> {
    let told = process::text(process::command("apt-config").arg("dump"))
        .await
        .hint(|| "Debian's packages are resolved by apt: run this on Debian or Ubuntu, or in a container".to_owned())?;
    let kept = told.lines().filter(|line| line.starts_with("Acquire::http"));
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

/// `APT_CONFIG` is read before the machine's own files, which this one then takes out of sight: they may hold
/// hooks, pins of versions and a default release.
fn configuration(root: &Path, arch: Arch, transport: &str) -> String {
    let root = root.display();
    let (arch, timeout) = (arch.oci(), crate::io::http::timeout());
    format!(
        "{transport}
Dir::Etc::main \"/dev/null\";
Dir::Etc::parts \"/dev/null\";
Dir::Etc::sourcelist \"{root}/sources.list\";
Dir::Etc::sourceparts \"/dev/null\";
Dir::Etc::preferences \"/dev/null\";
Dir::Etc::preferencesparts \"/dev/null\";
Dir::Etc::trusted \"/dev/null\";
Dir::Etc::trustedparts \"{root}/etc\";
Dir::State \"{root}\";
Dir::State::status \"{root}/status\";
Dir::State::lists \"{root}/lists\";
Dir::Cache \"{root}/cache\";
Dir::Log \"{root}\";
APT::Architecture \"{arch}\";
APT::Architectures {{ \"{arch}\"; }};
APT::Install-Recommends \"false\";
APT::Install-Suggests \"false\";
APT::Get::Assume-Yes \"true\";
// A package list that cannot be read is a failure, never a smaller list.
APT::Update::Error-Mode \"any\";
// As root, apt would hand downloads to a user who may not enter our folder.
APT::Sandbox::User \"root\";
Acquire::AllowInsecureRepositories \"false\";
Acquire::AllowWeakRepositories \"false\";
// A snapshot stays as it was signed, past the days that an index of today is good for.
Acquire::Check-Valid-Until \"false\";
Acquire::ForceHash \"SHA256\";
Acquire::Languages \"none\";
Acquire::Retries \"2\";
Acquire::http::Timeout \"{timeout}\";
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_the_suite_its_updates_and_its_security() {
        let sources = Sources {
            suite: "trixie",
            archive: "http://a/debian",
            security: "http://a/security",
            keyring: Path::new("/k.gpg"),
            arch: Arch::X86_64,
        };
        assert_eq!(
            sources.list(),
            "deb [signed-by=/k.gpg] http://a/debian trixie main\n\
             deb [signed-by=/k.gpg] http://a/debian trixie-updates main\n\
             deb [signed-by=/k.gpg] http://a/security trixie-security main\n"
        );
    }

    #[test]
    fn the_date_of_a_release_is_read() {
        let release = "Origin: Debian\nSuite: stable\nDate: Sun, 22 Nov 2026 19:58:57 UTC\nValid-Until: x\n";
        assert_eq!(date(release).unwrap().to_rfc3339(), "2026-11-22T19:58:57+00:00");
        assert_eq!(date("Origin: Debian\n"), None);
    }
}
