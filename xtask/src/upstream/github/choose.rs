//! Decides which release to take.

use std::cmp::Ordering;
use std::sync::Arc;

use super::files::spellings;
use super::release::Release;
use crate::domain::age::Clock;
use crate::domain::stack::{Component, Stack};
use crate::domain::version::{Scheme, Version, VersionError};
use crate::error::{bump_hint, hinted};
use crate::upstream::{Gate, PassedOver, not_allowed, not_allowed_asked};

/// How many complete releases an error suggests.
const SUGGESTED: usize = 3;

/// The rules for the releases of a component.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) name: &'a str,
    pub(crate) component: &'a Component,
    pub(crate) prefix: &'a str,
    pub(crate) clock: Clock,
}

/// A release with a version of the component's scheme, and why it cannot be taken.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) release: Arc<Release>,
    pub(crate) refused: Option<(Gate, String)>,
}

impl Seen {
    fn is_prerelease(&self) -> bool {
        self.release.prerelease || self.version.is_prerelease()
    }
}

impl Rules<'_> {
    /// The version of a tag. `None` for tags that are not versions of this component (`canary`, `linux-stable`,
    /// `testing-precompiled-…`).
    pub(crate) fn version_of(&self, tag: &str) -> Option<Version> {
        self.component.scheme.parse(tag.strip_prefix(self.prefix)?).ok()
    }

    /// Parses a version that may be a whole tag.
    pub(crate) fn parse(&self, text: &str) -> Result<Version, VersionError> {
        self.component.scheme.parse(text.strip_prefix(self.prefix).unwrap_or(text))
    }

    /// Checks a release; `None` if its tag is not a version of this component.
    pub(crate) fn judge(&self, release: &Release) -> Option<Seen> {
        let version = self.version_of(&release.tag_name)?;
        let mut reasons = Vec::new();
        if release.draft {
            reasons.push((Gate::Draft, "a draft".to_owned()));
        } else if release.prerelease || version.is_prerelease() {
            reasons.push((Gate::Prerelease, "a prerelease".to_owned()));
        } else if release.published_at.is_none() {
            reasons.push((Gate::Draft, "not published".to_owned()));
        }
        reasons.extend(not_allowed(self.stack, self.name, &version).map(|reason| (Gate::Constraint, reason)));
        reasons.extend(self.too_fresh(release).map(|reason| (Gate::TooFresh, reason)));
        reasons.extend(self.incomplete(release, &version).map(|missing| (Gate::Incomplete, format!("has {missing}"))));
        let refused = reasons.first().map(|(gate, _)| {
            let texts: Vec<&str> = reasons.iter().map(|(_, reason)| reason.as_str()).collect();
            (*gate, texts.join(", "))
        });
        Some(Seen { version, release: Arc::new(release.clone()), refused })
    }

    /// Why a requested release cannot be taken.
    pub(crate) fn refuse_asked_for(&self, release: &Release, version: &Version) -> Option<(Gate, String)> {
        let tag = &release.tag_name;
        if release.draft {
            return Some((Gate::Draft, format!("{tag} is a draft: its files can still change")));
        }
        if let Some(missing) = self.incomplete(release, version) {
            return Some((Gate::Incomplete, format!("{tag} has {missing}")));
        }
        Some((Gate::Constraint, not_allowed_asked(self.stack, self.name, version)?))
    }

    /// The missing assets of this component and those that share its releases. Files at other addresses are not assets.
    pub(crate) fn incomplete(&self, release: &Release, version: &Version) -> Option<String> {
        let followers = self.stack.followers(self.name).map(|(_, follower)| follower);
        let needed = std::iter::once(self.component).chain(followers).filter_map(|component| {
            let file = component.file.as_ref().filter(|file| file.url.is_none())?;
            Some(spellings(component).map(|(_, arch)| file.file_name(&release.tag_name, version.as_str(), arch)))
        });
        release.missing(needed.flatten())
    }

    /// By GitHub's publication time.
    pub(crate) fn too_fresh(&self, release: &Release) -> Option<String> {
        self.clock.too_fresh(self.component, release.published_at?)
    }

    /// Orders releases by version, or by publication if the scheme has no order within a day.
    pub(crate) fn order(&self, left: &Seen, right: &Seen) -> Ordering {
        let published = |seen: &Seen| (seen.release.published_at, seen.release.created_at);
        match self.component.scheme {
            Scheme::Precompiled | Scheme::Commit | Scheme::Tag => published(left).cmp(&published(right)),
            _ => left.version.cmp(&right.version),
        }
    }

    /// The newest release that can be taken.
    pub(crate) fn best<'s>(&self, seen: &'s [Seen]) -> Option<&'s Seen> {
        seen.iter().filter(|seen| seen.refused.is_none()).max_by(|left, right| self.order(left, right))
    }

    /// The releases that are newer than the chosen one and were not taken, newest first.
    pub(crate) fn passed_over(&self, seen: &[Seen], chosen: &Seen) -> Vec<PassedOver> {
        let newer = seen.iter().filter(|seen| self.order(seen, chosen) == Ordering::Greater);
        let mut newer: Vec<&Seen> = newer.filter(|seen| seen.refused.is_some()).collect();
        newer.sort_by(|left, right| self.order(right, left));
        let passed_over = newer.into_iter().filter_map(|seen| {
            let (gate, reason) = seen.refused.clone()?;
            Some(PassedOver { version: seen.version.to_string(), published: seen.release.published(), gate, reason })
        });
        passed_over.collect()
    }

    /// The releases that `--to` would take, newest first, including prereleases.
    fn complete<'s>(&self, seen: &'s [Seen]) -> Vec<&'s Seen> {
        let mut complete: Vec<&Seen> =
            seen.iter().filter(|seen| self.refuse_asked_for(&seen.release, &seen.version).is_none()).collect();
        complete.sort_by(|left, right| self.order(right, left));
        complete
    }

    /// Whether there are enough releases to suggest.
    pub(crate) fn can_suggest(&self, seen: &[Seen]) -> bool {
        let complete = self.complete(seen);
        complete.len() >= SUGGESTED || complete.iter().any(|seen| !seen.is_prerelease())
    }

    /// Adds the hint which of the newest complete releases to take, if there are some.
    pub(crate) fn suggest(&self, error: anyhow::Error, seen: &[Seen]) -> anyhow::Error {
        match self.suggestion(seen) {
            Some(suggestion) => hinted(error, suggestion),
            None => error,
        }
    }

    fn suggestion(&self, seen: &[Seen]) -> Option<String> {
        let complete = self.complete(seen);
        let stable = complete.iter().position(|seen| !seen.is_prerelease());
        // The newest few, and the newest stable one wherever it is.
        let mut listed: Vec<&Seen> = complete.iter().take(SUGGESTED).copied().collect();
        if let Some(stable) = stable.filter(|stable| *stable >= SUGGESTED) {
            listed.truncate(SUGGESTED - 1);
            listed.push(complete[stable]);
        }
        let version = complete.get(stable.unwrap_or(0))?.version.to_string();
        let describe = |seen: &&Seen| {
            let prerelease = if seen.is_prerelease() { ", prerelease" } else { "" };
            format!("{} ({}{prerelease})", seen.version, seen.release.date())
        };
        let list = listed.iter().map(describe).collect::<Vec<_>>().join(", ");
        let are = if listed.len() == 1 { "release is" } else { "releases are" };
        Some(bump_hint(&format!("newest complete {are} {list}"), self.name, &version))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTING: &str = include_str!("../../../tests/recorded/convex-page-1.json");

    proptest! {
        /// A damaged listing is refused, or checked without a panic; a release taken from it is complete.
        #[test]
        fn a_damaged_listing_is_checked_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,6}"), 1..4),
        ) {
            let mut text = LISTING.to_owned();
            for (at, pasted) in changes {
                let at = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                let end = (at + pasted.len()).min(text.len());
                if text.is_char_boundary(end) {
                    text.replace_range(at..end, &pasted);
                }
            }
            let stack = Stack::parse(include_str!("../../../../stack.toml")).unwrap();
            let component = stack.component("convex").unwrap();
            let clock = Clock { now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(), waived: false };
            let rules = Rules { stack: &stack, name: "convex", component, prefix: "", clock };
            if let Ok(releases) = serde_json::from_str::<Vec<Release>>(&text) {
                let seen: Vec<Seen> = releases.iter().filter_map(|release| rules.judge(release)).collect();
                if let Some(best) = rules.best(&seen) {
                    prop_assert!(rules.incomplete(&best.release, &best.version).is_none());
                    prop_assert!(rules.passed_over(&seen, best).iter().all(|passed| !passed.reason.is_empty()));
                }
                let _ = rules.suggestion(&seen);
            }
        }
    }
}
