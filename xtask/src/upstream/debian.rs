//! Debian packages, at one moment of a snapshot archive. apt resolves them; packages of the base image are omitted, and
//! those that `stack.toml` omits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Candidate, Checked, Finding, Kept, Resolved, Upstream, Want, keep};
use crate::domain::arch::Arch;
use crate::domain::digest::{FileUrl, Sha256};
use crate::domain::lock::{PackagePin, Pin, Pinned, Published};
use crate::domain::mirror::Mirrors;
use crate::domain::stack::{Component, Source};
use crate::domain::trust::Trust;
use crate::domain::version::Version;
use crate::error::{bump_hint, hinted};
use crate::io::files::debian_keyring;

mod apt;
mod uris;

use apt::Apt;
use uris::Listed;

/// Concurrent downloads: Debian's snapshot archive throttles.
const PACKAGES_AT_ONCE: usize = 4;

/// The format of snapshot.debian.org.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// The packages of the base image: `minbase` of debootstrap and mmdebstrap, which the official images are made from.
const BASE: [&str; 2] = ["?or(?essential,?priority(required))", "apt"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum DebianError {
    #[error("Debian's indexes cannot be read with --offline")]
    Offline,
    #[error("the snapshot {0} is in the future")]
    Future(String),
    #[error("the archive's indexes are of {date}, so the snapshot {version} may lack their packages")]
    Newer { version: String, date: DateTime<Utc> },
    #[error("apt returned `{url}`, which is in none of the configured archives")]
    Elsewhere { url: String },
    #[error("there is nothing to pin for {0}: all packages are in the base image or omitted")]
    Nothing(Arch),
}

/// Debian's indexes, read once in a run: several components come from one snapshot.
#[derive(Default)]
pub(crate) struct Indexes(Kept<Apt>);

impl Indexes {
    async fn read(&self, asked: Asked<'_>, archives: &Archives) -> anyhow::Result<Arc<Apt>> {
        let sources = archives.sources(asked.suite, &debian_keyring()?);
        keep(&self.0, &sources, async { Apt::read(&sources).await.context("cannot read Debian's indexes") }).await
    }
}

/// A Debian source of `stack.toml`.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    suite: &'a str,
    archive: &'a str,
    security: &'a str,
    packages: &'a [String],
    omit: &'a BTreeMap<String, String>,
}

impl<'a> Asked<'a> {
    fn new(component: &'a Component) -> anyhow::Result<Self> {
        let Source::Debian { suite, archive, security, packages, omit } = &component.source else {
            bail!("a source of type {} is not a Debian archive", component.source.kind())
        };
        for name in packages.iter().chain([suite]) {
            check_name(name)?;
        }
        Ok(Self { suite, archive, security, packages, omit })
    }
}

/// Checks a package name by Debian Policy 5.6.7. apt would treat other texts as patterns.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
    // A final hyphen makes apt remove a package.
    if name.len() < 2 || !starts || !name.bytes().all(plain) || name.ends_with('-') {
        bail!("`{}` is not a name of a Debian package or suite", name.escape_debug());
    }
    Ok(())
}

/// The last midnight that is old enough, or the requested moment. The archive returns the last snapshot at or before any
/// moment, so midnight always exists and is the same for everybody on that day. The newest midnight can still change
/// while the archive imports snapshots, but not a day later.
#[expect(clippy::unused_async, reason = "all resolvers have the same signature")]
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let component = up.stack.component(name)?;
    let version = match want {
        Want::Newest => component.scheme.parse(&newest_moment(up.clock.now - up.clock.minimum(component)))?,
        Want::Exactly(typed) => component.scheme.parse(typed)?,
    };
    let moment = moment(&version)?;
    if moment > up.clock.now {
        return Err(DebianError::Future(version.to_string()).into());
    }
    Ok(Candidate { published: Published::at(moment), ..Candidate::new(version, want) })
}

/// The newest version at a moment.
pub(crate) fn newest_moment(at: DateTime<Utc>) -> String {
    at.format("%Y%m%dT000000Z").to_string()
}

fn moment(version: &Version) -> anyhow::Result<DateTime<Utc>> {
    let moment = NaiveDateTime::parse_from_str(version.as_str(), MOMENT);
    Ok(moment.with_context(|| format!("`{version}` is not a moment of a snapshot"))?.and_utc())
}

