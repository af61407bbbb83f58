//! Rules between components, checked for a whole lock.

use super::lock::Lock;
use super::stack::{Source, Stack, Waiver};

/// A rule between components that the lock breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) component: String,
    /// The rule's name in `stack.toml`: `needs` or `same-release-as`.
    pub(crate) rule: &'static str,
    pub(crate) message: String,
}

/// The result of checking a lock.
#[derive(Debug)]
pub(crate) struct Verdict<'a> {
    pub(crate) violations: Vec<Violation>,
    /// Waivers that apply: the lock has exactly their versions.
    pub(crate) waived: Vec<&'a Waiver>,
    /// Waivers for other versions, to be deleted from `stack.toml`.
    pub(crate) stale_waivers: Vec<&'a Waiver>,
}

/// Checks every rule between components. Components that the lock does not pin are ignored; [`Lock::check`] reports them.
pub(crate) fn check<'a>(stack: &'a Stack, lock: &Lock) -> Verdict<'a> {
    let mut found = Vec::new();
    for (name, component) in &stack.components {
        found.extend(component.needs.iter().filter_map(|(other, need)| {
            let version = lock.version(stack, other)?;
            (lock.components.contains_key(name) && !version.matches(need)).then(|| Violation {
                component: name.clone(),
                rule: "needs",
                message: format!("`{name}` needs `{other}` {need}, which is pinned at {version}"),
            })
        }));
        if let Source::Github { same_release_as: Some(leader), .. } = &component.source
            && let (Some(mine), Some(theirs)) = (lock.components.get(name), lock.components.get(leader))
            && mine.version != theirs.version
        {
            found.push(Violation {
                component: name.clone(),
                rule: "same-release-as",
                message: format!(
                    "`{name}` {} and `{leader}` {} are of different releases",
                    mine.version, theirs.version
                ),
            });
        }
    }
    let is_pinned =
        |(name, version): (&String, &String)| lock.components.get(name).is_some_and(|pin| pin.version == *version);
    let (waived, stale_waivers): (Vec<_>, Vec<_>) =
        stack.waivers.iter().partition(|waiver| waiver.versions.iter().all(is_pinned));
    let is_waived =
        |it: &Violation| waived.iter().any(|waiver| waiver.component == it.component && waiver.rule == it.rule);
    found.retain(|violation| !is_waived(violation));
    Verdict { violations: found, waived, stale_waivers }
}
