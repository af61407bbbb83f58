//! Shared by `bump`, `outdated`, `verify` and `fetch`: the upstreams of one run, and the components.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, Utc};
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::Session;
use crate::domain::age::Clock;
use crate::domain::digest::CommitId;
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::error::ended;
use crate::io;
use crate::io::http::Http;
use crate::io::progress::Waiting;
use crate::upstream::debian::Indexes;
use crate::upstream::github::client::Client;
use crate::upstream::npm::Documents;
use crate::upstream::{self, Candidate, Gate, Notes, PassedOver, Upstream};

/// Concurrently resolved components, far below GitHub's limit of 100 concurrent requests.
pub(super) const AT_ONCE: usize = 8;

/// The upstreams' context of one run.
pub(super) struct Resolver {
    pub(super) stack: Stack,
    pub(super) lock: Lock,
    root: PathBuf,
    http: Http,
    github: Client,
    npm: Documents,
    debian: Indexes,
    pub(super) clock: Clock,
    notes: Notes,
}

impl Resolver {
    pub(super) fn new(session: &Session, stack: Stack, lock: Lock) -> anyhow::Result<Self> {
        let http = Http::new(session.mirrors.clone())?.with(session.memory);
        let github = Client::from_env(&http)?;
        let clock = Clock { now: Utc::now(), waived: false };
        let (npm, debian, notes) = (Documents::default(), Indexes::default(), Notes::default());
        Ok(Self { stack, lock, root: session.root.clone(), http, github, npm, debian, clock, notes })
    }

    pub(super) fn upstream(&self) -> Upstream<'_> {
        Upstream {
            http: &self.http,
            github: &self.github,
            npm: &self.npm,
            debian: &self.debian,
            stack: &self.stack,
            lock: &self.lock,
            settled: &[],
            root: &self.root,
            clock: self.clock,
            notes: &self.notes,
        }
    }

    /// Asks about components concurrently; failures do not affect the others.
    pub(super) async fn each<T>(
        &self,
        names: &[String],
        doing: &str,
        ask: impl AsyncFn(&str) -> anyhow::Result<T>,
    ) -> Vec<anyhow::Result<T>> {
        let waiting = Waiting::new(names);
        let asked = stream::iter(names)
            .map(async |name| {
                let result = ask(name).await;
                waiting.done(name);
                result.with_context(|| format!("failed to {doing} `{name}`"))
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        drop(waiting);
        self.say_warnings();
        asked
    }

    /// Prints the notes and warnings of the upstreams.
    pub(super) fn say_warnings(&self) {
        for warning in self.notes.take().into_iter().chain(self.github.warnings()) {
            io::say(&warning);
        }
    }
}

/// The requested components, by default all. Reports every unknown name.
pub(super) fn names(stack: &Stack, asked: &[String]) -> anyhow::Result<Vec<String>> {
    let unknown = asked.iter().filter_map(|name| stack.component(name).err()).map(Into::into);
    ended(unknown.collect())?;
    Ok(stack.components.keys().filter(|name| asked.is_empty() || asked.contains(name)).cloned().collect())
}

/// Components that share releases, by leader.
pub(super) type Units = BTreeMap<String, Vec<String>>;

/// The units of the components, with all of their members.
pub(super) fn units(stack: &Stack, names: &[String]) -> Units {
    let mut units = BTreeMap::new();
    for name in names {
        let leader = upstream::leader(stack, name);
        let followers = stack.followers(leader).map(|(follower, _)| follower.clone());
        units.entry(leader.to_owned()).or_insert_with(|| std::iter::once(leader.to_owned()).chain(followers).collect());
    }
    units
}

/// The units in the order of resolving: after those whose versions they state requirements on, so that both can change
/// together. Circles come last, and use the current pins.
pub(super) fn waves<'u>(stack: &Stack, units: &'u Units) -> Vec<Vec<(&'u String, &'u Vec<String>)>> {
    let waits_for = |members: &[String], left: &[(&String, &Vec<String>)]| {
        let states = members.iter().filter_map(|name| stack.components.get(name)).flat_map(|one| one.states.keys());
        let mut others = states.filter(|other| !members.contains(other));
        others.any(|other| left.iter().any(|(_, members)| members.contains(other)))
    };
    let mut left: Vec<_> = units.iter().collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let (later, now): (Vec<_>, Vec<_>) = left.iter().partition(|(_, members)| waits_for(members, &left));
        let is_circle = now.is_empty();
        waves.push(if is_circle { later.clone() } else { now });
        left = if is_circle { Vec::new() } else { later };
    }
    waves
}

/// The candidate as passed over, if a `hold` in `stack.toml` applies to one of the members.
pub(super) fn held(up: Upstream<'_>, members: &[String], candidate: &Candidate) -> Option<PassedOver> {
    let today = up.clock.now.date_naive();
    let hold = members.iter().filter_map(|name| up.stack.components.get(name)?.hold.as_ref());
    let hold = hold.filter(|hold| today <= hold.until).max_by_key(|hold| hold.until)?;
    let reason = format!("held until {}: {}", hold.until, hold.reason);
    let (version, published) = (candidate.version.to_string(), candidate.published.clone());
    Some(PassedOver { version, published, gate: Gate::Held, reason })
}

