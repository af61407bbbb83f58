//! The source policy that a build runs under: what the lock pins may be fetched, everything else is denied,
//! and mirrors stand in for upstreams without a change to the Dockerfile.
//!
//! Format: BuildKit's `sourcepolicy` (`EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`). Of the rules that match, the
//! last ALLOW or DENY wins, and what a CONVERT leads to must be allowed itself.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::lock::{Lock, Pinned};
use crate::domain::mirror::Mirrors;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Policy {
    version: u32,
    rules: Vec<Rule>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Rule {
    action: Action,
    selector: Selector,
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<Updates>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    Allow,
    Deny,
    Convert,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Selector {
    identifier: String,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Updates {
    identifier: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: BTreeMap<String, String>,
}

/// A source as BuildKit names it, with what it needs beside the name.
struct Source {
    identifier: String,
    attrs: BTreeMap<String, String>,
}

impl Source {
    fn plain(identifier: String) -> Self {
        Self { identifier, attrs: BTreeMap::new() }
    }

    /// A commit of a repository: the identifier drops the scheme, the attribute keeps the whole address.
    fn git(repository: &str, commit: &str) -> Self {
        let place = repository.split_once("://").map_or(repository, |(_, place)| place);
        let attrs = BTreeMap::from([("git.fullurl".to_owned(), repository.to_owned())]);
        Self { identifier: format!("git://{place}#{commit}"), attrs }
    }
}

/// Makes the policy of a lock.
pub(crate) fn policy(lock: &Lock, mirrors: &Mirrors) -> Policy {
    let mut rules = vec![rule(Action::Deny, "*".to_owned()), rule(Action::Allow, "local://*".to_owned())];
    for pin in lock.components.values() {
        match &pin.pinned {
            Pinned::Files(files) => files.values().for_each(|file| allow_url(&mut rules, mirrors, file.url.as_str())),
            Pinned::Packages(lists) => {
                lists.values().flatten().for_each(|package| allow_url(&mut rules, mirrors, package.url.as_str()));
            }
            Pinned::Git(git) => {
                let source = |repository: &str| Source::git(repository, git.commit.as_str());
                let repository = git.repository.as_str();
                allow(&mut rules, source(repository), source(&mirrors.rewrite(repository)));
            }
            Pinned::Image(image) => {
                let source =
                    |name: &str| Source::plain(format!("docker-image://{name}:{}@{}", pin.version, image.digest));
                allow(&mut rules, source(&image.name), source(&mirrors.rewrite(&image.name)));
            }
            // npm's own client fetches these, inside a build step, and checks them by its lockfile.
            Pinned::Npm(_) => {}
        }
    }
    Policy { version: 1, rules }
}

fn rule(action: Action, identifier: String) -> Rule {
    Rule { action, selector: Selector { identifier }, updates: None }
}

fn allow_url(rules: &mut Vec<Rule>, mirrors: &Mirrors, url: &str) {
    allow(rules, Source::plain(url.to_owned()), Source::plain(mirrors.rewrite(url)));
}

/// Allows a pinned source, or converts it to where its mirror has it and allows that.
fn allow(rules: &mut Vec<Rule>, pinned: Source, fetched: Source) {
    if pinned.identifier != fetched.identifier {
        rules.push(Rule {
            action: Action::Convert,
            selector: Selector { identifier: pinned.identifier.clone() },
            updates: Some(Updates { identifier: fetched.identifier.clone(), attrs: fetched.attrs }),
        });
        rules.push(rule(Action::Allow, fetched.identifier));
    }
    rules.push(rule(Action::Allow, pinned.identifier));
}
