//! What the upstreams published. Two steps, so that `outdated` stays cheap: a *candidate* is a version that
//! could be pinned, a *pin* has its digests.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

mod attested;
pub(crate) mod debian;
pub(crate) mod git;
pub(crate) mod github;
pub(crate) mod npm;
pub(crate) mod oci;
mod signed;

use crate::domain::age::Clock;
use crate::domain::digest::{CommitId, FileUrl, Sha256};
use crate::domain::lock::{Lock, Pin, Pinned, Published};
use crate::domain::range::Range;
use crate::domain::stack::{Component, Source, Stack};
use crate::domain::trust::Trust;
use crate::domain::version::{Scheme, Version};

use crate::io::http::{self, Http, HttpError};
use crate::io::locked;

/// How many versions that wait the lock holds of one component.
const MOST_SEEN: usize = 5;

/// What every resolver works with.
#[derive(Clone, Copy)]
pub(crate) struct Upstream<'a> {
    pub(crate) http: &'a Http,
    pub(crate) github: &'a github::client::Client,
    pub(crate) npm: &'a npm::Documents,
    pub(crate) debian: &'a debian::Indexes,
    pub(crate) stack: &'a Stack,
    /// What is pinned now, and what this bump has taken already of the components that others are held against.
    pub(crate) lock: &'a Lock,
    /// Who this bump has settled already.
    pub(crate) settled: &'a [String],
    /// The checkout.
    pub(crate) root: &'a Path,
    pub(crate) clock: Clock,
    pub(crate) notes: &'a Notes,
}

/// What is read once in a run, by address. The cell lets whoever asks second wait for the first instead of asking too.
type Kept<T> = Mutex<BTreeMap<String, Arc<OnceCell<Arc<T>>>>>;

/// Gives what is kept under an address, or asks for it. A failure is not kept.
async fn keep<T, E>(kept: &Kept<T>, url: &str, ask: impl Future<Output = Result<T, E>>) -> Result<Arc<T>, E> {
    let cell = Arc::clone(locked(kept).entry(url.to_owned()).or_default());
    cell.get_or_try_init(|| async { ask.await.map(Arc::new) }).await.cloned()
}

/// What the resolvers of a run want people to know, each once. Who runs them tells it.
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
    /// What waits and has no moment of its own, with when it was first seen; see [`Pin::seen`].
    pub(crate) seen: BTreeMap<String, Published>,
    /// What became of the version that is pinned now, as far as it was seen on the way.
    pub(crate) findings: Vec<Finding>,
    /// Somebody named it, so that nothing has to wait.
    pub(crate) asked: bool,
}

impl Candidate {
    pub(crate) fn new(version: Version, want: &Want) -> Self {
        let asked = *want != Want::Newest;
        let (seen, findings, passed_over) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { version, tag: None, commit: None, published: None, passed_over, seen, findings, asked }
    }

    /// Its pin, which fetches this.
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

/// What keeps a version from being taken unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gate {
    /// A file or a package for one architecture is not there.
    Incomplete,
    TooFresh,
    /// Deprecated or taken back by who published it.
    Withdrawn,
    Draft,
    Prerelease,
    /// Its publisher does not call it the latest.
    NotPromoted,
    /// `hold` in `stack.toml`.
    Held,
    /// `require`, or what another component needs.
    Constraint,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PassedOver {
    pub(crate) version: String,
    pub(crate) published: Option<Published>,
    pub(crate) gate: Gate,
    pub(crate) reason: String,
}

/// A pin, and the files of the checkout that go with it (npm's lockfiles), by path below the checkout.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) pin: Pin,
    pub(crate) files: Vec<(PathBuf, String)>,
    /// What was not taken and why, where only the digests told.
    pub(crate) passed_over: Vec<PassedOver>,
    /// An attestation is there that cannot be checked on this machine.
    pub(crate) unchecked: bool,
}

impl From<Pin> for Resolved {
    fn from(pin: Pin) -> Self {
        Self { pin, files: Vec::new(), passed_over: Vec::new(), unchecked: false }
    }
}

