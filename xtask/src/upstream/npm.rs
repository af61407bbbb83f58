//! Packages of the npm registry. A candidate is complete when every architecture's platform package is there;
//! a pin locks the package and everything that it pulls in.

use std::path::Path;

use anyhow::{Context as _, bail};
use chrono::{DateTime, TimeDelta, Utc};
use sha2::Digest as _;

use super::{Candidate, Finding, PassedOver, Resolved, Upstream, Want, hinted, not_allowed};
use crate::domain::digest::{Integrity, Sha256};
use crate::domain::lock::{NpmPin, Pin, Pinned, Published};
use crate::domain::stack::{Component, Source};
use crate::domain::version::Version;
use crate::io;

mod lockfile;
mod platform;
mod registry;
mod tarballs;

pub(crate) use registry::registry;
use registry::{Packument, Registry};
pub(crate) use tarballs::{Tarballs, tarballs};

#[derive(Debug, thiserror::Error)]
pub(crate) enum NpmError {
    #[error("npm's registry has no `{package}` {version}")]
    NoVersion { package: String, version: String },
    #[error("`{package}` {version} cannot be installed on every architecture: {reason}")]
    Incomplete { package: String, version: String, reason: String },
    #[error("no version of `{package}` can be taken, of the {looked} that npm's registry has")]
    NothingFits { package: String, looked: usize },
    #[error("the registry says {found} of `{package}` {version}, the lockfile that npm made says {locked}")]
    Disagree { package: String, version: String, found: Integrity, locked: Integrity },
}

/// What `stack.toml` says of a package.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: &'a str,
    component: &'a Component,
    package: &'a str,
    directory: &'a str,
}

impl<'a> Asked<'a> {
    fn new(up: Upstream<'a>, name: &'a str) -> anyhow::Result<Self> {
        let component = up.stack.component(name)?;
        match &component.source {
            Source::Npm { package, directory } => {
                registry::check_name(package)?;
                Ok(Self { name, component, package, directory })
            }
            other => bail!("a source of type {} is no npm package", other.kind()),
        }
    }
}

/// The newest version that may be chosen, or the one that was typed.
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let asked = Asked::new(up, name)?;
    // Before anything is asked: what was typed reaches an address and an argument list.
    let typed = match want {
        Want::Newest => None,
        Want::Exactly(typed) => Some(asked.component.scheme.parse(typed)?),
    };
    let registry = Registry::new(up.http).await?;
    let packument = registry.packument(asked.package).await?;
    let Some(version) = typed else {
        return newest(up, asked, &registry, &packument).await;
    };
    match wanted(up, asked, &registry, &packument, &version).await {
        Ok(()) => Ok(packument.candidate(version, Vec::new())),
        Err(error) => Err(match newest(up, asked, &registry, &packument).await {
            Ok(other) => {
                let other = other.version;
                hinted(error, format!("newest complete version is {other}: cargo xtask bump {name} --to {other}"))
            }
            Err(_) => error,
        }),
    }
}

