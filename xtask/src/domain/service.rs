//! The services of the image: one table drives ports, supervision, health checks and documents.

use serde::{Deserialize, Serialize};

/// One service, as `stack.toml` describes it and as templates see it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) title: String,
}
