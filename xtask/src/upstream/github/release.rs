//! A release of GitHub's API, and its required files.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::domain::host::is_repository;
use crate::domain::lock::Published;
use crate::domain::stack::{Component, Stack};
use crate::domain::text::shown;
use crate::domain::version::Version;

/// The fields that are used here; octocrab's type requires every field of every asset.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Release {
    pub(crate) tag_name: String,
    #[serde(default)]
    pub(crate) draft: bool,
    #[serde(default)]
    pub(crate) prerelease: bool,
    /// When it was published; none for a draft.
    #[serde(default)]
    pub(crate) published_at: Option<DateTime<Utc>>,
    /// The date of its commit, by which listings are sorted.
    #[serde(default)]
    pub(crate) created_at: Option<DateTime<Utc>>,
    /// The branch or commit of the tag.
    #[serde(default)]
    pub(crate) target_commitish: Option<String>,
    #[serde(default)]
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
    #[serde(default)]
    pub(crate) size: Option<u64>,
    /// `sha256:…` for what was uploaded since June 2025.
    #[serde(default)]
    pub(crate) digest: Option<String>,
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

    pub(crate) fn asset(&self, name: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.name == name)
    }

    /// The release's repository as `owner/name`, from its page's address.
    pub(crate) fn repository(&self) -> Option<String> {
        let path = self.html_url.as_deref()?.split_once("://")?.1.split_once('/')?.1;
        let mut parts = path.split('/');
        let name = format!("{}/{}", parts.next()?, parts.next()?);
        is_repository(&name).then_some(name)
    }

    /// The files that are missing or not uploaded.
    pub(crate) fn missing(&self, files: &[String]) -> Vec<Missing> {
        let missing = files.iter().filter_map(|file| match self.asset(file) {
            None => Some(Missing { file: file.clone(), state: None }),
            Some(asset) if asset.state != "uploaded" => {
                Some(Missing { file: file.clone(), state: Some(shown(&asset.state, 20)) })
            }
            Some(_) => None,
        });
        missing.collect()
    }
}

/// A file that a release lacks, or whose upload is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    file: String,
    state: Option<String>,
}

/// Such as "no `a.zip`, `b.zip`".
pub(crate) fn say_missing(missing: &[Missing]) -> String {
    let files = missing.iter().map(|missing| match &missing.state {
        None => format!("`{}`", missing.file),
        Some(state) => format!("`{}` (upload state `{state}`)", missing.file),
    });
    format!("no {}", files.collect::<Vec<_>>().join(", "))
}

/// The version of a tag with the repository's prefix and in the component's scheme.
pub(crate) fn version_of(component: &Component, prefix: &str, tag: &str) -> Option<Version> {
    component.scheme.parse(tag.strip_prefix(prefix)?).ok()
}

/// The assets that a release must have for the component and those that share its releases. Files at other addresses are
/// not assets.
pub(crate) fn needed_assets(stack: &Stack, name: &str, tag: &str, version: &str) -> Vec<String> {
    let own = stack.components.get(name);
    let followers = stack.followers(name).map(|(_, follower)| follower);
    let mut files = Vec::new();
    for component in own.into_iter().chain(followers) {
        let Some(file) = component.file.as_ref().filter(|file| file.url.is_none()) else { continue };
        if component.arch.is_empty() {
            files.push(file.file_name(tag, version, ""));
        }
        files.extend(component.arch.values().map(|arch| file.file_name(tag, version, arch)));
    }
    files
}
