//! How well a digest is vouched for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// In rising order. A level is what was really checked, never what could have been.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trust {
    /// Counted here, of what a server gave.
    Computed,
    /// Told by an API or a list of checksums beside the file.
    Stated,
    /// Signed by a key that was known before.
    Signed,
    /// Made by a workflow of the repository that `stack.toml` names, as a public log shows (Sigstore).
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
