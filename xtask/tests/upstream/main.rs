//! `bump`, `outdated` and `verify`, run as a program against local servers.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails, helpers included")]

mod archives;
mod attested;
mod bad_input;
#[path = "../common/mod.rs"]
mod common;
mod convex;
mod edit;
mod faults;
mod gates;
mod interrupted;
mod latency;
mod lock;
mod network;
mod npm;
mod odd_listings;
mod pins;
mod sources;
mod store;
mod support;
mod trust;
mod verify;
