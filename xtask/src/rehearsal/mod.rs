//! The whole release, offline: an embedded upstream, a private engine and registry, a scratch checkout.
//!
//! The tool, the engine, Debian's packages, Node.js, Bun and every npm package are real. All else is a stand-in of
//! `xtask/standins`, with the real names, archive layouts, flags and endpoints.

pub(crate) mod artifacts;
pub(crate) mod base;
pub(crate) mod checkout;
pub(crate) mod install;
mod network;
pub(crate) mod provision;
pub(crate) mod repositories;
pub(crate) mod scratch;
pub(crate) mod server;
pub(crate) mod upstream;