/// Pins the dependency closure of each architecture. The pin is kept if a newer snapshot has the same packages.
pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    if up.http.is_offline() {
        return Err(DebianError::Offline.into());
    }
    let asked = Asked::new(up.stack.component(name)?)?;
    let archives = Archives::new(asked, &candidate.version, up.http.mirrors())?;
    let apt = up.debian.read(asked, &archives).await?;
    let date = apt.newest_index().context("cannot read the date of Debian's indexes")?;
    if date > moment(&candidate.version)? {
        let version = candidate.version.to_string();
        let hint = bump_hint("choose a later moment", name, &date.format(MOMENT).to_string());
        return Err(hinted(DebianError::Newer { version, date }, hint));
    }
    let resolved = try_join_all(Arch::ALL.map(|arch| resolve(asked, &archives, &apt, arch))).await?;
    note_idle(up, name, asked.omit, &resolved);
    let lists: BTreeMap<Arch, Vec<PackagePin>> = resolved.into_iter().map(|one| (one.arch, one.packages)).collect();
    if let Some(pin) = up.lock.components.get(name)
        && let Pinned::Packages(pinned) = &pin.pinned
        && pin.version.as_str() <= candidate.version.as_str()
        && same_packages(pinned, &lists)
    {
        return Ok(pin.clone().into());
    }
    Ok(candidate.pin(Pinned::Packages(lists), Trust::Signed).into())
}

/// Compares pinned packages with the signed indexes of their snapshot, or with a download of each package if the indexes
/// cannot be read.
pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin) -> anyhow::Result<Checked> {
    let Pinned::Packages(lists) = &pin.pinned else { bail!("`{name}` is pinned as {}", pin.pinned.kind()) };
    let component = up.stack.component(name)?;
    let asked = Asked::new(component)?;
    let version = component.scheme.parse(&pin.version)?;
    let archives = Archives::new(asked, &version, up.http.mirrors())?;
    let asking = async {
        if up.http.is_offline() {
            return Err(DebianError::Offline.into());
        }
        let apt = &*up.debian.read(asked, &archives).await?;
        try_join_all(lists.iter().map(|(arch, packages)| indexed(apt, *arch, packages))).await
    };
    match asking.await {
        Ok(indexes) => {
            let compared = lists
                .values()
                .zip(&indexes)
                .flat_map(|(packages, index)| packages.iter().filter_map(|package| compare(package, index)));
            // Both lists have the packages for all architectures.
            let mut findings: Vec<Finding> = compared.collect();
            findings.dedup();
            Ok(Checked::new(findings, Trust::Signed, "Debian's signed indexes"))
        }
        Err(error) => {
            up.notes.add(format!(
                "note: downloading each package of `{name}`, because Debian's indexes cannot be read: {error:#}"
            ));
            // The bytes were signed when they were pinned; today's signature is unknown.
            Ok(Checked { findings: downloaded(up, lists).await?, trust: None, unchecked: false })
        }
    }
}

type Index = BTreeMap<(String, String), Sha256>;

/// The digests of these packages in the signed indexes, by name and version.
async fn indexed(apt: &Apt, arch: Arch, packages: &[PackagePin]) -> anyhow::Result<Index> {
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    Ok(parse_index(&apt.described(arch, &names).await?))
}

/// Parses the stanzas of a package index (deb822(5)).
fn parse_index(text: &str) -> Index {
    let stanzas = text.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let name = (field("Package")?.to_owned(), field("Version")?.to_owned());
        Some((name, field("SHA256")?.parse().ok()?))
    });
    stanzas.collect()
}

async fn downloaded(up: Upstream<'_>, lists: &BTreeMap<Arch, Vec<PackagePin>>) -> anyhow::Result<Vec<Finding>> {
    let packages: BTreeMap<&str, &PackagePin> =
        lists.values().flatten().map(|package| (package.url.as_str(), package)).collect();
    let findings: Vec<Option<Finding>> = stream::iter(packages.into_values())
        .map(|package| Finding::of_download(up, &package.url, &package.sha256))
        .buffered(PACKAGES_AT_ONCE)
        .try_collect()
        .await?;
    Ok(findings.into_iter().flatten().collect())
}

fn compare(package: &PackagePin, index: &Index) -> Option<Finding> {
    let found = index.get(&(package.name.clone(), package.version.clone()));
    Finding::of_file(&package.url, &package.sha256, found)
}

/// Whether both have the same packages, at whatever addresses.
fn same_packages(left: &BTreeMap<Arch, Vec<PackagePin>>, right: &BTreeMap<Arch, Vec<PackagePin>>) -> bool {
    content(left) == content(right)
}

