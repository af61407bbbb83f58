//! Debian packages, at one moment of a snapshot archive. apt resolves them; packages of the base image are omitted, and
//! those that `stack.toml` omits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Asked, Candidate, Checked, Finding, Kept, Resolved, Upstream, Want, keep};
use crate::domain::arch::Arch;
use crate::domain::digest::{FileUrl, Sha256};
use crate::domain::lock::{PackagePin, Pin, Pinned, Published};
use crate::domain::mirror::Mirrors;
use crate::domain::stack::Source;
use crate::domain::trust::Trust;
use crate::domain::version::Version;
use crate::error::{bump_hint, hinted};
use crate::io::files::debian_keyring;

mod apt;
mod uris;

use apt::Apt;

/// Concurrent downloads: Debian's snapshot archive throttles.
const PACKAGES_AT_ONCE: usize = 4;

/// The format of snapshot.debian.org.
const MOMENT: &str = "%Y%m%dT%H%M%SZ";

/// The packages of the base image: `minbase` of debootstrap and mmdebstrap, which the official images are made from.
const BASE: [&str; 2] = ["?or(?essential,?priority(required))", "apt"];

/// Debian's indexes, read once in a run: several components come from one snapshot.
#[derive(Default)]
pub(crate) struct Indexes(Kept<Apt>);