/// A pin after its upstream was asked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) findings: Vec<Finding>,
    /// How well its digests are vouched for now, and by what; nothing where that could not be asked, or they are gone.
    pub(crate) trust: Option<(Trust, &'static str)>,
    /// An attestation is there that cannot be checked on this machine.
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

/// What is not as it was when it was pinned.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "finding", rename_all = "lowercase")]
pub(crate) enum Finding {
    /// It is there, and it is something else.
    Replaced { what: String, pinned: String, found: String },
    /// It is not there any more.
    Deleted { what: String },
    /// It is there, and less vouches for it than did, or than `stack.toml` asks for.
    Weaker { what: String, wanted: Trust, found: Trust },
    /// It is there, and who published it advises against it.
    Withdrawn { what: String, reason: String },
}

impl Finding {
    /// What became of a pinned file, whose digest is another one now, or that is not there.
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

    /// The same of a file that nobody publishes a digest of: it is downloaded.
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
            Self::Weaker { what, wanted, found } => write!(f, "weaker: {what} is {found}, {wanted} is wanted"),
            Self::Withdrawn { what, reason } => write!(f, "withdrawn: {what}: {reason}"),
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

/// What became of what is pinned, as far as metadata tell: nothing is downloaded for it.
pub(crate) async fn standing(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Vec<Finding>> {
    match (up.lock.components.get(name), &up.stack.component(name)?.source) {
        // A pin that is not sound is told by who reads the lock, and names nothing that could be asked for.
        (Some(pin), Source::Github { .. }) if pin.check(name, up.stack).is_ok() => {
            Ok(github::verify(up, name, pin, github::Depth::Metadata).await?.findings)
        }
        _ => Ok(candidate.findings.clone()),
    }
}

/// Who moves when `name` moves: itself, or the component from whose release it always comes.
pub(crate) fn leader<'a>(stack: &'a Stack, name: &'a str) -> &'a str {
    match stack.components.get(name).map(|component| &component.source) {
        Some(Source::Github { same_release_as: Some(leader), .. }) => leader,
        _ => name,
    }
}

/// Why something that was first seen a while ago, or just now, has to wait. What waits is noted in `seen`.
pub(crate) fn first_seen(
    up: Upstream<'_>,
    name: &str,
    component: &Component,
    what: &str,
    seen: &mut BTreeMap<String, Published>,
) -> Option<String> {
    let known = up.lock.components.get(name).and_then(|pin| pin.seen.get(what)).cloned();
    let since = known.or_else(|| Published::at(up.clock.now))?;
    let reason = up.clock.too_new_here(component, since.moment())?;
    if seen.len() < MOST_SEEN {
        seen.insert(what.to_owned(), since);
    }
    Some(reason)
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

/// The same for a version that was named on purpose: `1.3.0` for `1.3.0-rc.1`, because a prerelease meets no plain
/// requirement, and is not to be refused for being one.
pub(crate) fn not_allowed_asked(stack: &Stack, name: &str, component: &Component, version: &Version) -> Option<String> {
    let number = version.as_str().split('-').next().filter(|_| version.is_prerelease());
    let plain = number.and_then(|number| component.scheme.parse(number).ok());
    not_allowed(stack, name, component, plain.as_ref().unwrap_or(version))
}

/// Why a version of `name` does not go with what is pinned of `other`, by the range that it states itself; and what
/// would let it.
pub(crate) fn does_not_go_with(up: Upstream<'_>, name: &str, other: &str, range: &str) -> Option<String> {
    let (pin, component) = (up.lock.components.get(other)?, up.stack.components.get(other)?);
    let pinned = pin.parsed_version(component.scheme).ok()?;
    let range = http::shown(range, 80);
    match Range::parse(&range) {
        Some(read) if read.contains(&pinned) => None,
        Some(_) => {
            let required = component.require.as_ref().map(|require| format!("stack.toml requires {require} of it"));
            Some(if up.settled.iter().any(|settled| settled == other) {
                let held = required.unwrap_or_else(|| "its own lines say why".to_owned());
                format!("asks for `{other}` {range}, and {pinned} is the newest that can be taken: {held}")
            } else {
                let required = required.map(|required| format!("{required}, and ")).unwrap_or_default();
                format!(
                    "asks for `{other}` {range}, and {pinned} is pinned: {required}bump `{name}` and `{other}` together"
                )
            })
        }
        None => Some(format!("asks for `{other}` {range}, which is not a range that can be read")),
    }
}

/// Whether a pin is newer than the candidate: somebody took it with `--to` (a prerelease, a young release), and
/// a bump of everything is not to undo that. A version that the stack does not allow any more is not ahead.
pub(crate) fn is_ahead(stack: &Stack, name: &str, pin: &Pin, candidate: &Candidate) -> bool {
    let Some(component) = stack.components.get(name) else { return false };
    let Ok(pinned) = pin.parsed_version(component.scheme) else { return false };
    let newer = match component.scheme {
        // Its text tells no more than the day.
        Scheme::Precompiled => {
            pin.published.as_ref().map(Published::moment) > candidate.published.as_ref().map(Published::moment)
        }
        Scheme::Semver | Scheme::Dotted | Scheme::Calver | Scheme::Build | Scheme::Snapshot => {
            pinned > candidate.version
        }
        // A branch or an image's tag is where it is.
        Scheme::Commit | Scheme::Tag => false,
    };
    // A prerelease meets no plain requirement, whoever took it.
    newer && (pinned.is_prerelease() || not_allowed(stack, name, component, &pinned).is_none())
}
