//! The source policy of a build: it allows the pinned sources only, and converts them to mirrors.
//!
//! Format: BuildKit's `sourcepolicy` (`EXPERIMENTAL_BUILDKIT_SOURCE_POLICY`). The last matching ALLOW or DENY wins, and
//! the result of a CONVERT must be allowed, too.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::lock::{Lock, Pinned};
use crate::domain::mirror::Mirrors;

#[derive(Debug, Serialize)]
pub(crate) struct Policy {
    version: u32,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Rule {
    action: Action,
    selector: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    updates: Option<Source>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Action {
    Allow,
    Deny,
    Convert,
}

/// A source in BuildKit's terms.
#[derive(Debug, Serialize)]
struct Source {
    identifier: String,
    /// Not used to select a source.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: BTreeMap<String, String>,
}

impl Source {
    fn plain(identifier: &str) -> Self {
        Self { identifier: identifier.to_owned(), attrs: BTreeMap::new() }
    }

    /// A commit of a repository: the identifier has no scheme, but an attribute has the full address.
    fn git(repository: &str, commit: &str) -> Self {
        let place = repository.split_once("://").map_or(repository, |(_, place)| place);
        let attrs = BTreeMap::from([("git.fullurl".to_owned(), repository.to_owned())]);
        Self { identifier: format!("git://{place}#{commit}"), attrs }
    }
}

pub(crate) fn policy(lock: &Lock, mirrors: &Mirrors) -> Policy {
    let mut rules = vec![rule(Action::Deny, "*"), rule(Action::Allow, "local://*")];
    // Allows a pinned source, and its conversion to a mirror.
    let mut allow = |address: &str, source: &dyn Fn(&str) -> Source| {
        let (pinned, fetched) = (source(address).identifier, source(&mirrors.rewrite(address)));
        if pinned != fetched.identifier {
            let allowed = rule(Action::Allow, &fetched.identifier);
            rules.push(Rule { updates: Some(fetched), ..rule(Action::Convert, &pinned) });
            rules.push(allowed);
        }
        rules.push(rule(Action::Allow, &pinned));
    };
    for pin in lock.components.values() {
        match &pin.pinned {
            Pinned::Files(files) => files.values().for_each(|file| allow(file.url.as_str(), &Source::plain)),
            Pinned::Packages(lists) => {
                lists.values().flatten().for_each(|package| allow(package.url.as_str(), &Source::plain));
            }
            Pinned::Git(git) => {
                allow(git.repository.as_str(), &|repository| Source::git(repository, git.commit.as_str()));
            }
            Pinned::Image(image) => allow(&image.name, &|name| {
                Source::plain(&format!("docker-image://{name}:{}@{}", pin.version, image.digest))
            }),
            // npm fetches these in a build step, by its lockfile.
            Pinned::Npm(_) => {}
        }
    }
    Policy { version: 1, rules }
}

fn rule(action: Action, identifier: &str) -> Rule {
    Rule { action, selector: Source::plain(identifier), updates: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mirror::Mirror;

    const SHA: &str = "c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4";
    const COMMIT: &str = "c56d5d5940b23921b0e817c97477293493da8d70";

    fn lock() -> Lock {
        Lock::parse(&format!(
            r#"
            schema = 1
            [components.base]
            version = "trixie-slim"
            [components.base.pinned.image]
            name = "docker.io/library/debian"
            digest = "sha256:{SHA}"
            platforms = {{}}
            [components.convex]
            version = "precompiled-2026-09-11-157eb19"
            [components.convex.pinned.files.x86_64]
            url = "https://github.com/a/b.zip"
            sha256 = "{SHA}"
            [components.sources]
            version = "{COMMIT}"
            [components.sources.pinned.git]
            repository = "https://github.com/o/r.git"
            commit = "{COMMIT}"
            "#
        ))
        .unwrap()
    }

    /// BuildKit's decision: the last matching ALLOW or DENY.
    fn allowed(policy: &Policy, identifier: &str) -> bool {
        let matches = |rule: &&Rule| match rule.selector.identifier.strip_suffix('*') {
            Some(prefix) => identifier.starts_with(prefix),
            None => identifier == rule.selector.identifier,
        };
        let decides = |rule: &&Rule| rule.action != Action::Convert;
        policy.rules.iter().filter(matches).rfind(decides).is_some_and(|rule| rule.action == Action::Allow)
    }

    #[test]
    fn only_pinned_sources_are_allowed() {
        let policy = policy(&lock(), &Mirrors::default());
        for pinned in [
            "https://github.com/a/b.zip".to_owned(),
            format!("git://github.com/o/r.git#{COMMIT}"),
            format!("docker-image://docker.io/library/debian:trixie-slim@sha256:{SHA}"),
            "local://context".to_owned(),
        ] {
            assert!(allowed(&policy, &pinned), "{pinned}");
        }
        for other in [
            "https://github.com/a/c.zip",
            "git://github.com/o/r.git#main",
            "docker-image://docker.io/library/debian:trixie-slim",
            "docker-image://docker.io/library/alpine:3",
        ] {
            assert!(!allowed(&policy, other), "{other}");
        }
    }

    #[test]
    fn mirrored_sources_are_converted_and_allowed() {
        let mirrors: Vec<Mirror> = ["https://github.com=http://127.0.0.1:1/g", "docker.io=127.0.0.1:5000"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let policy = policy(&lock(), &Mirrors::new(mirrors));
        let converted: Vec<(&str, &str)> = policy
            .rules
            .iter()
            .filter_map(|rule| Some((&*rule.selector.identifier, &*rule.updates.as_ref()?.identifier)))
            .collect();
        assert!(converted.contains(&("https://github.com/a/b.zip", "http://127.0.0.1:1/g/a/b.zip")));
        let base = format!("debian:trixie-slim@sha256:{SHA}");
        assert!(converted.contains(&(
            &*format!("docker-image://docker.io/library/{base}"),
            &*format!("docker-image://127.0.0.1:5000/library/{base}")
        )));
        assert!(allowed(&policy, "http://127.0.0.1:1/g/a/b.zip"));
        assert!(!allowed(&policy, "http://127.0.0.1:1/g/other.zip"));
    }

    #[test]
    fn a_git_mirror_has_its_full_address_as_attribute() {
        let mirror = "https://github.com/o/r.git=git://127.0.0.1:9418/o/r.git".parse().unwrap();
        let policy = policy(&lock(), &Mirrors::new(vec![mirror]));
        let updates = policy.rules.iter().find_map(|rule| rule.updates.as_ref()).unwrap();
        assert_eq!(updates.identifier, format!("git://127.0.0.1:9418/o/r.git#{COMMIT}"));
        assert_eq!(updates.attrs["git.fullurl"], "git://127.0.0.1:9418/o/r.git");
    }
}
