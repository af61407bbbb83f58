//! apt with its state in a temporary folder: it resolves for any suite and architecture, as any user, and neither reads
//! nor changes the machine's packages (apt.conf(5)).

use std::path::Path;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::process::Command;

use crate::domain::arch::Arch;
use crate::error::HintExt as _;
use crate::io::process;

#[derive(Debug)]
pub(super) struct Apt {
    folder: TempDir,
}

impl Apt {
    /// Downloads the indexes of sources (sources.list(5)) for every architecture, and verifies their signatures.
    pub(super) async fn read(sources: &str) -> anyhow::Result<Self> {
        let apt = Self { folder: TempDir::with_prefix("xtask-apt-")? };
        let root = apt.folder.path();
        for below in ["lists/partial", "etc"] {
            fs_err::create_dir_all(root.join(below))?;
        }
        // No package is installed, so the closure is complete.
        fs_err::write(root.join("status"), "")?;
        fs_err::write(root.join("sources.list"), sources)?;
        let transport = transport().await?;
        for (name, arches) in [("all", &Arch::ALL[..]), ("x86_64", &[Arch::X86_64]), ("aarch64", &[Arch::Aarch64])] {
            fs_err::create_dir_all(root.join(name).join("archives/partial"))?;
            fs_err::write(root.join(name).join("apt.conf"), configuration(root, name, arches, &transport))?;
        }
        process::output(apt.command("apt-get", "all").args(["update", "-qq"])).await.hint(|| {
            "if the archive cannot be reached, use another one: \
             --mirror http://snapshot.debian.org/archive/debian=ADDRESS"
        })?;
        Ok(apt)
    }

    fn command(&self, program: &str, arches: &str) -> Command {
        let mut command = process::command(program);
        command.env("APT_CONFIG", self.folder.path().join(arches).join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// The files that would be fetched to install `wanted` on an empty system.
    pub(super) async fn closure(&self, arch: Arch, wanted: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("apt-get", arch.as_str());
        command.args(["install", "--print-uris", "-qq", "--"]).args(wanted);
        process::text(&mut command).await
    }

    /// The stanzas of packages in the indexes, in all versions.
    pub(super) async fn described(&self, arch: Arch, names: &[&str]) -> anyhow::Result<String> {
        process::text(self.command("apt-cache", arch.as_str()).args(["show", "--"]).args(names)).await
    }

    /// The signed date of the newest index.
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

/// The machine's apt settings for the network (proxies, certificates).
async fn transport() -> anyhow::Result<String> {
    let output = process::text(process::command("apt-config").arg("dump"))
        .await
        .hint(|| "apt resolves Debian's packages: run this on Debian or Ubuntu, or in a container")?;
    let kept = output.lines().filter(|line| line.starts_with("Acquire::http"));
    Ok(kept.collect::<Vec<_>>().join("\n"))
}

/// `APT_CONFIG` is read before the machine's own files, and hides them: they may have hooks, version pins and a default
/// release.
fn configuration(root: &Path, name: &str, arches: &[Arch], transport: &str) -> String {
    let root = root.display();
    let (arch, timeout) = (arches[0].oci(), crate::io::http::timeout());
    let arches = arches.iter().map(|arch| format!("\"{}\"; ", arch.oci())).collect::<Vec<_>>().concat();
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
Dir::Cache \"{root}/{name}\";
Dir::Log \"{root}\";
APT::Architecture \"{arch}\";
APT::Architectures {{ {arches}}};
APT::Install-Recommends \"false\";
APT::Install-Suggests \"false\";
APT::Get::Assume-Yes \"true\";
// An unreadable package list is an error, not an empty list.
APT::Update::Error-Mode \"any\";
// As root, apt would download as a user that cannot access our folder.
APT::Sandbox::User \"root\";
Acquire::AllowInsecureRepositories \"false\";
Acquire::AllowWeakRepositories \"false\";
// The indexes of snapshots expire.
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
    fn the_date_of_a_release_is_read() {
        let release = "Origin: Debian\nSuite: stable\nDate: Sun, 22 Nov 2026 19:58:57 UTC\nValid-Until: x\n";
        assert_eq!(date(release).unwrap().to_rfc3339(), "2026-11-22T19:58:57+00:00");
        assert_eq!(date("Origin: Debian\n"), None);
    }
}
