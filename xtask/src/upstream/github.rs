//! Releases of a GitHub repository.
//!
//! `choose` decides which release to take, `listing` reads the pages for it, `pointer` follows a release that names
//! another one, `files` makes pins, `archive` checks downloads.

use std::sync::Arc;

use anyhow::{bail, ensure};

use super::{Asked, Candidate, Resolved, Upstream, Want, leader};
use crate::domain::digest::CommitId;
use crate::domain::host::is_repository;
use crate::domain::stack::Source;
use crate::error::hinted;

mod archive;
mod choose;
pub(crate) mod client;
mod error;
mod files;
mod listing;
mod pointer;
mod release;
mod verify;

use archive::ArchiveError;
use choose::{Rules, Seen};
use error::GithubError;
use release::Release;
pub(super) use verify::{Depth, verify};

/// A component with releases on GitHub, and the context to resolve it in.
#[derive(Clone, Copy)]
struct Repo<'a> {
    up: Upstream<'a>,
    rules: Rules<'a>,
    name: &'a str,
    pointer: Option<&'a str>,
    promoted: Option<&'a str>,
}

impl<'a> Repo<'a> {
    fn of(asked: Asked<'a>) -> anyhow::Result<Self> {
        let Asked { up, name, component } = asked;
        let Source::Github { repo, prefix, pointer, promoted, .. } = &component.source else {
            bail!("a source of type {} is not GitHub", component.source.kind())
        };
        ensure!(is_repository(repo), "`repo` of [components.{name}] in stack.toml is not of the form owner/name");
        let rules = Rules { stack: up.stack, name, component, prefix, clock: up.clock };
        Ok(Self { up, rules, name: repo, pointer: pointer.as_deref(), promoted: promoted.as_deref() })
    }

    async fn release(self, tag: &str) -> Result<Arc<Release>, GithubError> {
        self.up.github.release(self.name, tag).await
    }
}

/// The wanted version of a component that does not share the releases of another one.
pub(super) async fn candidate(asked: Asked<'_>, want: &Want) -> anyhow::Result<Candidate> {
    let repo = Repo::of(asked)?;
    let chosen = match (want, repo.pointer) {
        (Want::Exactly(typed), _) => exactly(repo, typed).await.map(|chosen| (chosen, Vec::new())),
        (Want::Newest, Some(pointer)) => pointer::newest(repo, pointer).await,
        (Want::Newest, None) => listing::newest(repo).await,
    };
    let (Seen { version, release, .. }, passed_over) = chosen.map_err(|error| advised(error, asked.name))?;
    Ok(Candidate {
        tag: Some(release.tag_name.clone()),
        // The commit that the release was made from, unless it is a branch's name.
        commit: release.target_commitish.as_deref().and_then(|target| target.parse::<CommitId>().ok()),
        published: release.published(),
        passed_over,
        ..Candidate::new(version, want)
    })
}

/// The digests of the component's files in the candidate's release.
pub(super) async fn pin(asked: Asked<'_>, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let Asked { up, name, .. } = asked;
    let (pinned, trust, unchecked) = match files::pin(Repo::of(asked)?, candidate).await {
        Ok(pinned) => pinned,
        // Complete by its list of files, but a file cannot be used: suggest another release.
        Err(error) if error.is::<ArchiveError>() || files::is_gone(&error) => {
            let leader = Repo::of(Asked::new(up, leader(up.stack, name))?)?;
            return Err(listing::with_newest_complete(leader, error, candidate.tag.as_deref()).await);
        }
        Err(error) => return Err(advised(error, name)),
    };
    Ok(Resolved { unchecked, ..candidate.pin(pinned, trust).into() })
}

/// `--to`: the release of a requested version or tag. It may be a prerelease or too fresh, but not incomplete.
async fn exactly(repo: Repo<'_>, typed: &str) -> anyhow::Result<Seen> {
    let bare = typed.strip_prefix(repo.rules.prefix).unwrap_or(typed);
    let version = repo.rules.component.scheme.parse(bare)?;
    let refused = match lookup(repo, bare, version.as_str()).await {
        Ok(release) => {
            let version = repo.rules.version_of(&release.tag_name).unwrap_or(version);
            match repo.rules.refuse_asked_for(&release, &version) {
                None => return Ok(Seen { version, release, refused: None }),
                Some((_, reason)) => reason,
            }
        }
        Err(GithubError::NotFound { .. }) => {
            // A missing repository is 404, too; the listing distinguishes them.
            if let Err(error @ GithubError::NoRepository { .. }) = repo.up.github.first_page(repo.name).await {
                return Err(error.into());
            }
            format!("`{}` has no release `{}`", repo.name, typed.escape_debug())
        }
        Err(error) => return Err(error.into()),
    };
    Err(listing::with_newest_complete(repo, anyhow::Error::msg(refused), None).await)
}

/// The release of a version, with or without `v` in its tag.
async fn lookup(repo: Repo<'_>, typed: &str, version: &str) -> Result<Arc<Release>, GithubError> {
    let mut spellings = vec![typed.to_owned()];
    for spelling in [format!("v{version}"), version.to_owned()] {
        // Only versions that start with a digit can have a `v`.
        if version.starts_with(|first: char| first.is_ascii_digit()) && !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    }
    let mut result = Err(GithubError::NotFound { url: String::new() });
    for spelling in spellings {
        result = repo.release(&format!("{}{spelling}", repo.rules.prefix)).await;
        if !matches!(result, Err(GithubError::NotFound { .. })) {
            break;
        }
    }
    result
}

/// Adds the hint for an error of GitHub's API.
pub(super) fn advised(error: anyhow::Error, name: &str) -> anyhow::Error {
    let advice = error.chain().find_map(|cause| match cause.downcast_ref::<GithubError>()? {
        GithubError::NoRepository { repo, .. } => Some(format!(
            "check the spelling of `{repo}` in [components.{name}] of stack.toml; a private one needs GITHUB_TOKEN"
        )),
        other => other.advice(),
    });
    match advice {
        Some(advice) => hinted(error, advice),
        None => error,
    }
}
