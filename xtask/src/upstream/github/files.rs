//! Pins the files of a release: address, digest and size for each architecture.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use futures_util::future::try_join_all;

use super::{Repo, archive};
use crate::domain::digest::{FileUrl, Sha256};
use crate::domain::lock::{FileFor, FilePin, Pinned};
use crate::domain::stack::{Component, FileSpec};
use crate::domain::trust::Trust;
use crate::io::http::HttpError;
use crate::upstream::{Candidate, Upstream, attested, keep, signed};

/// The architectures of a component and the upstream's spelling, or one entry for all.
pub(super) fn spellings(component: &Component) -> impl Iterator<Item = (FileFor, &str)> {
    let one_for_all = component.arch.is_empty().then_some((FileFor::Any, ""));
    one_for_all.into_iter().chain(component.arch.iter().map(|(arch, spelling)| ((*arch).into(), spelling.as_str())))
}

/// The pins, their trust, and whether an attestation could not be verified here.
pub(super) async fn pin(repo: Repo<'_>, candidate: &Candidate) -> anyhow::Result<(Pinned, Trust, bool)> {
    let Repo { up, rules, .. } = repo;
    let file = rules.component.file.as_ref();
    let file = file.with_context(|| format!("[components.{}] has no `file`", rules.name))?;
    let tag = candidate.tag.as_deref().context("the release has no tag")?;
    let version = candidate.version.as_str();
    let pins = spellings(rules.component).map(async |(arch, spelling)| {
        let name = file.file_name(tag, version, spelling);
        let address = |url: &str| FileSpec::fill(url, tag, version, spelling, &name).parse::<FileUrl>();
        let (pin, trust) = match (&file.url, &file.checksums) {
            (Some(url), Some(_)) => {
                let list = checksums(up, file, tag, version).await?;
                let sha256 = list.sums.get(&name).cloned();
                let sha256 =
                    sha256.with_context(|| format!("the list of checksums at {} has no `{name}`", list.url))?;
                (FilePin { url: address(url)?, sha256, size: None }, list.trust)
            }
            (Some(url), None) => (inspected(up, address(url)?, &name, file, None).await?, Trust::Computed),
            (None, _) => {
                let release = repo.release(tag).await?;
                let asset =
                    release.uploaded(&name).map_err(|missing| anyhow!("{} has no {missing}", release.tag_name))?;
                let url: FileUrl = asset.browser_download_url.parse()?;
                match asset.sha256() {
                    Some(sha256) => (FilePin { url, sha256, size: asset.size }, Trust::Stated),
                    None => (inspected(up, url, &name, file, asset.size).await?, Trust::Computed),
                }
            }
        };
        anyhow::Ok(((arch, pin), trust))
    });
    let (pins, levels): (BTreeMap<FileFor, FilePin>, Vec<Trust>) = try_join_all(pins).await?.into_iter().unzip();
    let trust = levels.into_iter().min().unwrap_or(Trust::Computed);
    // GitHub only has attestations of its own files.
    let attested = match &file.url {
        Some(_) => None,
        None => attested::taken(up, attested::files(up, repo.name, &pins).await, candidate)?,
    };
    let (trust, unchecked) = attested::level(trust, attested);
    Ok((Pinned::Files(pins), trust, unchecked))
}

/// Checks the size of a download against the one that GitHub states.
pub(super) fn check_size(name: &str, counted: u64, stated: Option<u64>) -> anyhow::Result<()> {
    match stated.filter(|stated| *stated != counted) {
        None => Ok(()),
        Some(stated) => bail!(
            "`{name}` has {counted} bytes, but GitHub states {stated}: it is being replaced, or the download was cut"
        ),
    }
}

/// Downloads a file for its digest and size, and checks the archive, so that a broken one is found before the build.
async fn inspected(
    up: Upstream<'_>,
    url: FileUrl,
    name: &str,
    file: &FileSpec,
    stated: Option<u64>,
) -> anyhow::Result<FilePin> {
    let folder = tempfile::Builder::new().prefix("xtask-file-").tempdir()?;
    let path = folder.path().join("archive");
    let (sha256, counted) = up.http.download(url.as_str(), name, &path).await?;
    check_size(name, counted, stated)?;
    archive::check(&path, name, &file.contains).await?;
    Ok(FilePin { url, sha256, size: Some(counted) })
}

/// SHA-256 sums by file name, and the trust in the list.
pub(super) struct Checksums {
    url: String,
    pub(super) sums: BTreeMap<String, Sha256>,
    pub(super) trust: Trust,
}

/// A release's list of checksums (`SHASUMS256.txt`): the signed one, if there is a keyring whose key has signed it.
pub(super) async fn checksums(
    up: Upstream<'_>,
    file: &FileSpec,
    tag: &str,
    version: &str,
) -> anyhow::Result<Arc<Checksums>> {
    let url = FileSpec::fill(file.checksums.as_deref().unwrap_or_default(), tag, version, "", "");
    Box::pin(keep(&up.github.lists, &url, read_checksums(up, file, &url))).await
}

async fn read_checksums(up: Upstream<'_>, file: &FileSpec, url: &str) -> anyhow::Result<Checksums> {
    let list = |text: &str, trust| Checksums { url: url.to_owned(), sums: parse_checksums(text), trust };
    if let Some(keyring) = &file.keyring {
        let url = format!("{url}.asc");
        match up.http.text(&url).await {
            Ok(text) => {
                if let Some(text) = signed::text(up, keyring, &text, &url).await? {
                    return Ok(list(&text, Trust::Signed));
                }
            }
            Err(error) if error.is_gone() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(list(&up.http.text(url).await?, Trust::Stated))
}

/// Whether a file does not exist, as opposed to being unavailable.
pub(super) fn is_gone(error: &anyhow::Error) -> bool {
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
