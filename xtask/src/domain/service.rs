//! The services of the image: one table drives ports, supervision, health checks and documents.

use serde::{Deserialize, Serialize};

/// One service, as `stack.toml` describes it and as templates see it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Where it answers, for each port that it publishes.
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
}

/// A port and the question that tells whether somebody answers there.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Endpoint {
    pub(crate) port: u16,
    pub(crate) path: String,
    /// Status codes that mean "up": some services answer 401 or 404 when they are well.
    pub(crate) accept: Vec<u16>,
}
