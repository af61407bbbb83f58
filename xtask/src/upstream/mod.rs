//! Clients of the upstreams. Two steps, so that `outdated` is fast: a *candidate* is a version that could be pinned, a
//! *pin* has its digests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::bail;
use tokio::sync::OnceCell;

mod attested;
pub(crate) mod debian;
mod git;
pub(crate) mod github;
pub(crate) mod npm;
mod oci;
mod signed;

use crate::domain::age::Clock;
use crate::domain::digest::{CommitId, FileUrl, Sha256};
use crate::domain::lock::{Lock, Pin, Pinned, Published};
use crate::domain::range::Range;
use crate::domain::stack::{Component, Source, Stack};
use crate::domain::text;
use crate::domain::trust::Trust;
use crate::domain::version::{Scheme, Version};
use crate::io::http::{Http, HttpError};
use crate::io::locked;

/// The limit of waiting versions in the lock, for each component.
const MOST_SEEN: usize = 5;

/// The context of all resolvers.
#[derive(Clone, Copy)]
pub(crate) struct Upstream<'a> {
    pub(crate) http: &'a Http,
    pub(crate) github: &'a github::client::Client,
    pub(crate) npm: &'a npm::Documents,
    pub(crate) debian: &'a debian::Indexes,
    pub(crate) stack: &'a Stack,
    /// The current pins, with the new ones that this bump has already resolved.
    pub(crate) lock: &'a Lock,
    /// The components that this bump has already resolved.
    pub(crate) settled: &'a [String],
    /// The checkout.
    pub(crate) root: &'a Path,
    pub(crate) clock: Clock,
    pub(crate) notes: &'a Notes,
}

/// A component, and the context to resolve it in.
#[derive(Clone, Copy)]
struct Asked<'a> {
    up: Upstream<'a>,
    name: &'a str,
    component: &'a Component,
}

impl<'a> Asked<'a> {
    fn new(up: Upstream<'a>, name: &'a str) -> anyhow::Result<Self> {
        Ok(Self { up, name, component: up.stack.component(name)? })
    }

    /// The current pin.
    fn pin(self) -> Option<&'a Pin> {
        self.up.lock.components.get(self.name)
    }

    /// The version of the current pin.
    fn pinned(self) -> Option<Version> {
        self.up.lock.version(self.up.stack, self.name)
    }

    fn not_allowed(self, version: &Version) -> Option<String> {
        not_allowed(self.up.stack, self.name, version)
    }

    /// Fails if `stack.toml` does not allow a requested version.
    fn check_allowed(self, version: &Version) -> anyhow::Result<()> {
        match not_allowed_asked(self.up.stack, self.name, version) {
            None => Ok(()),
            Some(error) => bail!(error),
        }
    }

    /// Why something has to wait, by the time when it was first seen. Adds it to `seen` if it waits.
    fn first_seen(self, what: &str, seen: &mut BTreeMap<String, Published>) -> Option<String> {
        let known = self.pin().and_then(|pin| pin.seen.get(what)).cloned();
        let since = known.or_else(|| Published::at(self.up.clock.now))?;
        let reason = self.up.clock.too_new_here(self.component, since.moment())?;
        if seen.len() < MOST_SEEN {
            seen.insert(what.to_owned(), since);
        }
        Some(reason)
    }

    /// Why a version does not fit the pin of `other`, by the range that it states, and how to solve that.
    fn does_not_go_with(self, other: &str, range: &str) -> Option<String> {
        let Self { up, name, .. } = self;
        let pinned_other = Asked::new(up, other).ok()?;
        let pinned = pinned_other.pinned()?;
        let range = text::shown(range, 80);
        let Some(read) = Range::parse(&range) else {
            return Some(format!("needs `{other}` {range}, which is not a valid range"));
        };
        if read.contains(&pinned) {
            return None;
        }
        let required = pinned_other.component.require.as_ref();
        let required = required.map(|require| format!("stack.toml requires {require} of it"));
        Some(if up.settled.iter().any(|settled| settled == other) {
            let held = required.unwrap_or_else(|| format!("see `{other}`"));
            format!("needs `{other}` {range}, but {pinned} is the newest that can be taken: {held}")
        } else {
            let required = required.map(|required| format!("{required}, and ")).unwrap_or_default();
            format!("needs `{other}` {range}, but {pinned} is pinned: {required}bump `{name}` and `{other}` together")
        })
    }
}

/// A cache of one run, by address. The cell makes concurrent requests wait for the first one.
type Kept<T> = Mutex<BTreeMap<String, Arc<OnceCell<Arc<T>>>>>;

/// Returns the cached value of an address, or requests it. Errors are not cached.
async fn keep<T, E>(kept: &Kept<T>, url: &str, ask: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
    let cell = Arc::clone(locked(kept).entry(url.to_owned()).or_default());
    cell.get_or_try_init(|| async { ask.await.map(Arc::new) }).await.cloned()
}