/// Whether the version that was typed can be taken. A prerelease or a deprecated one can: somebody asked for it.
async fn wanted(
    up: Upstream<'_>,
    asked: Asked<'_>,
    registry: &Registry<'_>,
    packument: &Packument,
    version: &Version,
) -> anyhow::Result<()> {
    let missing = || NpmError::NoVersion { package: asked.package.to_owned(), version: version.as_str().to_owned() };
    let manifest = packument.versions.get(version.as_str()).ok_or_else(missing)?;
    if let Some(reason) = not_allowed(up.stack, asked.name, asked.component, version) {
        bail!("{version} is out of what stack.toml allows: {reason}");
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
    registry: &Registry<'_>,
    packument: &Packument,
) -> anyhow::Result<Candidate> {
    let scheme = asked.component.scheme;
    // A publisher moves `latest` by hand; what lies above it was not promoted, or was taken back.
    let latest = packument.tags.get("latest").map(|latest| scheme.parse(latest)).transpose();
    let latest = latest.with_context(|| format!("the dist-tag `latest` of `{}` is no such version", asked.package))?;
    let mut versions: Vec<Version> =
        packument.versions.keys().filter_map(|version| scheme.parse(version).ok()).collect();
    versions.sort();

    let mut passed_over = Vec::new();
    for version in versions.into_iter().rev() {
        // `parse` drops a `v`, which no version in a registry has.
        let Some(manifest) = packument.versions.get(version.as_str()) else { continue };
        let published = packument.published(version.as_str());
        let reason = if version.is_prerelease() {
            Some("a prerelease".to_owned())
        } else if version.is_extended_stable() {
            Some("of the extended-stable line".to_owned())
        } else if let Some(latest) = latest.as_ref().filter(|latest| version > **latest) {
            Some(format!("newer than the dist-tag `latest`, {latest}"))
        } else if manifest.is_deprecated() {
            Some("deprecated by its publisher".to_owned())
        } else if let Some(reason) = not_allowed(up.stack, asked.name, asked.component, &version) {
            Some(reason)
        } else if let Some(reason) = too_young(asked.component, published.as_ref(), up.now) {
            Some(reason)
        } else {
            platform::missing(registry, manifest).await?
        };
        match reason {
            None => return Ok(packument.candidate(version, passed_over)),
            Some(reason) => passed_over.push(PassedOver { version: version.to_string(), published, reason }),
        }
    }
    let looked = passed_over.len();
    Err(NpmError::NothingFits { package: asked.package.to_owned(), looked }.into())
}

/// Publication times are optional: not every registry keeps them.
fn too_young(component: &Component, published: Option<&Published>, now: DateTime<Utc>) -> Option<String> {
    let asked = component.minimum_age_days;
    let age = now - published?.to_string().parse::<DateTime<Utc>>().ok()?;
    (age < TimeDelta::days(asked.into()))
        .then(|| format!("out for {} of the {asked} days that stack.toml waits", age.num_days().max(0)))
}

pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let asked = Asked::new(up, name)?;
    let registry = Registry::new(up.http).await?;
    let version = candidate.version.as_str();
    let found = registry
        .integrity(asked.package, version)
        .await?
        .ok_or_else(|| NpmError::NoVersion { package: asked.package.to_owned(), version: version.to_owned() })?;
    let made = lockfile::make(&registry.mirrored(), name, asked.package, version)
        .await
        .with_context(|| format!("cannot lock what `{}` {version} pulls in", asked.package))?;
    let checked = lockfile::check(&made.lockfile, asked.package, version)
        .with_context(|| format!("npm's lockfile of `{}` {version} cannot be used", asked.package))?;
    if checked.integrity != found {
        let (package, version) = (asked.package.to_owned(), version.to_owned());
        return Err(NpmError::Disagree { package, version, found, locked: checked.integrity }.into());
    }
    if !checked.scripts.is_empty() {
        let scripts = checked.scripts.join(", ");
        io::say(&format!("note: install scripts that come with `{name}` and are never run: {scripts}"));
    }
    let lockfile = sha256(made.lockfile.as_bytes());
    let folder = Path::new("image").join(asked.directory);
    let files = [("package.json", made.package), ("package-lock.json", made.lockfile)]
        .into_iter()
        .map(|(file, text)| (folder.join(file), text))
        // What the checkout has already is no change.
        .filter(|(path, text)| fs_err::read_to_string(up.root.join(path)).ok().as_ref() != Some(text))
        .collect();
    let pin = Pin {
        version: version.to_owned(),
        tag: candidate.tag.clone(),
        commit: None,
        published: candidate.published.clone(),
        pinned: Pinned::Npm(NpmPin { package: asked.package.to_owned(), integrity: found, lockfile }),
    };
    Ok(Resolved { pin, files })
}

/// Whether the registry still has the pinned version with its integrity, and the checkout the pinned lockfile.
pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin) -> anyhow::Result<Vec<Finding>> {
    let asked = Asked::new(up, name)?;
    let Pinned::Npm(npm) = &pin.pinned else { bail!("`{name}` is pinned as {}", pin.pinned.kind()) };
    let version = asked.component.scheme.parse(&pin.version)?;
    let mut findings = Vec::new();
    let what = format!("{} {version} in npm's registry", npm.package);
    match Registry::new(up.http).await?.integrity(&npm.package, version.as_str()).await? {
        Some(found) if found == npm.integrity => {}
        Some(found) => {
            findings.push(Finding::Replaced { what, pinned: npm.integrity.to_string(), found: found.to_string() });
        }
        None => findings.push(Finding::Deleted { what }),
    }
    let path = Path::new("image").join(asked.directory).join("package-lock.json");
    let what = path.display().to_string();
    match fs_err::read(up.root.join(&path)) {
        Ok(bytes) => {
            let found = sha256(&bytes);
            if found != npm.lockfile {
                let (pinned, found) = (npm.lockfile.to_string(), found.to_string());
                findings.push(Finding::Replaced { what, pinned, found });
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => findings.push(Finding::Deleted { what }),
        Err(error) => return Err(error.into()),
    }
    Ok(findings)
}

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(&sha2::Sha256::digest(bytes))
}
