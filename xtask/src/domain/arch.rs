//! The two architectures that every image is built for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A target architecture, spelled as the Rust target triples spell it (`x86_64`, `aarch64`).
///
/// Upstreams' spellings in file names are in `stack.toml`; the methods return those of Docker, Debian and npm.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Arch {
    #[serde(rename = "aarch64")]
    Aarch64,
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The architecture that this program runs on.
    pub(crate) fn native() -> Result<Self, Foreign> {
        std::env::consts::ARCH.parse().map_err(|_| Foreign)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The architecture of an OCI platform and of a Debian package (`amd64`, `arm64`).
    pub(crate) fn oci(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// The OCI platform (`linux/amd64`).
    pub(crate) fn platform(self) -> String {
        format!("linux/{}", self.oci())
    }

    /// npm's `--cpu` (`x64`, `arm64`).
    pub(crate) fn npm(self) -> &'static str {
        match self {
            Self::X86_64 => "x64",
            Self::Aarch64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("this machine runs neither of the image's architectures")]
pub(crate) struct Foreign;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown architecture `{0}` (known: x86_64, aarch64; amd64, x64 and arm64 are understood too)")]
pub(crate) struct UnknownArch(String);

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|arch| [arch.as_str(), arch.oci(), arch.npm()].contains(&text));
        found.ok_or_else(|| UnknownArch(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_common_spelling_is_understood() {
        for (spelling, arch) in
            [("x86_64 amd64 x64", Some(Arch::X86_64)), ("aarch64 arm64", Some(Arch::Aarch64)), ("armv7 X86_64", None)]
        {
            for text in spelling.split(' ') {
                assert_eq!(text.parse().ok(), arch, "{text}");
            }
        }
    }
}
