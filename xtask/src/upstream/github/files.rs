//! Pins the files of a release: address, digest and size for each architecture.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::future::try_join_all;

use super::release::{Asset, Release, say_missing};
use super::{Repo, archive};
use crate::domain::digest::{FileUrl, OciDigest, Sha256};
use crate::domain::lock::{FileFor, FilePin, Pinned};
use crate::domain::stack::{Component, FileSpec};
use crate::domain::trust::Trust;
use crate::io::http::HttpError;
use crate::upstream::{Candidate, Upstream, attested, signed};

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("`{name}` has {counted} bytes, but GitHub states {stated}: it is being replaced, or the download was cut")]
    Size { name: String, counted: u64, stated: u64 },
    #[error("the list of checksums at {url} has no `{name}`")]
    NoChecksum { url: String, name: String },
}

/// The architectures of a component and the upstream's spelling, or one entry for all.
pub(super) fn spellings(component: &Component) -> impl Iterator<Item = (FileFor, &str)> {
    let one_for_all = component.arch.is_empty().then_some((FileFor::Any, ""));
    one_for_all.into_iter().chain(component.arch.iter().map(|(arch, spelling)| ((*arch).into(), spelling.as_str())))
}

/// The pins, their trust, and whether an attestation could not be verified here.
pub(super) async fn pin(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    repo: Repo<'_>,
    candidate: &Candidate,
) -> anyhow::Result<(Pinned, Trust, bool)> {
    let file = component.file.as_ref().with_context(|| format!("[components.{name}] has no `file`"))?;
    let tag = candidate.tag.as_deref().context("the release has no tag")?;
    let version = candidate.version.as_str();
    let named = spellings(component).map(|(arch, spelling)| (arch, spelling, file.file_name(tag, version, spelling)));
    let address =
        |url: &str, spelling: &str, name: &str| FileSpec::fill(url, tag, version, spelling, name).parse::<FileUrl>();
    let (pins, levels): (BTreeMap<FileFor, FilePin>, Vec<Trust>) = match (&file.url, &file.checksums) {
        (Some(url), Some(_)) => {
            let list = checksums(up, file, tag, version).await?;
            let pin = |(arch, spelling, name): (FileFor, &str, String)| {
                let url = address(url, spelling, &name)?;
                let sha256 = list.sums.get(&name).cloned();
                let missing = || FileError::NoChecksum { url: checksums_url(file, tag, version), name };
                anyhow::Ok(((arch, FilePin { url, sha256: sha256.ok_or_else(missing)?, size: None }), list.trust))
            };
            named.map(pin).collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip()
        }
        (Some(url), None) => {
            let pins = named.map(async |(arch, spelling, name)| {
                let url = address(url, spelling, &name)?;
                let (sha256, size) = inspected(up, url.as_str(), &name, &file.contains, None).await?;
                anyhow::Ok(((arch, FilePin { url, sha256, size }), Trust::Computed))
            });
            try_join_all(pins).await?.into_iter().unzip()
        }
        (None, _) => {
            let release = &*up.github.release(repo.name, tag).await?;
            let pins = named.map(async |(arch, _, name)| {
                let (pin, trust) = of_asset(up, file, release, &name).await?;
                anyhow::Ok(((arch, pin), trust))
            });
            try_join_all(pins).await?.into_iter().unzip()
        }
    };
    let trust = levels.into_iter().min().unwrap_or(Trust::Computed);
    // GitHub only has attestations of its own files.
    let attested = match &file.url {
        Some(_) => None,
        None => attested::taken(up, attested::files(up, repo.name, &pins).await, candidate)?,
    };
    let (trust, unchecked) = attested::level(trust, attested);
    Ok((Pinned::Files(pins), trust, unchecked))
}

async fn of_asset(
    up: Upstream<'_>,
    file: &FileSpec,
    release: &Release,
    name: &str,
) -> anyhow::Result<(FilePin, Trust)> {
    let missing = release.missing(&[name.to_owned()]);
    let Some(asset) = release.asset(name).filter(|_| missing.is_empty()) else {
        anyhow::bail!("{} has {}", release.tag_name, say_missing(&missing));
    };
    let url: FileUrl = asset.browser_download_url.parse()?;
    if let Some(sha256) = published_digest(asset) {
        return Ok((FilePin { url, sha256, size: asset.size }, Trust::Stated));
    }
    let (sha256, size) = inspected(up, url.as_str(), name, &file.contains, asset.size).await?;
    Ok((FilePin { url, sha256, size }, Trust::Computed))
}