/// Notes of the resolvers for the user, without duplicates. The command prints them.
#[derive(Debug, Default)]
pub(crate) struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn add(&self, note: String) {
        let mut notes = locked(&self.0);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut locked(&self.0))
    }
}

/// Which version is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    Newest,
    /// `--to`: a version or tag as typed by the user.
    Exactly(String),
}

/// A version that could be pinned.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) version: Version,
    pub(crate) tag: Option<String>,
    pub(crate) commit: Option<CommitId>,
    pub(crate) published: Option<Published>,
    /// Newer releases that cannot be taken, newest first.
    pub(crate) passed_over: Vec<PassedOver>,
    /// Waiting versions without a publication time, with the time when each was first seen; see [`Pin::seen`].
    pub(crate) seen: BTreeMap<String, Published>,
    /// Findings about the current pin, as far as already known.
    pub(crate) findings: Vec<Finding>,
    /// It was requested with `--to`, so no minimum age applies.
    pub(crate) asked: bool,
}

impl Candidate {
    pub(crate) fn new(version: Version, want: &Want) -> Self {
        let asked = *want != Want::Newest;
        let (seen, findings, passed_over) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { version, tag: None, commit: None, published: None, passed_over, seen, findings, asked }
    }

    /// Makes its pin.
    fn pin(&self, pinned: Pinned, trust: Trust) -> Pin {
        Pin {
            version: self.version.as_str().to_owned(),
            tag: self.tag.clone(),
            commit: self.commit.clone(),
            published: self.published.clone(),
            seen: self.seen.clone(),
            trust: Some(trust),
            pinned,
        }
    }
}

/// Why `bump` does not take a version by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gate {
    /// A file or package of an architecture is missing.
    Incomplete,
    TooFresh,
    /// Deprecated or withdrawn by its publisher.
    Withdrawn,
    Draft,
    Prerelease,
    /// Newer than the publisher's latest version.
    NotPromoted,
    /// `hold` in `stack.toml`.
    Held,
    /// `require` in `stack.toml`, or another component.
    Constraint,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PassedOver {
    pub(crate) version: String,
    pub(crate) published: Option<Published>,
    pub(crate) gate: Gate,
    pub(crate) reason: String,
}

/// A pin, and its files in the checkout (npm's lockfiles), by relative path.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) pin: Pin,
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Newer versions that cannot be taken, if only their digests showed that.
    pub(crate) passed_over: Vec<PassedOver>,
    /// There is an attestation that this machine cannot verify.
    pub(crate) unchecked: bool,
}

impl From<Pin> for Resolved {
    fn from(pin: Pin) -> Self {
        Self { pin, files: Vec::new(), passed_over: Vec::new(), unchecked: false }
    }
}

/// A verified pin.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) findings: Vec<Finding>,
    /// The current trust in its digests, and what it is based on; `None` if that is unknown.
    pub(crate) trust: Option<(Trust, &'static str)>,
    /// There is an attestation that this machine cannot verify.
    pub(crate) unchecked: bool,
}

impl Checked {
    fn new(findings: Vec<Finding>, trust: Trust, by: &'static str) -> Self {
        Self { findings, trust: Some((trust, by)), unchecked: false }
    }

    fn gone(what: String) -> Self {
        Self { findings: vec![Finding::Deleted { what }], trust: None, unchecked: false }
    }
}

/// A difference from what was pinned.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
pub(crate) enum Finding {
    /// Something else is in its place.
    Replaced { what: String, pinned: String, found: String },
    /// It does not exist any more.
    Deleted { what: String },
    /// The trust is lower than before, or lower than `stack.toml` requires.
    Weaker { what: String, wanted: Trust, found: Trust },
    /// Its publisher advises against it.
    Withdrawn { what: String, reason: String },
}

impl Finding {
    /// The finding for a pinned file by its current digest; `None` for a file that does not exist.
    fn of_file(url: &FileUrl, pinned: &Sha256, found: Option<&Sha256>) -> Option<Self> {
        let what = url.to_string();
        match found {
            Some(found) if found == pinned => None,
            Some(found) => {
                Some(Self::Replaced { what, pinned: format!("sha256 {pinned}"), found: format!("sha256 {found}") })
            }
            None => Some(Self::Deleted { what }),
        }
    }

    /// The same for a file without a published digest, by downloading it.
    async fn of_download(up: Upstream<'_>, url: &FileUrl, pinned: &Sha256) -> Result<Option<Self>, HttpError> {
        match up.http.hash(url.as_str(), url.file_name()).await {
            Ok((found, _)) => Ok(Self::of_file(url, pinned, Some(&found))),
            Err(error) if error.is_gone() => Ok(Self::of_file(url, pinned, None)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replaced { what, pinned, found } => write!(f, "replaced: {what} is {found}, pinned is {pinned}"),
            Self::Deleted { what } => write!(f, "deleted: {what}"),
            Self::Weaker { what, wanted, found } => write!(f, "weaker: {what} is {found}, required is {wanted}"),
            Self::Withdrawn { what, reason } => write!(f, "withdrawn: {what}: {reason}"),
        }
    }
}

/// The wanted version of `name`, or of the component whose releases it shares.
pub(crate) async fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let asked = Asked::new(up, leader(up.stack, name))?;
    match &asked.component.source {
        Source::Github { .. } => github::candidate(asked, want).await,
        Source::Npm { .. } => npm::candidate(asked, want).await,
        Source::Git { .. } => git::candidate(asked, want).await,
        Source::Oci { tag, .. } => oci::candidate(asked, tag, want),
        Source::Debian { .. } => debian::candidate(asked, want),
    }
}

