//! Versions as upstreams write them. Each component of `stack.toml` has a [`Scheme`]; it is not guessed, because
//! `0.9.04` or `2026.2.2-3` mean something else in another scheme.

mod calver;
mod error;
mod moment;
mod name;
mod number;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{NaiveDate, NaiveDateTime};
use semver::VersionReq;
use serde::{Deserialize, Serialize};

use calver::Calver;
pub(crate) use error::VersionError;
pub(super) use error::printable;
pub(crate) use moment::compact_date;

/// How the versions of a component are parsed and sorted; in `stack.toml` in lower case (`scheme = "calver"`).
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheme {
    /// `1.18.21`, in tags `v1.18.21`, by semver.org. Build metadata (`+…`) is refused: it has no order, and image tags
    /// cannot contain it.
    Semver,
    /// `v0.9.04`: three integers; the `v` and leading zeros are kept, as part of the tag's name
    /// (`OpenCode` Manager). Sorted as integers, then as text.
    Dotted,
    /// `2026.2.2-3`: year, month, sequence number (`OpenClaw`); see [`calver`] for its order.
    Calver,
    /// `b11457`: the commit count of a llama.cpp build.
    Build,
    /// `precompiled-2026-09-11-157eb19`: a day and seven digits of a commit (Convex). A day can have several, which only
    /// their publication times can sort; the order here is day, then text.
    Precompiled,
    /// Forty digits of a git commit. The order has no meaning.
    Commit,
    /// `20261124T000000Z`: the moment of a Debian snapshot.
    Snapshot,
    /// `trixie-slim`: any tag of an OCI image. The order has no meaning.
    Tag,
}

impl Scheme {
    /// Parses a tag or version without the repository's prefix (`bun-`).
    ///
    /// The result has ASCII letters, digits, `.`, `_` and `-` only, so it is safe in paths, URLs, templates and commands.
    pub(crate) fn parse(self, text: &str) -> Result<Version, VersionError> {
        let text_without_v = match self {
            // Both spellings are the same version; the lock has the tag in another field.
            Self::Semver | Self::Calver => text.strip_prefix('v').unwrap_or(text),
            _ => text,
        };
        name::check(text)
            .and_then(|()| match self {
                Self::Semver => number::semver(text_without_v).map(Key::Semver),
                Self::Dotted => number::dotted(text).map(Key::Dotted),
                Self::Calver => calver::parse(text_without_v).map(Key::Calver),
                Self::Build => number::build(text).map(Key::Build),
                Self::Precompiled => moment::precompiled(text).map(Key::Precompiled),
                Self::Commit => name::commit(text).map(|()| Key::Commit),
                Self::Snapshot => moment::snapshot(text).map(Key::Snapshot),
                Self::Tag => name::tag(text).map(|()| Key::Tag),
            })
            .map(|key| Version { key, text: text_without_v.to_owned() })
            .map_err(|reason| VersionError::new(self, text, reason))
    }

    /// Its name in `stack.toml`, and the form of its versions, in words and as an example.
    fn described(self) -> Described {
        let (name, form, example) = match self {
            Self::Semver => ("semver", "MAJOR.MINOR.PATCH with an optional -PRERELEASE", "1.18.21"),
            Self::Dotted => ("dotted", "three integers with dots between them", "v0.9.04"),
            Self::Calver => ("calver", "YYYY.M.PATCH with an optional -N, -beta.N or -alpha.N", "2026.2.2-3"),
            Self::Build => ("build", "`b` and a build number", "b11457"),
            Self::Precompiled => (
                "precompiled",
                "precompiled-YYYY-MM-DD- and seven lower-case hex digits",
                "precompiled-2026-09-11-157eb19",
            ),
            Self::Commit => ("commit", "forty lower-case hex digits", "c56d5d5940b23921b0e817c97477293493da8d70"),
            Self::Snapshot => ("snapshot", "YYYYMMDDTHHMMSSZ", "20261124T000000Z"),
            Self::Tag => ("tag", "1 to 128 of A-Z a-z 0-9 . _ -, not `.` or `-` first", "trixie-slim"),
        };
        Described { name, form, example }
    }
}

/// A scheme in words.
struct Described {
    /// As in `stack.toml`.
    name: &'static str,
    form: &'static str,
    example: &'static str,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.described().name)
    }
}

/// A version, parsed by its [`Scheme`].
///
/// The order is total: by scheme, then by the scheme's rule, then by text (`0.9.04`, `v0.9.04`). Equal versions have the
/// same scheme and text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub(crate) struct Version {
    // Before `text`, because the derived order compares fields from the top.
    #[serde(skip)]
    key: Key,
    text: String,
}

/// The sort key, with variants in the order of [`Scheme`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Semver(semver::Version),
    Dotted([u64; 3]),
    Calver(Calver),
    Build(u64),
    Precompiled(NaiveDate),
    Commit,
    Snapshot(NaiveDateTime),
    Tag,
}

impl Version {
    /// The text without the repository's prefix, and for semver and `CalVer` without `v`.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the text is one of a prerelease (`1.0.0-rc.1`, `2026.2.23-beta.1`). GitHub's flag, which builds of
    /// llama.cpp and fresh Convex releases have, is not known here.
    pub(crate) fn is_prerelease(&self) -> bool {
        match &self.key {
            Key::Semver(version) => !version.pre.is_empty(),
            Key::Calver(version) => version.is_prerelease(),
            _ => false,
        }
    }

    /// Whether it is of `OpenClaw`'s extended-stable line, which is never "latest".
    pub(crate) fn is_extended_stable(&self) -> bool {
        matches!(&self.key, Key::Calver(version) if version.is_extended_stable())
    }

    /// Whether it meets a requirement such as `>=24.16.0, <25.0.0`. Dotted and `CalVer` versions are compared by their
    /// integers (`v0.9.04` meets `>=0.9.4`); a correction counts as the release that it corrects. Versions without three
    /// numbers meet no requirement.
    pub(crate) fn matches(&self, requirement: &VersionReq) -> bool {
        match &self.key {
            Key::Semver(version) => requirement.matches(version),
            Key::Dotted([major, minor, patch]) => requirement.matches(&semver::Version::new(*major, *minor, *patch)),
            Key::Calver(version) => requirement.matches(&version.to_semver()),
            _ => false,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