/// GitHub's digest, or that of a download: assets from before June 2025 have no digest.
pub(crate) async fn asset_digest(up: Upstream<'_>, asset: &Asset) -> anyhow::Result<(Sha256, Trust)> {
    if let Some(published) = published_digest(asset) {
        return Ok((published, Trust::Stated));
    }
    let (sha256, counted) = up.http.hash(&asset.browser_download_url, &asset.name).await?;
    check_size(&asset.name, counted, asset.size)?;
    Ok((sha256, Trust::Computed))
}

fn check_size(name: &str, counted: u64, stated: Option<u64>) -> Result<(), FileError> {
    match stated.filter(|stated| *stated != counted) {
        None => Ok(()),
        Some(stated) => Err(FileError::Size { name: name.to_owned(), counted, stated }),
    }
}

/// Downloads a file for its digest and size, and checks the archive, so that a broken one is found before the build.
async fn inspected(
    up: Upstream<'_>,
    url: &str,
    name: &str,
    contains: &str,
    stated: Option<u64>,
) -> anyhow::Result<(Sha256, Option<u64>)> {
    let folder = tempfile::Builder::new().prefix("xtask-file-").tempdir()?;
    let path = folder.path().join("archive");
    let (sha256, counted) = up.http.download(url, name, &path).await?;
    check_size(name, counted, stated)?;
    archive::check(&path, name, contains).await?;
    Ok((sha256, Some(counted)))
}

/// GitHub's digest of an asset, if it is SHA-256.
pub(crate) fn published_digest(asset: &Asset) -> Option<Sha256> {
    asset.digest.as_deref()?.parse::<OciDigest>().ok()?.hex().parse().ok()
}

fn checksums_url(file: &FileSpec, tag: &str, version: &str) -> String {
    FileSpec::fill(file.checksums.as_deref().unwrap_or_default(), tag, version, "", "")
}

/// SHA-256 sums by file name, and the trust in the list.
#[derive(Debug)]
pub(crate) struct Checksums {
    pub(crate) sums: BTreeMap<String, Sha256>,
    pub(crate) trust: Trust,
}

/// A release's list of checksums (`SHASUMS256.txt`): the signed one, if there is a keyring whose key has signed it.
pub(crate) async fn checksums(
    up: Upstream<'_>,
    file: &FileSpec,
    tag: &str,
    version: &str,
) -> anyhow::Result<Arc<Checksums>> {
    let url = checksums_url(file, tag, version);
    Box::pin(up.github.list(&url, read_checksums(up, file, &url))).await
}

async fn read_checksums(up: Upstream<'_>, file: &FileSpec, url: &str) -> anyhow::Result<Checksums> {
    if let Some(keyring) = &file.keyring {
        let url = format!("{url}.asc");
        match up.http.text(&url).await {
            Ok(text) => {
                if let Some(text) = signed::text(up, keyring, &text, &url).await? {
                    return Ok(Checksums { sums: parse_checksums(&text), trust: Trust::Signed });
                }
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Checksums { sums: parse_checksums(&up.http.text(url).await?), trust: Trust::Stated })
}

/// Whether a list of checksums does not exist, as opposed to being unavailable.
pub(crate) fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(HttpError::is_gone)
}

/// Parses the format of `sha256sum`: digest, a space, a space or `*`, name. Other lines (a signature) are skipped.
fn parse_checksums(text: &str) -> BTreeMap<String, Sha256> {
    let lines = text.lines().filter_map(|line| {
        let (digest, name) = line.split_once(' ')?;
        let name = name.strip_prefix([' ', '*']).unwrap_or(name);
        Some((name.to_owned(), digest.parse().ok()?))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_sha256sum_are_read() {
        let hex = "c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4";
        let text = format!("-----BEGIN PGP SIGNED MESSAGE-----\n{hex}  a.tar.xz\n{hex} *b.zip\nshort  c.zip\n");
        let sums = parse_checksums(&text);
        assert_eq!(sums.keys().collect::<Vec<_>>(), ["a.tar.xz", "b.zip"]);
    }
}
