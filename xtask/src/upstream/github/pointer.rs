//! llama.cpp: a stable release has a semver tag and one file with one line, the tag of the build to take.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::choose::Seen;
use super::error::GithubError;
use super::release::Release;
use super::{Repo, listing};
use crate::domain::text::shown;
use crate::upstream::{Gate, PassedOver};

/// The build that the newest stable release names. Builds are always prereleases. If the build is incomplete, the stable
/// release before it is taken.
pub(super) async fn newest(repo: Repo<'_>, pointer: &str) -> anyhow::Result<(Seen, Vec<PassedOver>)> {
    let mut passed_over: Vec<PassedOver> = Vec::new();
    let mut tried = BTreeSet::new();
    for is_listed in [false, true] {
        // `releases/latest` avoids reading pages of builds. If that release cannot be taken, the listing is read.
        let releases = if is_listed {
            listing::stable(repo).await?
        } else {
            match repo.up.github.latest(repo.name).await {
                Ok(latest) => vec![latest.as_ref().clone()],
                Err(GithubError::NotFound { .. }) => Vec::new(),
                Err(error) => return Err(error.into()),
            }
        };
        for stable in releases {
            if !tried.insert(stable.tag_name.clone()) {
                continue;
            }
            match follow(repo, pointer, &stable).await? {
                Ok(chosen) => return Ok((chosen, passed_over)),
                Err((gate, reason)) => {
                    let version = shown(&stable.tag_name, 60);
                    passed_over.push(PassedOver { version, published: stable.published(), gate, reason });
                }
            }
        }
    }
    let first = passed_over.first().map(|first| format!("{}: {}", first.version, first.reason));
    let error = anyhow::Error::msg(listing::nothing_fits(repo, passed_over.len(), first));
    Err(listing::with_newest_complete(repo, error, None).await)
}

/// The build that a stable release names, or why it cannot be taken.
async fn follow(repo: Repo<'_>, pointer: &str, stable: &Release) -> anyhow::Result<Result<Seen, (Gate, String)>> {
    if let Some(reason) = repo.rules.too_fresh(stable) {
        return Ok(Err((Gate::TooFresh, reason)));
    }
    let asset = match stable.uploaded(pointer) {
        Ok(asset) => asset,
        Err(missing) => return Ok(Err((Gate::Incomplete, format!("has no {missing}")))),
    };
    let text = repo.up.http.text(&asset.browser_download_url).await?;
    let version = repo.rules.parse(text.trim());
    let version = version.with_context(|| format!("`{pointer}` of {} names no build", shown(&stable.tag_name, 60)))?;
    let release = match repo.release(&format!("{}{version}", repo.rules.prefix)).await {
        Err(GithubError::NotFound { .. }) => {
            return Ok(Err((Gate::Incomplete, format!("names {version}, which has no release"))));
        }
        result => result?,
    };
    Ok(match repo.rules.refuse_asked_for(&release, &version) {
        None => Ok(Seen { version, release, refused: None }),
        Some((gate, reason)) => Err((gate, format!("names {version}: {reason}"))),
    })
}
