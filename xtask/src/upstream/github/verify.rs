//! Verifies a pinned release: it may have been replaced, recreated or deleted.

use anyhow::Context as _;

use super::error::GithubError;
use super::files::{asset_digest, checksums, is_gone, published_digest};
use crate::domain::lock::{Pin, Pinned};
use crate::domain::stack::Source;
use crate::domain::trust::Trust;
use crate::upstream::{Checked, Finding, Upstream, attested};

/// How thoroughly to verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Compare with published digests; files without one pass.
    Metadata,
    /// Download files without a published digest.
    Files,
}

pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin, depth: Depth) -> anyhow::Result<Checked> {
    let component = up.stack.component(name)?;
    let Source::Github { repo, .. } = &component.source else { anyhow::bail!("files come from GitHub only") };
    let Pinned::Files(files) = &pin.pinned else { anyhow::bail!("`{name}` is pinned as {}", pin.pinned.kind()) };
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
    let release = match up.github.release(repo, tag).await {
        Err(GithubError::NotFound { .. }) => {
            // A missing repository is 404, too; then this fails.
            up.github.first_page(repo).await?;
            return Ok(Checked::gone(format!("release {tag} of {repo}")));
        }
        result => result?,
    };
    let mut trust = Trust::Stated;
    for file in files.values() {
        let asset = release.asset(&file.url.decoded_file_name()).filter(|asset| asset.state == "uploaded");
        let digest = match asset {
            Some(asset) if depth == Depth::Files => {
                let (digest, level) = asset_digest(up, asset).await?;
                trust = trust.min(level);
                Some(digest)
            }
            Some(asset) => match published_digest(asset) {
                Some(digest) => Some(digest),
                None => continue,
            },
            None => None,
        };
        findings.extend(Finding::of_file(&file.url, &file.sha256, digest.as_ref()));
    }
    let by = if trust == Trust::Stated { "GitHub's API" } else { "a download" };
    let attested = match depth {
        Depth::Files => attested::files(up, repo, files).await?,
        Depth::Metadata => None,
    };
    let (level, unchecked) = attested::level(trust, attested);
    let by = if level == Trust::Attested { attested::BY } else { by };
    Ok(Checked { unchecked, ..Checked::new(findings, level, by) })
}
