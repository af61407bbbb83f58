//! llama.cpp: a stable release has a semver tag and one file with one line, the tag of the build to take.

use anyhow::Context as _;

use super::choose::{ChooseError, Rules};
use super::error::GithubError;
use super::release::{Release, say_missing};
use super::{Chosen, Repo, listing};
use crate::domain::text::shown;
use crate::upstream::{Gate, PassedOver, Upstream};

/// The build that the newest stable release names. Builds are always prereleases. If the build is incomplete, the stable
/// release before it is taken.
pub(super) async fn newest(
    up: Upstream<'_>,
    rules: Rules<'_>,
    repo: Repo<'_>,
) -> anyhow::Result<(Chosen, Vec<PassedOver>)> {
    let pointer = repo.pointer.context("the source has no `pointer`")?;
    let mut passed_over = Vec::new();
    let mut looked = 0;
    // `releases/latest` avoids reading pages of builds. If that release cannot be taken, the listing is read.
    let latest = match up.github.latest(repo.name).await {
        Ok(latest) => vec![latest.as_ref().clone()],
        Err(GithubError::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut queue = latest;
    let mut listed = false;
    let mut tried: Vec<String> = Vec::new();
    loop {
        for stable in std::mem::take(&mut queue) {
            if tried.contains(&stable.tag_name) {
                continue;
            }
            tried.push(stable.tag_name.clone());
            looked += 1;
            match follow(up, rules, repo, pointer, &stable).await? {
                Ok(chosen) => return Ok((chosen, passed_over)),
                Err((gate, reason)) => passed_over.push(PassedOver {
                    version: shown(&stable.tag_name, 60),
                    published: stable.published(),
                    gate,
                    reason,
                }),
            }
        }
        if listed {
            let first = passed_over.first().map(|first| format!("{}: {}", first.version, first.reason));
            let error = ChooseError::NothingFits { repo: repo.name.to_owned(), looked, first };
            return Err(listing::with_newest_complete(up, rules, repo, error.into(), None).await);
        }
        queue = listing::stable(up, rules, repo).await?;
        listed = true;
    }
}

/// The build that a stable release names, or why it cannot be taken.
async fn follow(
    up: Upstream<'_>,
    rules: Rules<'_>,
    repo: Repo<'_>,
    pointer: &str,
    stable: &Release,
) -> anyhow::Result<Result<Chosen, (Gate, String)>> {
    if let Some(reason) = rules.too_fresh(stable) {
        return Ok(Err((Gate::TooFresh, reason)));
    }
    let missing = stable.missing(&[pointer.to_owned()]);
    let Some(asset) = stable.asset(pointer).filter(|_| missing.is_empty()) else {
        return Ok(Err((Gate::Incomplete, format!("has {}", say_missing(&missing)))));
    };
    let text = up.http.text(&asset.browser_download_url).await?;
    let line = text.trim();
    let version = rules
        .component
        .scheme
        .parse(line.strip_prefix(repo.prefix).unwrap_or(line))
        .with_context(|| format!("`{pointer}` of {} names no build", shown(&stable.tag_name, 60)))?;
    let release = match up.github.release(repo.name, &format!("{}{version}", repo.prefix)).await {
        Err(GithubError::NotFound { .. }) => {
            return Ok(Err((Gate::Incomplete, format!("names {version}, which has no release"))));
        }
        result => result?,
    };
    Ok(match rules.refuse_asked_for(&release, &version) {
        None => Ok(Chosen { version, release }),
        Some(error) => {
            let gate =
                if matches!(error, ChooseError::NotAllowed { .. }) { Gate::Constraint } else { Gate::Incomplete };
            Err((gate, format!("names {version}: {error}")))
        }
    })
}