/// The last day of a component's `hold`, if it has expired.
pub(super) fn ended_hold(up: Upstream<'_>, name: &str) -> Option<NaiveDate> {
    let until = up.stack.components.get(name)?.hold.as_ref()?.until;
    (until < up.clock.now.date_naive()).then_some(until)
}

pub(super) fn say_ended_holds(up: Upstream<'_>, names: &[String]) {
    for (name, until) in names.iter().filter_map(|name| Some((name, ended_hold(up, name)?))) {
        io::say(&format!("note: the hold of `{name}` ended on {until}: delete it from stack.toml, or set a later day"));
    }
}

/// A version that was passed over, for JSON.
#[derive(Debug, Serialize)]
pub(super) struct Gated {
    #[serde(flatten)]
    passed_over: PassedOver,
    /// Its age, if upstream has a publication time.
    age_hours: Option<i64>,
}

pub(super) fn gated(passed_over: &[PassedOver], now: DateTime<Utc>) -> Vec<Gated> {
    let age = |passed: &PassedOver| Some((now - passed.published.as_ref()?.moment()).num_hours());
    passed_over.iter().map(|passed| Gated { passed_over: passed.clone(), age_hours: age(passed) }).collect()
}

/// Lines for the releases that were passed over: one for each reason, at most `most`.
pub(super) fn shortened(passed_over: &[PassedOver], most: usize) -> Vec<String> {
    let mut groups: Vec<(&str, Vec<&PassedOver>)> = Vec::new();
    for passed in passed_over {
        // Group all prereleases, whatever other reasons they have.
        let reason = if passed.reason.starts_with(PRERELEASE) { PRERELEASE } else { &passed.reason };
        match groups.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, group)) => group.push(passed),
            None => groups.push((reason, vec![passed])),
        }
    }
    // Prereleases come last.
    groups.sort_by_key(|(reason, _)| *reason == PRERELEASE);
    let mut lines: Vec<String> = groups.iter().take(most).map(|(reason, group)| group_line(reason, group)).collect();
    let left: usize = groups.iter().skip(most).map(|(_, group)| group.len()).sum();
    if left > 0 {
        lines.push(format!("{left} more, see --format json"));
    }
    lines
}

/// A version for messages; commits are abbreviated.
pub(super) fn short_version(version: &str) -> &str {
    if version.parse::<CommitId>().is_ok() { &version[..12] } else { version }
}

const PRERELEASE: &str = "a prerelease";

fn group_line(reason: &str, group: &[&PassedOver]) -> String {
    let dated = |passed: &PassedOver| match &passed.published {
        Some(published) => format!("{} ({})", passed.version, published.date()),
        None => passed.version.clone(),
    };
    match group {
        [] => String::new(),
        [only] => format!("{}: {}", dated(only), only.reason),
        [newest, ..] if reason == PRERELEASE => format!("{} prereleases, newest {}", group.len(), dated(newest)),
        [newest, ..] => format!("{} releases, newest {}: {reason}", group.len(), dated(newest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(version: &str, reason: &str) -> PassedOver {
        PassedOver { version: version.to_owned(), published: None, gate: Gate::Incomplete, reason: reason.to_owned() }
    }

    #[test]
    fn components_are_resolved_after_those_they_depend_on() {
        let text = include_str!("../../../stack.toml");
        let stack = Stack::parse(text).unwrap();
        let units = units(&stack, &["manager", "pnpm", "openclaw", "bun", "node"].map(str::to_owned));
        let leaders = |waves: Vec<Vec<(&String, &Vec<String>)>>| -> Vec<Vec<String>> {
            waves.iter().map(|wave| wave.iter().map(|(leader, _)| (*leader).clone()).collect()).collect()
        };
        let order = leaders(waves(&stack, &units));
        assert_eq!(order, [vec!["bun", "node", "pnpm"], vec!["manager", "openclaw"]]);
        // Circles are resolved, too.
        let circle = text.replacen("[components.bun]", "[components.bun]\nstates = { bun = { engines = \"x\" } }", 1);
        let circle =
            circle.replacen("[components.pnpm]", "[components.pnpm]\nstates = { manager = { engines = \"x\" } }", 1);
        let stack = Stack::parse(&circle).unwrap();
        assert_eq!(leaders(waves(&stack, &units)), [vec!["bun", "node"], vec!["openclaw"], vec!["manager", "pnpm"]]);
    }

    #[test]
    fn releases_are_grouped_by_reason() {
        let passed_over = [
            passed("9", "a prerelease"),
            passed("8", "stack.toml requires =1"),
            passed("7", "has no `a.zip`"),
            passed("6", "a prerelease, has no `a.zip`"),
            passed("5", "stack.toml requires =1"),
        ];
        let expected = ["2 releases, newest 8: stack.toml requires =1", "7: has no `a.zip`", "2 prereleases, newest 9"];
        assert_eq!(shortened(&passed_over, 5), expected);
        assert_eq!(shortened(&passed_over, 1), [expected[0], "3 more, see --format json"]);
        assert_eq!(shortened(&passed_over[3..4], 5), ["6: a prerelease, has no `a.zip`"]);
        assert!(shortened(&[], 5).is_empty());
    }
}
