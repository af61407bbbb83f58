//! A release of GitHub's API.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::host::is_repository;
use crate::domain::lock::Published;
use crate::domain::text::shown;

/// The fields that are used here; octocrab's type requires every field of every asset.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Release {
    pub(crate) tag_name: String,
    #[serde(default)]
    pub(crate) draft: bool,
    #[serde(default)]
    pub(crate) prerelease: bool,
    /// When it was published; none for a draft.
    pub(crate) published_at: Option<DateTime<Utc>>,
    /// The date of its commit, by which listings are sorted.
    pub(crate) created_at: Option<DateTime<Utc>>,
    /// The branch or commit of the tag.
    pub(crate) target_commitish: Option<String>,
    html_url: Option<String>,
    #[serde(default)]
    pub(crate) assets: Vec<Asset>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Asset {
    pub(crate) name: String,
    /// `uploaded`, or `starter` during an upload or after a failed one.
    pub(crate) state: String,
    /// In bytes. Recorded releases may lack it.
    pub(crate) size: Option<u64>,
    /// `sha256:…` for what was uploaded since June 2025.
    digest: Option<String>,
    pub(crate) browser_download_url: String,
}

impl Release {
    pub(crate) fn published(&self) -> Option<Published> {
        self.published_at.and_then(Published::at)
    }

    /// `2026-09-11` or `not published`.
    pub(crate) fn date(&self) -> String {
        self.published().map_or_else(|| "not published".to_owned(), |published| published.date().to_string())
    }

    /// The release's repository as `owner/name`, from its page's address.
    pub(crate) fn repository(&self) -> Option<String> {
        let (_, path) = self.html_url.as_deref()?.split_once("://")?.1.split_once('/')?;
        repository_at(path)
    }

    /// An asset that is uploaded, or else its name, and its state if it has one.
    pub(crate) fn uploaded(&self, name: &str) -> Result<&Asset, String> {
        match self.assets.iter().find(|asset| asset.name == name) {
            None => Err(format!("`{name}`")),
            Some(asset) if asset.state != "uploaded" => {
                Err(format!("`{name}` (upload state `{}`)", shown(&asset.state, 20)))
            }
            Some(asset) => Ok(asset),
        }
    }

    /// The assets that are missing or not uploaded, such as "no `a.zip`, `b.zip`".
    pub(crate) fn missing(&self, names: impl IntoIterator<Item = String>) -> Option<String> {
        let missing: Vec<String> = names.into_iter().filter_map(|name| self.uploaded(&name).err()).collect();
        (!missing.is_empty()).then(|| format!("no {}", missing.join(", ")))
    }
}

impl Asset {
    /// Its digest, if GitHub has a SHA-256 of it.
    pub(crate) fn sha256(&self) -> Option<Sha256> {
        self.digest.as_deref()?.parse::<OciDigest>().ok()?.hex().parse().ok()
    }
}

/// The repository that a path starts with: `owner/name`.
pub(super) fn repository_at(path: &str) -> Option<String> {
    let mut parts = path.split(['/', '?']);
    let name = format!("{}/{}", parts.next()?, parts.next()?);
    is_repository(&name).then_some(name)
}
