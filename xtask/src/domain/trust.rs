//! How a digest was verified.

use std::fmt;

use serde::{Deserialize, Serialize};

/// In rising order. A level states what was checked, not what could have been.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trust {
    /// Computed here from a download.
    Computed,
    /// Stated by an API, or by a list of checksums next to the file.
    Stated,
    /// Signed by a known key.
    Signed,
    /// Built by a workflow of the repository in `stack.toml`, as a public log proves (Sigstore).
    Attested,
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Computed => "computed",
            Self::Stated => "stated",
            Self::Signed => "signed",
            Self::Attested => "attested",
        })
    }
}
