//! Packages of the npm registry. A candidate is complete if the platform packages of every architecture exist; a pin
//! locks the package and all its dependencies.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};

use super::{
    Candidate, Checked, Finding, Gate, PassedOver, Resolved, Upstream, Want, attested, does_not_go_with, first_seen,
    not_allowed, not_allowed_asked,
};
use crate::domain::digest::{Integrity, Sha256};
use crate::domain::lock::{NpmPin, Pin, Pinned, Published};
use crate::domain::stack::{Component, Source, Stated};
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
use registry::{Manifest, Packument, Registry};
pub(crate) use tarballs::{Tarballs, tarballs};

#[derive(Debug, thiserror::Error)]
pub(crate) enum NpmError {
    #[error("npm's registry has no `{package}` {version}")]
    NoVersion { package: String, version: String },
    #[error("`{package}` {version} cannot be installed on every architecture: {reason}")]
    Incomplete { package: String, version: String, reason: String },
    #[error("none of the {looked} versions of `{package}` in npm's registry can be taken")]
    NothingFits { package: String, looked: usize },
    #[error("the integrity of `{package}` {version} is {found} in the registry, but {locked} in npm's lockfile")]
    Disagree { package: String, version: String, found: Integrity, locked: Integrity },
}

/// An npm source of `stack.toml`.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a str,
    component: &'a Component,
    package: &'a str,
    directory: &'a str,
    repository: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(up: Upstream<'a>, name: &'a str) -> anyhow::Result<Self> {
        let component = up.stack.component(name)?;
        match &component.source {
            Source::Npm { package, directory, repository } => {
                registry::check_name(package)?;
                Ok(Self { name, component, package, directory, repository: repository.as_deref() })
            }
            other => bail!("a source of type {} is not an npm package", other.kind()),
        }
    }
}

/// The newest allowed version, or the requested one.
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let asked = Asked::new(up, name)?;
    // Validate it before it is used in an address and in arguments.
    let typed = match want {
        Want::Newest => None,
        Want::Exactly(typed) => Some(asked.component.scheme.parse(typed)?),
    };
    let registry = Registry::new(up).await?;
    let packument = registry.packument(asked.package).await?;
    let Some(version) = typed else {
        let mut candidate = newest(up, asked, registry, &packument).await?;
        candidate.findings = standing(up, asked, &packument);
        return Ok(candidate);
    };
    match wanted(up, asked, registry, &packument, &version).await {
        Ok(()) => Ok(packument.candidate(version, want)),
        Err(error) => Err(match newest(up, asked, registry, &packument).await {
            Ok(other) => {
                let version = other.version.to_string();
                hinted(error, bump_hint(&format!("newest complete version is {version}"), name, &version))
            }
            Err(_) => error,
        }),
    }
}

/// Fails if the requested version cannot be taken. It may be a prerelease or deprecated.
async fn wanted(
    up: Upstream<'_>,
    asked: Asked<'_>,
    registry: Registry<'_>,
    packument: &Packument,
    version: &Version,
) -> anyhow::Result<()> {
    let missing = || NpmError::NoVersion { package: asked.package.to_owned(), version: version.as_str().to_owned() };
    let manifest = packument.versions.get(version.as_str()).ok_or_else(missing)?;
    if let Some(reason) = not_allowed_asked(up.stack, asked.name, asked.component, version) {
        bail!("stack.toml does not allow {version}: {reason}");
    }
    if let Some(reason) = does_not_fit(up, asked, manifest, version) {
        bail!("{version} {reason}");
    }
    if let Some(reason) = platform::missing(registry, manifest).await? {
        let (package, version) = (asked.package.to_owned(), version.as_str().to_owned());
        return Err(NpmError::Incomplete { package, version, reason }.into());
    }
    Ok(())
}

