//! What the upstreams published. Two steps, so that `outdated` stays cheap: a *candidate* is a version that
//! could be pinned, a *pin* has its digests.

use std::fmt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

pub(crate) mod debian;
pub(crate) mod git;
pub(crate) mod github;
pub(crate) mod npm;
pub(crate) mod oci;

use crate::domain::digest::CommitId;
use crate::domain::lock::{Lock, Pin, Published};
use crate::domain::stack::{Component, Source, Stack};
use crate::domain::version::{Scheme, Version};
use crate::error::hinted;
use crate::io::http::Http;

/// What every resolver works with.
#[derive(Clone, Copy)]
pub(crate) struct Upstream<'a> {
    pub(crate) http: &'a Http,
    pub(crate) github: &'a github::client::Client,
    pub(crate) stack: &'a Stack,
    /// What is pinned now.
    pub(crate) lock: &'a Lock,
    /// The checkout.
    pub(crate) root: &'a Path,
    /// When the command was started: what ages are measured from.
    pub(crate) now: DateTime<Utc>,
}

/// Which version is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    Newest,
    /// `--to`: a version or tag as typed.
    Exactly(String),
}

/// A version that could be pinned.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) version: Version,
    pub(crate) tag: Option<String>,
    pub(crate) commit: Option<CommitId>,
    pub(crate) published: Option<Published>,
    /// Newer releases that were not taken, newest first.
    pub(crate) passed_over: Vec<PassedOver>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PassedOver {
    pub(crate) version: String,
    pub(crate) published: Option<Published>,
    pub(crate) reason: String,
}

/// A pin, and the files of the checkout that go with it (npm's lockfiles), by path below the checkout.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) pin: Pin,
    pub(crate) files: Vec<(PathBuf, String)>,
}

/// What is not as it was when it was pinned.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
pub(crate) enum Finding {
    /// It is there, and it is something else.
    Replaced { what: String, pinned: String, found: String },
    /// It is not there any more.
    Deleted { what: String },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { what, pinned, found } => write!(f, "replaced: {what} is {found}, pinned is {pinned}"),
            Self::Deleted { what } => write!(f, "deleted: {what}"),
        }
    }
}

/// The version of `name` that is wanted. A component that comes from another's release has the other's.
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let name = leader(up.stack, name);
    match up.stack.component(name)?.source {
        Source::Github { .. } => github::candidate(up, name, want).await,
        Source::Npm { .. } => npm::candidate(up, name, want).await,
        Source::Git { .. } => git::candidate(up, name, want).await,
        Source::Oci { .. } => oci::candidate(up, name, want),
        Source::Debian { .. } => debian::candidate(up, name, want).await,
    }
}

/// The pin of a candidate, with all its digests.
pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    match up.stack.component(name)?.source {
        Source::Github { .. } => github::pin(up, name, candidate).await,
        Source::Npm { .. } => npm::pin(up, name, candidate).await,
        Source::Git { .. } => git::pin(up, name, candidate),
        Source::Oci { .. } => oci::pin(up, name, candidate).await,
        Source::Debian { .. } => debian::pin(up, name, candidate).await,
    }
}

/// Who moves when `name` moves: itself, or the component from whose release it always comes.
pub(crate) fn leader<'a>(stack: &'a Stack, name: &'a str) -> &'a str {
    match stack.components.get(name).map(|component| &component.source) {
        Some(Source::Github { same_release_as: Some(leader), .. }) => leader,
        _ => name,
    }
}

/// Why stack.toml does not allow a version: `require` of the component itself, `needs` of the others.
pub(crate) fn not_allowed(stack: &Stack, name: &str, component: &Component, version: &Version) -> Option<String> {
    let outside = |need: &semver::VersionReq| !version.matches(need);
    if let Some(require) = component.require.as_ref().filter(|require| outside(require)) {
        return Some(format!("stack.toml requires {require}"));
    }
    let (asker, need) = stack.asked_of(name).find(|(_, need)| outside(need))?;
    Some(format!("`{asker}` needs {need}"))
}

/// Whether a pin is newer than the candidate: somebody took it with `--to` (a prerelease, a young release), and
/// a bump of everything is not to undo that. A version that the stack does not allow any more is not ahead.
pub(crate) fn is_ahead(stack: &Stack, name: &str, pin: &Pin, candidate: &Candidate) -> bool {
    let Some(component) = stack.components.get(name) else { return false };
    let Ok(pinned) = pin.parsed_version(component.scheme) else { return false };
    let newer = match component.scheme {
        // Its text tells no more than the day.
        Scheme::Precompiled => pin.published.is_some() && pin.published > candidate.published,
        Scheme::Semver | Scheme::Dotted | Scheme::Calver | Scheme::Build | Scheme::Snapshot => {
            pinned > candidate.version
        }
        // A branch or an image's tag is where it is.
        Scheme::Commit | Scheme::Tag => false,
    };
    // A prerelease meets no plain requirement, whoever took it.
    newer && (pinned.is_prerelease() || not_allowed(stack, name, component, &pinned).is_none())
}
