//! The tag of a released image. It is composed from a template in `stack.toml`, such as
//! `v{date}-{flavor}-r{revision}-llamacpp-opencode-{opencode}-manager-{manager}`, and parsed into the
//! same parts: `v20260227-llamacpp-opencode-openclaw-r30-llamacpp-opencode-1.2.15-manager-v0.9.04`.

mod part;
mod reading;
pub(crate) mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use serde::Serialize;

pub(crate) use template::ImageTagTemplate;

/// A tag that fits its template and that registries accept: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageTag(String);

impl ImageTag {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The parts of a tag. `components` has the version of each component in the template, as its upstream writes it:
/// `1.2.15` or `v0.9.04`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct TagParts {
    pub(crate) date: NaiveDate,
    pub(crate) flavor: String,
    pub(crate) revision: u32,
    pub(crate) components: BTreeMap<String, String>,
}

/// What is wrong with a template, why parts cannot be composed to a tag, or why a text is not a tag of the template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ImageTagError(String);

/// The next revision: one more than the highest of the flavor's tags of all days, or 1. Other flavors' tags and texts
/// that are not tags of the template do not count.
pub(crate) fn next_revision<'a>(
    template: &ImageTagTemplate,
    existing_tags: impl Iterator<Item = &'a str>,
    flavor: &str,
) -> u32 {
    existing_tags
        .filter_map(|tag| template.parse_tag(tag).ok())
        .filter(|parts| parts.flavor == flavor)
        .map(|parts| parts.revision)
        .max()
        // Cannot overflow: `compose` refuses revisions of more than nine digits.
        .map_or(1, |highest| highest.saturating_add(1))
}