async fn newest(
    up: Upstream<'_>,
    asked: Asked<'_>,
    registry: Registry<'_>,
    packument: &Packument,
) -> anyhow::Result<Candidate> {
    let scheme = asked.component.scheme;
    // Publishers move `latest` by hand; newer versions are not promoted, or withdrawn.
    let latest = packument.tags.get("latest").map(|latest| scheme.parse(latest)).transpose();
    let latest = latest.with_context(|| format!("the dist-tag `latest` of `{}` is not a version", asked.package))?;
    let mut versions: Vec<Version> =
        packument.versions.keys().filter_map(|version| scheme.parse(version).ok()).collect();
    versions.sort();

    let mut passed_over = Vec::new();
    let mut seen = BTreeMap::new();
    for version in versions.into_iter().rev() {
        // `parse` drops a `v`; no version in a registry has one.
        let Some(manifest) = packument.versions.get(version.as_str()) else { continue };
        let published = packument.published(version.as_str());
        let reason = if version.is_prerelease() {
            Some((Gate::Prerelease, "a prerelease".to_owned()))
        } else if version.is_extended_stable() {
            Some((Gate::NotPromoted, "of the extended-stable line".to_owned()))
        } else if let Some(latest) = latest.as_ref().filter(|latest| version > **latest) {
            Some((Gate::NotPromoted, format!("newer than the dist-tag `latest`, {latest}")))
        } else if let Some(reason) = manifest.deprecation() {
            Some((Gate::Withdrawn, reason))
        } else if let Some(reason) = not_allowed(up.stack, asked.name, asked.component, &version) {
            Some((Gate::Constraint, reason))
        } else if let Some(reason) = does_not_fit(up, asked, manifest, &version) {
            Some((Gate::Constraint, reason))
        } else if let Some(reason) = too_fresh(up, asked, packument, &version, &mut seen) {
            Some((Gate::TooFresh, reason))
        } else {
            platform::missing(registry, manifest).await?.map(|reason| (Gate::Incomplete, reason))
        };
        match reason {
            None => return Ok(Candidate { passed_over, seen, ..packument.candidate(version, &Want::Newest) }),
            Some((gate, reason)) => {
                passed_over.push(PassedOver { version: version.to_string(), published, gate, reason });
            }
        }
    }
    let looked = passed_over.len();
    Err(NpmError::NothingFits { package: asked.package.to_owned(), looked }.into())
}

/// Why a version that is not pinned does not fit the other pins, by its `engines`.
fn does_not_fit(up: Upstream<'_>, asked: Asked<'_>, manifest: &Manifest, version: &Version) -> Option<String> {
    if up.lock.components.get(asked.name).is_some_and(|pin| pin.version == version.as_str()) {
        return None;
    }
    asked.component.states.iter().find_map(|(other, stated)| {
        let Stated::Engines { engines } = stated else { return None };
        does_not_go_with(up, asked.name, other, manifest.engine(engines)?)
    })
}

/// By the registry's time, or else by the time when a version newer than the pin was first seen.
fn too_fresh(
    up: Upstream<'_>,
    asked: Asked<'_>,
    packument: &Packument,
    version: &Version,
    seen: &mut BTreeMap<String, Published>,
) -> Option<String> {
    if let Some(since) = packument.out_since(version.as_str()) {
        return up.clock.too_fresh(asked.component, since);
    }
    let pinned = up.lock.components.get(asked.name)?.parsed_version(asked.component.scheme).ok()?;
    if *version <= pinned {
        return None;
    }
    first_seen(up, asked.name, asked.component, version.as_str(), seen)
}

/// Findings about the pinned version.
fn standing(up: Upstream<'_>, asked: Asked<'_>, packument: &Packument) -> Vec<Finding> {
    let Some(Pin { version, pinned: Pinned::Npm(npm), .. }) = up.lock.components.get(asked.name) else {
        return Vec::new();
    };
    findings_of(npm, version, packument.versions.get(version))
}

