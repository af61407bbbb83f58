//! What `bump`, `outdated` and `verify` share: the upstreams of one run, and who is asked about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use super::Session;
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::error::Failures;
use crate::io::http::Http;
use crate::io::{self, files};
use crate::upstream::github::client::Client;
use crate::upstream::{self, PassedOver, Upstream};

/// How many components are resolved at once: enough that nobody waits, far below GitHub's limit of 100
/// concurrent requests.
pub(super) const AT_ONCE: usize = 8;

/// Everything that the upstreams of one run need, in one place.
pub(super) struct Resolver {
    pub(super) stack: Stack,
    pub(super) lock: Lock,
    root: PathBuf,
    http: Http,
    github: Client,
    now: DateTime<Utc>,
}

impl Resolver {
    pub(super) fn new(session: &Session, stack: Stack, lock: Lock) -> anyhow::Result<Self> {
        let http = Http::new(session.mirrors.clone())?;
        let github = Client::from_env(&session.mirrors)?;
        Ok(Self { stack, lock, root: session.root.clone(), http, github, now: Utc::now() })
    }

    pub(super) fn upstream(&self) -> Upstream<'_> {
        Upstream {
            http: &self.http,
            github: &self.github,
            stack: &self.stack,
            lock: &self.lock,
            root: &self.root,
            now: self.now,
        }
    }

    /// Says what the upstreams want people to know, once each.
    pub(super) fn say_warnings(&self) {
        for warning in self.github.warnings() {
            io::say(&warning);
        }
    }
}

/// The components that were asked for: all without a name. Every unknown name is told, not only the first.
pub(super) fn names(stack: &Stack, asked: &[String]) -> anyhow::Result<Vec<String>> {
    let unknown = asked.iter().filter_map(|name| stack.component(name).err()).map(files::unknown_component);
    ended(unknown.collect())?;
    if asked.is_empty() {
        return Ok(stack.components.keys().cloned().collect());
    }
    let mut names = asked.to_vec();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Who moves together: by leader, the leader and the components that come from its release.
pub(super) fn units(stack: &Stack, names: &[String]) -> BTreeMap<String, Vec<String>> {
    let mut units = BTreeMap::new();
    for name in names {
        let leader = upstream::leader(stack, name);
        let followers = stack.followers(leader).map(|(follower, _)| follower.clone());
        units.entry(leader.to_owned()).or_insert_with(|| std::iter::once(leader.to_owned()).chain(followers).collect());
    }
    units
}

/// The end of a command that looked at several components: all that failed, or success.
pub(super) fn ended(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        _ => Err(Failures(failures).into()),
    }
}

/// The releases that were passed over, shortened for a person: prereleases are counted, others told one by
/// one, at most `most` of them.
pub(super) fn shortened(passed_over: &[PassedOver], most: usize) -> Vec<String> {
    let is_prerelease = |passed: &&PassedOver| passed.reason.starts_with("a prerelease");
    let dated = |passed: &PassedOver| match &passed.published {
        Some(published) => format!("{} ({})", passed.version, published.date()),
        None => passed.version.clone(),
    };
    let others: Vec<&PassedOver> = passed_over.iter().filter(|passed| !is_prerelease(passed)).collect();
    let mut lines: Vec<String> =
        others.iter().take(most).map(|passed| format!("{}: {}", dated(passed), passed.reason)).collect();
    if others.len() > most {
        lines.push(format!("{} more, see --format json", others.len() - most));
    }
    let prereleases: Vec<&PassedOver> = passed_over.iter().filter(is_prerelease).collect();
    match prereleases.as_slice() {
        [] => {}
        [only] => lines.push(format!("{}: {}", dated(only), only.reason)),
        [newest, ..] => lines.push(format!("{} prereleases, newest {}", prereleases.len(), dated(newest))),
    }
    lines
}