/// The packages to install, for each architecture.
type Packages = BTreeMap<Arch, Vec<PackagePin>>;

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
pub(super) fn candidate(asked: Asked<'_>, want: &Want) -> anyhow::Result<Candidate> {
    let (scheme, clock) = (asked.component.scheme, asked.up.clock);
    let version = match want {
        Want::Newest => scheme.parse(&newest_moment(clock.now - clock.minimum(asked.component)))?,
        Want::Exactly(typed) => scheme.parse(typed)?,
    };
    let moment = moment(&version)?;
    ensure!(moment <= clock.now, "the snapshot {version} is in the future");
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
pub(super) async fn pin(asked: Asked<'_>, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let (up, name) = (asked.up, asked.name);
    let snapshot = Snapshot::new(&asked.component.source, &candidate.version, up.http.mirrors())?;
    let apt = snapshot.indexes(up).await?;
    let date = apt.newest_index().context("cannot read the date of Debian's indexes")?;
    if date > moment(&candidate.version)? {
        let version = &candidate.version;
        let error =
            anyhow::anyhow!("the archive's indexes are of {date}, so the snapshot {version} may lack their packages");
        let later = date.format(MOMENT).to_string();
        return Err(hinted(error, bump_hint("choose a later moment", name, &later)));
    }
    let resolved = try_join_all(Arch::ALL.map(|arch| snapshot.resolve(&apt, arch))).await?;
    let (packages, omitted): (Packages, Vec<Vec<String>>) = resolved.into_iter().unzip();
    let omitted = omitted.concat();
    for idle in snapshot.omit.keys().filter(|package| !omitted.contains(package)) {
        up.notes.add(format!(
            "note: `{name}` omits `{idle}`, which nothing depends on any more: delete it from stack.toml"
        ));
    }
    if let Some(pin) = asked.pin()
        && let Pinned::Packages(pinned) = &pin.pinned
        && pin.version.as_str() <= candidate.version.as_str()
        && content(pinned) == content(&packages)
    {
        return Ok(pin.clone().into());
    }
    Ok(candidate.pin(Pinned::Packages(packages), Trust::Signed).into())
}

/// Compares pinned packages with the signed indexes of their snapshot, or with a download of each package if the indexes
/// cannot be read.
pub(super) async fn verify(asked: Asked<'_>, pin: &Pin, pinned: &Packages) -> anyhow::Result<Checked> {
    let Asked { up, name, component } = asked;
    let snapshot = Snapshot::new(&component.source, &component.scheme.parse(&pin.version)?, up.http.mirrors())?;
    let asking = async {
        let apt = &*snapshot.indexes(up).await?;
        let compared = pinned.iter().map(async |(arch, packages)| {
            let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
            let index = parse_index(&apt.described(*arch, &names).await?);
            anyhow::Ok(packages.iter().filter_map(|package| compare(package, &index)).collect::<Vec<Finding>>())
        });
        anyhow::Ok(try_join_all(compared).await?.concat())
    };
    match asking.await {
        Ok(mut findings) => {
            // Both lists have the packages for all architectures.
            findings.dedup();
            Ok(Checked::new(findings, Trust::Signed, "Debian's signed indexes"))
        }
        Err(error) => {
            up.notes.add(format!(
                "note: downloading each package of `{name}`, because Debian's indexes cannot be read: {error:#}"
            ));
            // The bytes were signed when they were pinned; today's signature is unknown.
            Ok(Checked { findings: downloaded(up, pinned).await?, trust: None, unchecked: false })
        }
    }
}

/// The digests of packages, by name and version.
type Index = BTreeMap<(String, String), Sha256>;

/// Parses the stanzas of a package index (deb822(5)).
fn parse_index(text: &str) -> Index {
    let stanzas = text.split("\n\n").filter_map(|stanza| {
        let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let name = (field("Package")?.to_owned(), field("Version")?.to_owned());
        Some((name, field("SHA256")?.parse().ok()?))
    });
    stanzas.collect()
}

async fn downloaded(up: Upstream<'_>, lists: &Packages) -> anyhow::Result<Vec<Finding>> {
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

/// The packages, at whatever addresses.
fn content(lists: &Packages) -> BTreeSet<(Arch, &str, &str)> {
    let packages = lists.iter().flat_map(|(arch, list)| list.iter().map(move |pin| (*arch, pin)));
    packages.map(|(arch, pin)| (arch, pin.name.as_str(), pin.sha256.as_str())).collect()
}

/// The pinned address of an archive, and the one after mirrors.
struct Address {
    pinned: FileUrl,
    read: FileUrl,
}

/// A Debian source of `stack.toml`, at one moment.
struct Snapshot<'a> {
    suite: &'a str,
    main: Address,
    security: Address,
    packages: &'a [String],
    omit: &'a BTreeMap<String, String>,
}

impl<'a> Snapshot<'a> {
    fn new(source: &'a Source, version: &Version, mirrors: &Mirrors) -> anyhow::Result<Self> {
        let Source::Debian { suite, archive, security, packages, omit } = source else {
            bail!("a source of type {} is not a Debian archive", source.kind())
        };
        packages.iter().chain([suite]).try_for_each(|name| check_name(name))?;
        let address = |template: &str| -> anyhow::Result<Address> {
            let pinned = template.replace("{version}", version.as_str());
            let read = mirrors.rewrite(&pinned);
            let parse = |url: &str| url.trim_end_matches('/').parse().context("of the Debian archive");
            Ok(Address { pinned: parse(&pinned)?, read: parse(&read)? })
        };
        Ok(Self { suite, main: address(archive)?, security: address(security)?, packages, omit })
    }

    async fn indexes(&self, up: Upstream<'_>) -> anyhow::Result<Arc<Apt>> {
        ensure!(!up.http.is_offline(), "Debian's indexes cannot be read with --offline");
        let sources = self.sources(&debian_keyring()?);
        let read = async { Apt::read(&sources).await.context("cannot read Debian's indexes") };
        keep(&up.debian.0, &sources, read).await
    }

    /// sources.list(5), with `main` only.
    fn sources(&self, keyring: &Path) -> String {
        let line = |address: &Address, suffix: &str| {
            format!("deb [signed-by={}] {} {}{suffix} main\n", keyring.display(), address.read, self.suite)
        };
        line(&self.main, "") + &line(&self.main, "-updates") + &line(&self.security, "-security")
    }

    /// The pinned address of a file that was found through a mirror.
    fn pinned(&self, found: &str) -> anyhow::Result<FileUrl> {
        for address in [&self.security, &self.main] {
            let path = found.strip_prefix(address.read.as_str()).and_then(|rest| rest.strip_prefix('/'));
            if let Some(path) = path {
                return Ok(format!("{}/{path}", address.pinned).parse()?);
            }
        }
        bail!("apt returned `{found}`, which is in none of the configured archives")
    }

    /// The dependency closure on one architecture, without the base image's packages and those that `stack.toml` omits,
    /// and the names of the latter.
    async fn resolve(&self, apt: &Apt, arch: Arch) -> anyhow::Result<((Arch, Vec<PackagePin>), Vec<String>)> {
        let cannot = || format!("cannot resolve Debian's packages for {arch}");
        let all: Vec<&str> = BASE.into_iter().chain(self.packages.iter().map(String::as_str)).collect();
        let base = uris::parse(&apt.closure(arch, &BASE).await.with_context(cannot)?)?;
        let all = uris::parse(&apt.closure(arch, &all).await.with_context(cannot)?)?;

        let base: BTreeSet<String> = base.into_iter().map(|package| package.name).collect();
        let ours = all.into_iter().filter(|package| !base.contains(&package.name));
        let (omitted, mut packages): (Vec<_>, Vec<_>) = ours.partition(|package| self.omit.contains_key(&package.name));
        ensure!(
            !packages.is_empty(),
            "there is nothing to pin for {arch}: all packages are in the base image or omitted"
        );
        for package in &mut packages {
            package.url = self.pinned(package.url.as_str())?;
        }
        packages.sort();
        Ok(((arch, packages), omitted.into_iter().map(|package| package.name).collect()))
    }
}

#[cfg(test)]
mod tests;