fn findings_of(npm: &NpmPin, version: &str, manifest: Option<&Manifest>) -> Vec<Finding> {
    let what = format!("{} {version} in npm's registry", npm.package);
    let Some(manifest) = manifest else { return vec![Finding::Deleted { what }] };
    let mut findings = Vec::new();
    if let Ok(found) = manifest.integrity(&npm.package, version)
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
fn before(up: Upstream<'_>, asked: Asked<'_>, candidate: &Candidate) -> Option<DateTime<Utc>> {
    let minimum = up.clock.minimum(asked.component);
    if minimum.is_zero() {
        return None;
    }
    let own = candidate.published.as_ref().map(|published| published.moment() + TimeDelta::hours(1));
    own.into_iter().chain([up.clock.now - minimum]).max()
}

pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let asked = Asked::new(up, name)?;
    let registry = Registry::new(up).await?;
    let version = candidate.version.as_str();
    let packument = registry.packument(asked.package).await?;
    let manifest = packument
        .versions
        .get(version)
        .ok_or_else(|| NpmError::NoVersion { package: asked.package.to_owned(), version: version.to_owned() })?;
    let found = manifest.integrity(asked.package, version)?;
    let (trust, _) = registry.vouched(asked.package, version, manifest, candidate.published.as_ref()).await?;
    let provenance = registry.provenance(up, asked.repository, (asked.package, version), manifest, &found).await;
    let (trust, unchecked) = attested::level(trust, attested::taken(up, provenance, candidate)?);
    if up.http.is_offline() {
        bail!("npm cannot make the lockfile of `{}` with --offline", asked.package);
    }
    let made = lockfile::make(registry, name, asked.package, version, before(up, asked, candidate))
        .await
        .with_context(|| format!("cannot lock the dependencies of `{}` {version}", asked.package))?;
    let checked = lockfile::check(&made.lockfile, asked.package, version)
        .with_context(|| format!("npm's lockfile of `{}` {version} is not valid", asked.package))?;
    if checked.integrity != found {
        let (package, version) = (asked.package.to_owned(), version.to_owned());
        return Err(NpmError::Disagree { package, version, found, locked: checked.integrity }.into());
    }
    if !checked.scripts.is_empty() {
        let scripts = checked.scripts.join(", ");
        up.notes.add(format!("note: install scripts of `{name}`, which are never run: {scripts}"));
    }
    let lockfile = Sha256::of(made.lockfile.as_bytes());
    let folder = Path::new("image").join(asked.directory);
    let files = [("package.json", made.package), ("package-lock.json", made.lockfile)]
        .into_iter()
        .map(|(file, text)| (folder.join(file), text))
        // Unchanged files are no change.
        .filter(|(path, text)| fs_err::read_to_string(up.root.join(path)).ok().as_ref() != Some(text))
        .collect();
    let pinned = Pinned::Npm(NpmPin { package: asked.package.to_owned(), integrity: found, lockfile });
    Ok(Resolved { files, unchecked, ..candidate.pin(pinned, trust).into() })
}

/// Verifies that the registry has the pinned version and integrity, and the checkout the pinned lockfile.
pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin) -> anyhow::Result<Checked> {
    let asked = Asked::new(up, name)?;
    let Pinned::Npm(npm) = &pin.pinned else { bail!("`{name}` is pinned as {}", pin.pinned.kind()) };
    let version = asked.component.scheme.parse(&pin.version)?;
    let registry = Registry::new(up).await?;
    let manifest = registry.manifest(&npm.package, version.as_str()).await?;
    let (mut trust, mut unchecked) = (None, false);
    if let Some(manifest) = &manifest {
        manifest.integrity(&npm.package, version.as_str())?;
        let (level, by) = registry.vouched(&npm.package, version.as_str(), manifest, pin.published.as_ref()).await?;
        let named = (npm.package.as_str(), version.as_str());
        let provenance = registry.provenance(up, asked.repository, named, manifest, &npm.integrity).await?;
        let attested;
        (attested, unchecked) = attested::level(level, provenance);
        trust = Some((attested, if attested == level { by } else { attested::BY }));
    }
    let mut findings = findings_of(npm, version.as_str(), manifest.as_ref());
    let path = Path::new("image").join(asked.directory).join("package-lock.json");
    let what = path.display().to_string();
    match files::read_if_exists(&up.root.join(&path))?.map(|bytes| Sha256::of(&bytes)) {
        Some(found) if found == npm.lockfile => {}
        Some(found) => {
            let (pinned, found) = (npm.lockfile.to_string(), found.to_string());
            findings.push(Finding::Replaced { what, pinned, found });
        }
        None => findings.push(Finding::Deleted { what }),
    }
    Ok(Checked { findings, trust, unchecked })
}
