//! One pin against its upstream, by the kind of pin. An upstream that cannot be asked is an error, never a
//! finding.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::domain::arch::Arch;
use crate::domain::digest::Sha256;
use crate::domain::lock::{PackagePin, Pinned};
use crate::upstream::{Finding, Upstream, git, github, npm, oci};

/// Debian's archive asks for patience; and hashing has two cores to run on here.
const PACKAGES_AT_ONCE: usize = 4;

pub(super) async fn check(up: Upstream<'_>, name: &str) -> anyhow::Result<Vec<Finding>> {
    let pin = up.lock.components.get(name).with_context(|| format!("`{name}` is not pinned"))?;
    match &pin.pinned {
        Pinned::Files(_) => {
            github::verify(up, name, pin, github::Depth::Files).await.map_err(|error| github::advised(error, name))
        }
        Pinned::Npm(_) => npm::verify(up, name, pin).await,
        Pinned::Git(_) => git::verify(up, name, pin).await,
        Pinned::Image(image) => oci::verify(up, image).await,
        Pinned::Packages(lists) => check_packages(up, lists).await,
    }
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
