//! Verifies a pinned release: it may have been replaced, recreated or deleted.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::Repo;
use super::error::GithubError;
use super::files::{check_size, checksums, is_gone};
use crate::domain::lock::{FileFor, FilePin, Pin};
use crate::domain::trust::Trust;
use crate::upstream::{Asked, Checked, Finding, attested};

/// How thoroughly to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Depth {
    /// Compare with published digests; files without one pass.
    Metadata,
    /// Download files without a published digest.
    Files,
}

pub(in crate::upstream) async fn verify(
    asked: Asked<'_>,
    pin: &Pin,
    files: &BTreeMap<FileFor, FilePin>,
    depth: Depth,
) -> anyhow::Result<Checked> {
    let repo = Repo::of(asked)?;
    let Asked { up, name, component } = asked;
    let spec = component.file.as_ref().with_context(|| format!("[components.{name}] has no `file`"))?;
    let tag = pin.tag.as_deref().unwrap_or(&pin.version);
    let mut findings = Vec::new();
    if spec.checksums.is_some() {
        let list = match checksums(up, spec, tag, &pin.version).await {
            Err(error) if is_gone(&error) => {
                return Ok(Checked::gone(format!("the list of checksums of {tag}")));
            }
            result => result?,
        };
        for file in files.values() {
            let found = list.sums.get(&file.url.decoded_file_name());
            findings.extend(Finding::of_file(&file.url, &file.sha256, found));
        }
        let by = if list.trust == Trust::Signed { "a signed list of checksums" } else { "a list of checksums" };
        return Ok(Checked::new(findings, list.trust, by));
    }
    if spec.url.is_some() {
        for file in files.values().filter(|_| depth == Depth::Files) {
            findings.extend(Finding::of_download(up, &file.url, &file.sha256).await?);
        }
        return Ok(Checked::new(findings, Trust::Computed, "a download"));
    }
    let release = match repo.release(tag).await {
        Err(GithubError::NotFound { .. }) => {
            // A missing repository is 404, too; then this fails.
            up.github.first_page(repo.name).await?;
            return Ok(Checked::gone(format!("release {tag} of {}", repo.name)));
        }
        result => result?,
    };
    let (mut trust, mut by) = (Trust::Stated, "GitHub's API");
    for file in files.values() {
        let found = match release.uploaded(&file.url.decoded_file_name()) {
            Err(_) => None,
            Ok(asset) => match (asset.sha256(), depth) {
                (None, Depth::Metadata) => continue,
                // Assets from before June 2025 have no digest.
                (None, Depth::Files) => {
                    let (sha256, counted) = up.http.hash(&asset.browser_download_url, &asset.name).await?;
                    check_size(&asset.name, counted, asset.size)?;
                    (trust, by) = (Trust::Computed, "a download");
                    Some(sha256)
                }
                (published, _) => published,
            },
        };
        findings.extend(Finding::of_file(&file.url, &file.sha256, found.as_ref()));
    }
    let attested = match depth {
        Depth::Files => attested::files(up, repo.name, files).await?,
        Depth::Metadata => None,
    };
    let (level, unchecked) = attested::level(trust, attested);
    let by = if level == Trust::Attested { attested::BY } else { by };
    Ok(Checked { unchecked, ..Checked::new(findings, level, by) })
}
