//! Building, running and pushing images with Docker, skopeo and cosign; running them with Podman.

pub(crate) mod build;
pub(crate) mod compose;
pub(crate) mod container;
pub(crate) mod contents;
pub(crate) mod cosign;
pub(crate) mod difference;
pub(crate) mod docker;
pub(crate) mod layout;
pub(crate) mod loaded;
pub(crate) mod podman;
pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod registry;
