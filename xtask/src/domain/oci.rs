//! Documents of an image in registries and layouts (OCI image specification).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::arch::Arch;
use super::digest::OciDigest;

pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// skopeo and Podman from about 2024 on add this annotation to an index's entry of an image with zstd layers, unless it
/// is there, and so cannot push such an index with its digest (containers/image, `OCI1InstanceAnnotationCompressionZSTD`).
pub(crate) const HAS_ZSTD: &str = "io.github.containers.compression.zstd";

/// A list of images.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Index {
    pub(crate) fn new(manifests: Vec<Descriptor>, annotations: BTreeMap<String, String>) -> Self {
        Self { schema_version: 2, media_type: INDEX_TYPE.to_owned(), manifests, annotations }
    }
}

/// The type, digest and size of a blob.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: OciDigest,
    /// In bytes.
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// An entry of an index.
    pub(crate) fn new(media_type: &str, digest: OciDigest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl From<Arch> for Platform {
    fn from(arch: Arch) -> Self {
        Self { architecture: arch.oci().to_owned(), os: "linux".to_owned(), variant: None }
    }
}

impl Platform {
    /// `v8` is the only arm64 variant of Debian and Docker; some indexes name it.
    pub(crate) fn is(&self, arch: Arch) -> bool {
        let variant = self.variant.as_deref().is_none_or(|variant| variant == "v8" && arch == Arch::Aarch64);
        self.os == "linux" && self.architecture == arch.oci() && variant
    }
}

/// One image.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
}

/// The part of an image's configuration that is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Configuration {
    #[serde(default)]
    pub(crate) architecture: String,
    pub(crate) created: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) history: Vec<Past>,
    #[serde(default)]
    pub(crate) config: Settings,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Settings {
    #[serde(rename = "Labels", default)]
    pub(crate) labels: BTreeMap<String, String>,
}

/// A step of the build.
#[derive(Debug, Deserialize)]
pub(crate) struct Past {
    #[serde(default)]
    pub(crate) created_by: String,
    #[serde(default)]
    pub(crate) empty_layer: bool,
}
