//! OCI image layouts on disk (OCI image specification, "Image Layout").

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::domain::arch::Arch;
use crate::domain::digest::OciDigest;

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: OciDigest,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// The image that a layout of one architecture holds.
#[derive(Debug)]
pub(crate) struct Image {
    /// Of the manifest.
    pub(crate) digest: OciDigest,
    /// Compressed, all layers, in bytes.
    pub(crate) size: u64,
    pub(crate) layers: usize,
}

/// Reads the one image of a layout and checks that it is for `arch`.
pub(crate) fn read(folder: &Path, arch: Arch) -> anyhow::Result<Image> {
    let read = |name: &Path| fs_err::read_to_string(folder.join(name));
    let index: Index = serde_json::from_str(&read(Path::new("index.json"))?)
        .with_context(|| format!("{} is no OCI layout", folder.display()))?;
    let [descriptor] = index.manifests.as_slice() else {
        bail!("{} holds {} images instead of one", folder.display(), index.manifests.len());
    };
    if let Some(platform) = &descriptor.platform
        && platform.architecture != arch.oci()
    {
        bail!("{} holds an image for {} instead of {}", folder.display(), platform.architecture, arch.oci());
    }
    let blob = Path::new("blobs/sha256").join(descriptor.digest.hex());
    let manifest: Manifest = serde_json::from_str(&read(&blob)?)
        .with_context(|| format!("{} is no image manifest", folder.join(&blob).display()))?;
    let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
    Ok(Image { digest: descriptor.digest.clone(), size, layers: manifest.layers.len() })
}
