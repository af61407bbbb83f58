//! Packages of the npm registry. A candidate is complete if the platform packages of every architecture exist; a pin
//! locks the package and all its dependencies.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Asked, Candidate, Checked, Finding, Gate, PassedOver, Resolved, Want, attested};
use crate::domain::digest::Sha256;
use crate::domain::lock::{NpmPin, Pin, Pinned, Published};
use crate::domain::stack::{Source, Stated};
use crate::domain::version::Version;
use crate::error::{bump_hint, hinted};
use crate::io::files;

mod lockfile;
mod npmrc;
mod platform;
mod registry;
mod signatures;
mod tarballs;

pub(crate) use registry::{Documents, registry};
use registry::{Manifest, Packument, Registry, Release};
pub(crate) use tarballs::{Tarballs, tarballs};

/// An npm source of `stack.toml`, and the context to resolve it in.
#[derive(Clone, Copy)]
struct Package<'a> {
    asked: Asked<'a>,
    registry: Registry<'a>,
    name: &'a str,
    directory: &'a str,
    repository: Option<&'a str>,
}

/// The newest allowed version, or the requested one.
pub(super) async fn candidate(asked: Asked<'_>, want: &Want) -> anyhow::Result<Candidate> {
    // Validate it before it is used in an address and in arguments.
    let typed = match want {
        Want::Newest => None,
        Want::Exactly(typed) => Some(asked.component.scheme.parse(typed)?),
    };
    let package = Package::of(asked).await?;
    let packument = package.registry.packument(package.name).await?;
    let Some(version) = typed else {
        let candidate = package.newest(&packument).await?;
        let findings = match asked.pin() {
            Some(Pin { version, pinned: Pinned::Npm(npm), .. }) => {
                findings_of(npm, version, packument.versions.get(version))
            }
            _ => Vec::new(),
        };
        return Ok(Candidate { findings, ..candidate });
    };
    let Err(error) = package.check(&packument, &version).await else { return Ok(packument.candidate(version, want)) };
    let Ok(newest) = package.newest(&packument).await else { return Err(error) };
    let version = newest.version.to_string();
    let why = format!("newest complete version is {version}");
    Err(hinted(error, bump_hint(&why, asked.name, &version)))
}

/// Pins the version and locks its dependencies.
pub(super) async fn pin(asked: Asked<'_>, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let up = asked.up;
    let Package { registry, name, directory, repository, .. } = Package::of(asked).await?;
    let release = Release { package: name, version: candidate.version.as_str() };
    let packument = registry.packument(name).await?;
    let manifest = packument.release(release)?;
    let found = manifest.integrity(release)?;
    let (trust, _) = registry.vouched(release, manifest, candidate.published.as_ref()).await?;
    let provenance = registry.provenance(repository, release, manifest, &found).await;
    let (trust, unchecked) = attested::level(trust, attested::taken(up, provenance, candidate)?);
    if up.http.is_offline() {
        bail!("npm cannot make the lockfile of `{name}` with --offline");
    }
    let (package_json, lockfile) = lockfile::make(registry, asked.name, release, before(asked, candidate))
        .await
        .with_context(|| format!("cannot lock the dependencies of {release}"))?;
    let (locked, scripts) =
        lockfile::check(&lockfile, release).with_context(|| format!("npm's lockfile of {release} is not valid"))?;
    if locked != found {
        bail!("the integrity of {release} is {found} in the registry, but {locked} in npm's lockfile");
    }
    if !scripts.is_empty() {
        let scripts = scripts.join(", ");
        up.notes.add(format!("note: install scripts of `{}`, which are never run: {scripts}", asked.name));
    }
    let sha256 = Sha256::of(lockfile.as_bytes());
    let folder = Path::new("image").join(directory);
    let files = [("package.json", package_json), ("package-lock.json", lockfile)]
        .into_iter()
        .map(|(file, text)| (folder.join(file), text))
        // Unchanged files are no change.
        .filter(|(path, text)| fs_err::read_to_string(up.root.join(path)).ok().as_ref() != Some(text))
        .collect();
    let pinned = Pinned::Npm(NpmPin { package: name.to_owned(), integrity: found, lockfile: sha256 });
    Ok(Resolved { files, unchecked, ..candidate.pin(pinned, trust).into() })
}

/// Verifies that the registry has the pinned version and integrity, and the checkout the pinned lockfile.
pub(super) async fn verify(asked: Asked<'_>, pin: &Pin, npm: &NpmPin) -> anyhow::Result<Checked> {
    let Package { registry, directory, repository, .. } = Package::of(asked).await?;
    let version = asked.component.scheme.parse(&pin.version)?;
    let release = Release { package: &npm.package, version: version.as_str() };
    let manifest = registry.manifest(release).await?;
    let (mut trust, mut unchecked) = (None, false);
    if let Some(manifest) = &manifest {
        manifest.integrity(release)?;
        let (level, by) = registry.vouched(release, manifest, pin.published.as_ref()).await?;
        let provenance = registry.provenance(repository, release, manifest, &npm.integrity).await?;
        let attested;
        (attested, unchecked) = attested::level(level, provenance);
        trust = Some((attested, if attested == level { by } else { attested::BY }));
    }
    let mut findings = findings_of(npm, version.as_str(), manifest.as_ref());
    let path = Path::new("image").join(directory).join("package-lock.json");
    let what = path.display().to_string();
    match files::read_if_exists(&asked.up.root.join(&path))?.map(|bytes| Sha256::of(&bytes)) {
        Some(found) if found == npm.lockfile => {}
        Some(found) => {
            let (pinned, found) = (npm.lockfile.to_string(), found.to_string());
            findings.push(Finding::Replaced { what, pinned, found });
        }
        None => findings.push(Finding::Deleted { what }),
    }
    Ok(Checked { findings, trust, unchecked })
}