fn content(lists: &BTreeMap<Arch, Vec<PackagePin>>) -> BTreeSet<(Arch, &str, &str)> {
    let packages = lists.iter().flat_map(|(arch, list)| list.iter().map(move |pin| (*arch, pin)));
    packages.map(|(arch, pin)| (arch, pin.name.as_str(), pin.sha256.as_str())).collect()
}

/// Notes the entries of `omit` that are not needed any more.
fn note_idle(up: Upstream<'_>, name: &str, omit: &BTreeMap<String, String>, resolved: &[ResolvedArch]) {
    let used: BTreeSet<&str> = resolved.iter().flat_map(|one| one.omitted.iter().map(String::as_str)).collect();
    for idle in omit.keys().filter(|package| !used.contains(package.as_str())) {
        up.notes.add(format!(
            "note: `{name}` omits `{idle}`, which nothing depends on any more: delete it from stack.toml"
        ));
    }
}

/// The pinned address of an archive, and the one after mirrors.
#[derive(Debug, Clone)]
struct Address {
    pinned: FileUrl,
    read: FileUrl,
}

#[derive(Debug, Clone)]
struct Archives {
    main: Address,
    security: Address,
}

impl Archives {
    fn new(asked: Asked<'_>, version: &Version, mirrors: &Mirrors) -> anyhow::Result<Self> {
        let address = |template: &str| -> anyhow::Result<Address> {
            let pinned = template.replace("{version}", version.as_str());
            let read = mirrors.rewrite(&pinned);
            let parse = |url: &str| url.trim_end_matches('/').parse().context("of the Debian archive");
            Ok(Address { pinned: parse(&pinned)?, read: parse(&read)? })
        };
        Ok(Self { main: address(asked.archive)?, security: address(asked.security)? })
    }

    /// sources.list(5), with `main` only.
    fn sources(&self, suite: &str, keyring: &Path) -> String {
        let line = |address: &Address, suite: &str| {
            format!("deb [signed-by={}] {} {suite} main\n", keyring.display(), address.read)
        };
        let updates = line(&self.main, &format!("{suite}-updates"));
        line(&self.main, suite) + &updates + &line(&self.security, &format!("{suite}-security"))
    }

    /// The pinned address of a file that was found through a mirror.
    fn pinned(&self, found: &str) -> anyhow::Result<FileUrl> {
        for address in [&self.security, &self.main] {
            let path = found.strip_prefix(address.read.as_str()).and_then(|rest| rest.strip_prefix('/'));
            if let Some(path) = path {
                return Ok(format!("{}/{path}", address.pinned).parse()?);
            }
        }
        Err(DebianError::Elsewhere { url: found.to_owned() }.into())
    }
}

struct ResolvedArch {
    arch: Arch,
    packages: Vec<PackagePin>,
    /// Omitted by `stack.toml`.
    omitted: Vec<String>,
}

/// The dependency closure on one architecture, without the base image's and omitted packages.
async fn resolve(asked: Asked<'_>, archives: &Archives, apt: &Apt, arch: Arch) -> anyhow::Result<ResolvedArch> {
    let cannot = || format!("cannot resolve Debian's packages for {arch}");
    let all: Vec<&str> = BASE.into_iter().chain(asked.packages.iter().map(String::as_str)).collect();
    let base = uris::parse(&apt.closure(arch, &BASE).await.with_context(cannot)?)?;
    let all = uris::parse(&apt.closure(arch, &all).await.with_context(cannot)?)?;

    let base: BTreeSet<&str> = base.iter().map(|listed| listed.name.as_str()).collect();
    let ours = all.into_iter().filter(|listed| !base.contains(listed.name.as_str()));
    let (omitted, kept): (Vec<Listed>, Vec<Listed>) = ours.partition(|listed| asked.omit.contains_key(&listed.name));
    let pinned = |listed: Listed| -> anyhow::Result<PackagePin> {
        let url = archives.pinned(&listed.url)?;
        let Listed { name, version, sha256, size, .. } = listed;
        Ok(PackagePin { name, version, url, sha256, size })
    };
    let mut packages = kept.into_iter().map(pinned).collect::<anyhow::Result<Vec<_>>>()?;
    if packages.is_empty() {
        return Err(DebianError::Nothing(arch).into());
    }
    packages.sort();
    let omitted = omitted.into_iter().map(|listed| listed.name).collect();
    Ok(ResolvedArch { arch, packages, omitted })
}

#[cfg(test)]
mod tests;
