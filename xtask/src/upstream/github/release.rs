//! A release as GitHub's API tells it, and whether it holds all that we need.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::domain::host::is_repository;
use crate::domain::lock::Published;
use crate::domain::stack::{Component, Stack};
use crate::domain::version::Version;
use crate::io::http::shown;

/// The fields that matter to us; octocrab's own type wants every field of every asset to be there.
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
    /// The date of its commit: what listings are sorted by.
    #[serde(default)]
    pub(crate) created_at: Option<DateTime<Utc>>,
    /// What the tag was made from: a branch or a commit.
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
    /// `uploaded`, or `starter` while the upload goes on or after it broke off.
    pub(crate) state: String,
    /// GitHub tells it; a record of a release may not know it.
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

    /// `2026-09-11`, or nothing that misleads.
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

    /// Which of the files are not there, each with why.
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

/// A file that a release should have and has not, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    file: String,
    state: Option<String>,
}

/// `no `a.zip`, `b.zip` (starter)`.
pub(crate) fn say_missing(missing: &[Missing]) -> String {
    let files = missing.iter().map(|missing| match &missing.state {
        None => format!("`{}`", missing.file),
        Some(state) => format!("`{}` (its upload is `{state}`, not finished)", missing.file),
    });
    format!("no {}", files.collect::<Vec<_>>().join(", "))
}

/// The version that a tag names, when it has the repository's prefix and the component's form.
pub(crate) fn version_of(component: &Component, prefix: &str, tag: &str) -> Option<Version> {
    component.scheme.parse(tag.strip_prefix(prefix)?).ok()
}

/// The assets that a release must have: the component's own for each architecture, and those of the
/// components that come from the same release. Files at an address of their own are no assets.
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