impl<'a> Package<'a> {
    async fn of(asked: Asked<'a>) -> anyhow::Result<Self> {
        let Source::Npm { package, directory, repository } = &asked.component.source else {
            bail!("a source of type {} is not an npm package", asked.component.source.kind())
        };
        registry::check_name(package)?;
        let registry = Registry::new(asked.up).await?;
        Ok(Self { asked, registry, name: package, directory, repository: repository.as_deref() })
    }

    /// Fails if the requested version cannot be taken. It may be a prerelease or deprecated.
    async fn check(self, packument: &Packument, version: &Version) -> anyhow::Result<()> {
        let release = Release { package: self.name, version: version.as_str() };
        let manifest = packument.release(release)?;
        self.asked.check_allowed(version)?;
        if let Some(reason) = self.does_not_fit(manifest, version) {
            bail!("{version} {reason}");
        }
        if let Some(reason) = platform::missing(self.registry, manifest).await? {
            bail!("{release} cannot be installed on every architecture: {reason}");
        }
        Ok(())
    }

    async fn newest(self, packument: &Packument) -> anyhow::Result<Candidate> {
        let scheme = self.asked.component.scheme;
        // Publishers move `latest` by hand; newer versions are not promoted, or withdrawn.
        let latest = packument.tags.get("latest").map(|latest| scheme.parse(latest)).transpose();
        let latest = latest.with_context(|| format!("the dist-tag `latest` of `{}` is not a version", self.name))?;
        let mut versions: Vec<Version> =
            packument.versions.keys().filter_map(|version| scheme.parse(version).ok()).collect();
        versions.sort();

        let mut passed_over = Vec::new();
        let mut seen = BTreeMap::new();
        for version in versions.into_iter().rev() {
            // `parse` drops a `v`; no version in a registry has one.
            let Some(manifest) = packument.versions.get(version.as_str()) else { continue };
            let reason = if version.is_prerelease() {
                Some((Gate::Prerelease, "a prerelease".to_owned()))
            } else if version.is_extended_stable() {
                Some((Gate::NotPromoted, "of the extended-stable line".to_owned()))
            } else if let Some(latest) = latest.as_ref().filter(|latest| version > **latest) {
                Some((Gate::NotPromoted, format!("newer than the dist-tag `latest`, {latest}")))
            } else if let Some(reason) = manifest.deprecation() {
                Some((Gate::Withdrawn, reason))
            } else if let Some(reason) = self.asked.not_allowed(&version) {
                Some((Gate::Constraint, reason))
            } else if let Some(reason) = self.does_not_fit(manifest, &version) {
                Some((Gate::Constraint, reason))
            } else if let Some(reason) = self.too_fresh(packument, &version, &mut seen) {
                Some((Gate::TooFresh, reason))
            } else {
                platform::missing(self.registry, manifest).await?.map(|reason| (Gate::Incomplete, reason))
            };
            let Some((gate, reason)) = reason else {
                return Ok(Candidate { passed_over, seen, ..packument.candidate(version, &Want::Newest) });
            };
            let published = packument.published(version.as_str());
            passed_over.push(PassedOver { version: version.to_string(), published, gate, reason });
        }
        bail!("none of the {} versions of `{}` in npm's registry can be taken", passed_over.len(), self.name)
    }

    /// Why a version that is not pinned does not fit the other pins, by its `engines`.
    fn does_not_fit(self, manifest: &Manifest, version: &Version) -> Option<String> {
        if self.asked.pin().is_some_and(|pin| pin.version == version.as_str()) {
            return None;
        }
        self.asked.component.states.iter().find_map(|(other, stated)| {
            let Stated::Engines { engines } = stated else { return None };
            self.asked.does_not_go_with(other, manifest.engine(engines)?)
        })
    }

    /// By the registry's time, or else by the time when a version newer than the pin was first seen.
    fn too_fresh(
        self,
        packument: &Packument,
        version: &Version,
        seen: &mut BTreeMap<String, Published>,
    ) -> Option<String> {
        if let Some(since) = packument.out_since(version.as_str()) {
            return self.asked.up.clock.too_fresh(self.asked.component, since);
        }
        if self.asked.pinned().is_none_or(|pinned| *version <= pinned) {
            return None;
        }
        self.asked.first_seen(version.as_str(), seen)
    }
}

fn findings_of(npm: &NpmPin, version: &str, manifest: Option<&Manifest>) -> Vec<Finding> {
    let release = Release { package: &npm.package, version };
    let what = format!("{} {version} in npm's registry", npm.package);
    let Some(manifest) = manifest else { return vec![Finding::Deleted { what }] };
    let mut findings = Vec::new();
    if let Ok(found) = manifest.integrity(release)
        && found != npm.integrity
    {
        let (what, pinned) = (what.clone(), npm.integrity.to_string());
        findings.push(Finding::Replaced { what, pinned, found: found.to_string() });
    }
    findings.extend(manifest.deprecation().map(|reason| Finding::Withdrawn { what, reason }));
    findings
}

/// The latest publication time of dependencies. A requested version may be younger than the minimum age, and so may its
/// own packages, which are published together.
fn before(asked: Asked<'_>, candidate: &Candidate) -> Option<DateTime<Utc>> {
    let clock = asked.up.clock;
    let minimum = clock.minimum(asked.component);
    if minimum.is_zero() {
        return None;
    }
    let own = candidate.published.as_ref().map(|published| published.moment() + TimeDelta::hours(1));
    own.into_iter().chain([clock.now - minimum]).max()
}
