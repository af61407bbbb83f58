//! One pin against its upstream, by the kind of pin. An upstream that cannot be asked is an error, never a
//! finding.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::lock::{FileFor, FilePin, GitPin, ImagePin, PackagePin, Pin, Pinned};
use crate::domain::stack::Source;
use crate::io::http::HttpError;
use crate::upstream::github::error::GithubError;
use crate::upstream::github::files::{asset_digest, checksums};
use crate::upstream::{Finding, Upstream, git, github, npm, oci};

/// Debian's archive asks for patience; and hashing has two cores to run on here.
const PACKAGES_AT_ONCE: usize = 4;

pub(super) async fn check(up: Upstream<'_>, name: &str) -> anyhow::Result<Vec<Finding>> {
    let pin = up.lock.components.get(name).with_context(|| format!("`{name}` is not pinned"))?;
    match &pin.pinned {
        Pinned::Files(files) => check_files(up, name, pin, files).await.map_err(|error| github::advised(error, name)),
        Pinned::Npm(_) => npm::verify(up, name, pin).await,
        Pinned::Git(git) => check_git(up, pin, git).await,
        Pinned::Image(image) => check_image(up, image).await,
        Pinned::Packages(lists) => check_packages(up, lists).await,
    }
}

async fn check_files(
    up: Upstream<'_>,
    name: &str,
    pin: &Pin,
    files: &BTreeMap<FileFor, FilePin>,
) -> anyhow::Result<Vec<Finding>> {
    let component = up.stack.component(name)?;
    let Source::Github { repo, .. } = &component.source else { anyhow::bail!("files come from GitHub only") };
    let spec = component.file.as_ref().with_context(|| format!("[components.{name}] has no `file`"))?;
    let tag = pin.tag.as_deref().unwrap_or(&pin.version);
    let mut findings = Vec::new();
    if spec.checksums.is_some() {
        let sums = match checksums(up, spec, tag, &pin.version).await {
            Err(error) if error.is_gone() => {
                return Ok(vec![Finding::Deleted { what: format!("the list of checksums of {tag}") }]);
            }
            result => result?,
        };
        for file in files.values() {
            findings.extend(compare(file.url.as_str(), &file.sha256, sums.get(file.url.file_name())));
        }
        return Ok(findings);
    }
    if spec.url.is_some() {
        for file in files.values() {
            findings.extend(check_address(up, file.url.as_str(), &file.sha256).await?);
        }
        return Ok(findings);
    }
    let release = match up.github.release(repo, tag).await {
        Err(GithubError::NotFound { .. }) => {
            // The same answer as for a repository that is gone; the listing tells them apart.
            up.github.first_page(repo).await?;
            return Ok(vec![Finding::Deleted { what: format!("release {tag} of {repo}") }]);
        }
        result => result?,
    };
    for file in files.values() {
        let asset = release.asset(file.url.file_name()).filter(|asset| asset.state == "uploaded");
        let digest = match asset {
            Some(asset) => Some(asset_digest(up, asset).await?),
            None => None,
        };
        findings.extend(compare(file.url.as_str(), &file.sha256, digest.as_ref()));
    }
    Ok(findings)
}

async fn check_git(up: Upstream<'_>, pin: &Pin, git_pin: &GitPin) -> anyhow::Result<Vec<Finding>> {
    let repository = git_pin.repository.as_str();
    let Some(tag) = &pin.tag else {
        // A branch moves on; what matters is that the commit can still be had.
        git::committed(up, repository, &git_pin.commit).await?;
        return Ok(Vec::new());
    };
    let tags = git::tags(up, repository).await?;
    let what = format!("tag {tag} of {repository}");
    Ok(match tags.get(tag) {
        Some(commit) if *commit == git_pin.commit => Vec::new(),
        Some(commit) => {
            vec![Finding::Replaced { what, pinned: git_pin.commit.to_string(), found: commit.to_string() }]
        }
        None => vec![Finding::Deleted { what }],
    })
}

/// By digest: that the tag has moved on since is what tags do. The registry's bytes are hashed on the way,
/// so that a reply of other bytes is an error.
async fn check_image(up: Upstream<'_>, image: &ImagePin) -> anyhow::Result<Vec<Finding>> {
    let what = format!("{}@{}", image.name, image.digest);
    let body = match oci::Repository::new(up, &image.name)?.manifest(up, image.digest.as_str()).await {
        Ok((_, body)) => body,
        Err(error) => {
            let is_gone = error.chain().filter_map(|cause| cause.downcast_ref::<HttpError>()).any(HttpError::is_gone);
            return if is_gone { Ok(vec![Finding::Deleted { what }]) } else { Err(error) };
        }
    };
    let platforms = oci::platforms(&what, &body)?;
    let differing = image.platforms.iter().filter(|(arch, digest)| platforms.get(arch) != Some(digest));
    let finding = |(arch, digest): (&Arch, &OciDigest)| Finding::Replaced {
        what: format!("{what} for {}", arch.platform()),
        pinned: digest.to_string(),
        found: platforms.get(arch).map(ToString::to_string).unwrap_or_default(),
    };
    Ok(differing.map(finding).collect())
}

async fn check_packages(up: Upstream<'_>, lists: &BTreeMap<Arch, Vec<PackagePin>>) -> anyhow::Result<Vec<Finding>> {
    // Packages for all architectures stand in both lists, and are fetched once.
    let packages: BTreeMap<&str, &PackagePin> =
        lists.values().flatten().map(|package| (package.url.as_str(), package)).collect();
    let findings: Vec<Option<Finding>> = stream::iter(packages.into_values())
        .map(|package| check_address(up, package.url.as_str(), &package.sha256))
        .buffered(PACKAGES_AT_ONCE)
        .try_collect()
        .await?;
    Ok(findings.into_iter().flatten().collect())
}

/// Downloads and hashes what nobody publishes a digest of.
async fn check_address(up: Upstream<'_>, url: &str, pinned: &Sha256) -> anyhow::Result<Option<Finding>> {
    let label = url.rsplit('/').next().unwrap_or(url);
    match up.http.hash(url, label).await {
        Ok((found, _)) => Ok(compare(url, pinned, Some(&found))),
        Err(error) if error.is_gone() => Ok(compare(url, pinned, None)),
        Err(error) => Err(error.into()),
    }
}

fn compare(what: &str, pinned: &Sha256, found: Option<&Sha256>) -> Option<Finding> {
    let what = what.to_owned();
    match found {
        Some(found) if found == pinned => None,
        Some(found) => {
            Some(Finding::Replaced { what, pinned: format!("sha256 {pinned}"), found: format!("sha256 {found}") })
        }
        None => Some(Finding::Deleted { what }),
    }
}