/// The pin of a candidate, with all its digests.
pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let asked = Asked::new(up, name)?;
    match &asked.component.source {
        Source::Github { .. } => github::pin(asked, candidate).await,
        Source::Npm { .. } => npm::pin(asked, candidate).await,
        Source::Git { repository, .. } => git::pin(repository, candidate),
        Source::Oci { image, .. } => oci::pin(asked, image, candidate).await,
        Source::Debian { .. } => debian::pin(asked, candidate).await,
    }
}

/// Compares a pin with its upstream. An upstream that does not answer is an error, not a finding.
pub(crate) async fn verify(up: Upstream<'_>, name: &str, pin: &Pin) -> anyhow::Result<Checked> {
    let asked = Asked::new(up, name)?;
    match &pin.pinned {
        Pinned::Files(files) => {
            let checked = github::verify(asked, pin, files, github::Depth::Files).await;
            checked.map_err(|error| github::advised(error, name))
        }
        Pinned::Npm(npm) => npm::verify(asked, pin, npm).await,
        Pinned::Git(git) => git::verify(asked, pin, git).await,
        Pinned::Image(image) => oci::verify(up, image).await,
        Pinned::Packages(lists) => debian::verify(asked, pin, lists).await,
    }
}

/// Findings about a pin, by metadata only: no file is downloaded.
pub(crate) async fn standing(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Vec<Finding>> {
    let asked = Asked::new(up, name)?;
    match asked.pin() {
        // Invalid pins are reported when the lock is read.
        Some(pin @ Pin { pinned: Pinned::Files(files), .. }) if pin.check(name, up.stack).is_ok() => {
            Ok(github::verify(asked, pin, files, github::Depth::Metadata).await?.findings)
        }
        _ => Ok(candidate.findings.clone()),
    }
}

/// The component whose releases `name` shares, or itself.
pub(crate) fn leader<'a>(stack: &'a Stack, name: &'a str) -> &'a str {
    match stack.components.get(name).map(|component| &component.source) {
        Some(Source::Github { same_release_as: Some(leader), .. }) => leader,
        _ => name,
    }
}

/// Why stack.toml does not allow a version: by `require` of the component, or `needs` of others.
fn not_allowed(stack: &Stack, name: &str, version: &Version) -> Option<String> {
    let outside = |need: &semver::VersionReq| !version.matches(need);
    let require = stack.components.get(name)?.require.as_ref();
    if let Some(require) = require.filter(|require| outside(require)) {
        return Some(format!("stack.toml requires {require}"));
    }
    let (asker, need) = stack.asked_of(name).find(|(_, need)| outside(need))?;
    Some(format!("`{asker}` needs {need}"))
}

/// The same for a requested version, as an error. It may be a prerelease: it is checked as `1.3.0` for `1.3.0-rc.1`,
/// because prereleases meet no plain requirement.
fn not_allowed_asked(stack: &Stack, name: &str, version: &Version) -> Option<String> {
    let number = version.as_str().split('-').next().filter(|_| version.is_prerelease());
    let plain = number.and_then(|number| stack.components.get(name)?.scheme.parse(number).ok());
    let reason = not_allowed(stack, name, plain.as_ref().unwrap_or(version))?;
    Some(format!("stack.toml does not allow {version}: {reason}"))
}

/// Whether a pin is newer than the candidate: it was requested with `--to` (a prerelease, a fresh release), and a bump
/// of everything must not undo that. A version that the stack does not allow any more does not count.
pub(crate) fn is_ahead(stack: &Stack, name: &str, pin: &Pin, candidate: &Candidate) -> bool {
    let Some(component) = stack.components.get(name) else { return false };
    let Ok(pinned) = component.scheme.parse(&pin.version) else { return false };
    let newer = match component.scheme {
        // The text only has the day.
        Scheme::Precompiled => {
            pin.published.as_ref().map(Published::moment) > candidate.published.as_ref().map(Published::moment)
        }
        Scheme::Semver | Scheme::Dotted | Scheme::Calver | Scheme::Build | Scheme::Snapshot => {
            pinned > candidate.version
        }
        // Branches and image tags have no order.
        Scheme::Commit | Scheme::Tag => false,
    };
    // A requested prerelease meets no plain requirement.
    newer && (pinned.is_prerelease() || not_allowed(stack, name, &pinned).is_none())
}
