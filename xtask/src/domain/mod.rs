//! Versions, pins, tags and the rules between them. Pure: no network, no clock, no file.

pub(crate) mod age;
pub(crate) mod arch;
pub(crate) mod compare;
pub(crate) mod diff;
pub(crate) mod digest;
pub(crate) mod edit;
pub(crate) mod host;
pub(crate) mod image_tag;
pub(crate) mod lock;
pub(crate) mod mirror;
pub(crate) mod oci;
pub(crate) mod promise;
pub(crate) mod range;
pub(crate) mod rules;
pub(crate) mod sbom;
pub(crate) mod service;
pub(crate) mod setting;
pub(crate) mod size;
pub(crate) mod stack;
pub(crate) mod text;
pub(crate) mod trust;
pub(crate) mod version;
