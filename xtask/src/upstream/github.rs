//! Releases of a GitHub repository.
//!
//! `choose` decides which release to take, `listing` reads the pages for it, `pointer` follows a release that names
//! another one, `files` makes pins, `archive` checks downloads.

use std::sync::Arc;

use super::{Candidate, Resolved, Upstream, Want, leader};
use crate::domain::digest::CommitId;
use crate::domain::host::is_repository;
use crate::domain::stack::{Component, Source};
use crate::domain::version::Version;
use crate::error::hinted;
use crate::io::http::HttpError;

mod archive;
pub(crate) mod choose;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod files;
mod listing;
mod pointer;
pub(crate) mod release;
mod verify;

use archive::ArchiveError;
use choose::{ChooseError, Rules};
use error::GithubError;
use release::{Release, version_of};
pub(crate) use verify::{Depth, verify};

/// A GitHub source of `stack.toml`.
#[derive(Clone, Copy)]
pub(crate) struct Repo<'a> {
    pub(crate) name: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) pointer: Option<&'a str>,
    pub(crate) promoted: Option<&'a str>,
}

impl<'a> Repo<'a> {
    fn of(component: &'a Component) -> anyhow::Result<Self> {
        match &component.source {
            Source::Github { repo, prefix, pointer, promoted, .. } => {
                Ok(Self { name: repo, prefix, pointer: pointer.as_deref(), promoted: promoted.as_deref() })
            }
            other => anyhow::bail!("a source of type {} is not GitHub", other.kind()),
        }
    }
}

/// The wanted version of `name`, which must not share the releases of another component.
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let component = up.stack.component(name)?;
    let repo = Repo::of(component)?;
    if !is_repository(repo.name) {
        anyhow::bail!("`repo` of [components.{name}] in stack.toml is not of the form owner/name");
    }
    let rules = Rules { stack: up.stack, name, component, prefix: repo.prefix, clock: up.clock };
    let chosen = match want {
        Want::Exactly(typed) => exactly(up, rules, repo, typed).await.map(|chosen| (chosen, Vec::new())),
        Want::Newest if repo.pointer.is_some() => pointer::newest(up, rules, repo).await,
        Want::Newest => listing::newest(up, rules, repo).await,
    };
    let (chosen, passed_over) = chosen.map_err(|error| advised(error, name))?;
    let release = &chosen.release;
    Ok(Candidate {
        tag: Some(release.tag_name.clone()),
        // The commit that the release was made from, unless it is a branch's name.
        commit: release.target_commitish.as_deref().and_then(|target| target.parse::<CommitId>().ok()),
        published: release.published(),
        passed_over,
        ..Candidate::new(chosen.version, want)
    })
}

/// The digests of the component's files in the candidate's release.
pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let component = up.stack.component(name)?;
    let repo = Repo::of(component)?;
    let (pinned, trust, unchecked) = match files::pin(up, name, component, repo, candidate).await {
        Ok(pinned) => pinned,
        // Complete by its list of files, but a file cannot be used: suggest another release.
        Err(error) if is_broken_file(&error) => {
            let leader = leader(up.stack, name);
            let component = up.stack.component(leader)?;
            let repo = Repo::of(component)?;
            let rules = Rules { stack: up.stack, name: leader, component, prefix: repo.prefix, clock: up.clock };
            return Err(listing::with_newest_complete(up, rules, repo, error, candidate.tag.as_deref()).await);
        }
        Err(error) => return Err(advised(error, name)),
    };
    Ok(Resolved { unchecked, ..candidate.pin(pinned, trust).into() })
}

fn is_broken_file(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ArchiveError>().is_some() || error.downcast_ref().is_some_and(HttpError::is_gone)
}

/// A release and its version.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) version: Version,
    pub(crate) release: Arc<Release>,
}

/// `--to`: the release of a requested version or tag. It may be a prerelease or too fresh, but not incomplete.
async fn exactly(up: Upstream<'_>, rules: Rules<'_>, repo: Repo<'_>, typed: &str) -> anyhow::Result<Chosen> {
    let bare = typed.strip_prefix(repo.prefix).unwrap_or(typed);
    let version = rules.component.scheme.parse(bare)?;
    let release = match lookup(up, repo, bare, version.as_str()).await {
        Err(GithubError::NotFound { .. }) => {
            let error = ChooseError::NoRelease { repo: repo.name.to_owned(), typed: typed.to_owned() };
            return Err(listing::with_newest_complete(up, rules, repo, error.into(), None).await);
        }
        result => result?,
    };
    let version = version_of(rules.component, repo.prefix, &release.tag_name).unwrap_or(version);
    let refused = rules.refuse_asked_for(&release, &version);
    match refused {
        None => Ok(Chosen { version, release }),
        Some(error) => Err(listing::with_newest_complete(up, rules, repo, error.into(), None).await),
    }
}

/// The release of a version, with or without `v` in its tag.
async fn lookup(up: Upstream<'_>, repo: Repo<'_>, typed: &str, version: &str) -> Result<Arc<Release>, GithubError> {
    let mut tags = vec![format!("{}{typed}", repo.prefix)];
    for spelling in [format!("{}v{version}", repo.prefix), format!("{}{version}", repo.prefix)] {
        // Only versions that start with a digit can have a `v`.
        if version.starts_with(|first: char| first.is_ascii_digit()) && !tags.contains(&spelling) {
            tags.push(spelling);
        }
    }
    let mut result = Err(GithubError::NotFound { url: String::new() });
    for tag in tags {
        result = up.github.release(repo.name, &tag).await;
        if !matches!(result, Err(GithubError::NotFound { .. })) {
            break;
        }
    }
    result
}

/// Adds the hint for an error of GitHub's API.
pub(crate) fn advised(error: anyhow::Error, name: &str) -> anyhow::Error {
    let advice = error.chain().find_map(|cause| {
        let github = cause.downcast_ref::<GithubError>()?;
        let spelled = |repo: &String| {
            format!(
                "check the spelling of `{repo}` in [components.{name}] of stack.toml; a private one needs GITHUB_TOKEN"
            )
        };
        match github {
            GithubError::NoRepository { repo, .. } => Some(spelled(repo)),
            other => other.advice(),
        }
    });
    match advice {
        Some(advice) => hinted(error, advice),
        None => error,
    }
}
