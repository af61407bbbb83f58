//! OCI image layouts on disk (OCI image specification, "Image Layout").

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::arch::Arch;
use crate::domain::digest::OciDigest;

/// The file that names the images of a layout.
pub(super) const INDEX: &str = "index.json";

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    digest: OciDigest,
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

/// The part of an image's configuration that tells how it was made.
#[derive(Debug, Deserialize)]
struct Configuration {
    architecture: String,
    #[serde(default)]
    history: Vec<Past>,
    config: Settings,
}

#[derive(Debug, Deserialize)]
struct Settings {
    #[serde(rename = "Labels", default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Past {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

/// A layer, and the step that made it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Compressed, in bytes.
    pub(crate) size: u64,
    /// In BuildKit's words: `COPY /out/ / # buildkit`. What a base image says of its own layers is its affair.
    pub(crate) created_by: String,
}

/// An image by its layers, lowest first.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) arch: Arch,
    /// Of the manifest.
    pub(crate) digest: OciDigest,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) all: Vec<Layer>,
}

/// Reads the one image of a layout and checks that it is for `arch`.
pub(crate) fn read(folder: &Path, arch: Arch) -> anyhow::Result<Image> {
    let (descriptor, manifest) = open(folder)?;
    if let Some(platform) = &descriptor.platform
        && platform.architecture != arch.oci()
    {
        bail!("{} holds an image for {} instead of {}", folder.display(), platform.architecture, arch.oci());
    }
    let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
    Ok(Image { digest: descriptor.digest, size, layers: manifest.layers.len() })
}

/// Reads which layers the one image of a layout has, and what made each.
pub(crate) fn layers(folder: &Path) -> anyhow::Result<Layers> {
    let (descriptor, manifest) = open(folder)?;
    let configuration: Configuration = blob(folder, &manifest.config)?;
    let made: Vec<Past> = configuration.history.into_iter().filter(|past| !past.empty_layer).collect();
    if made.len() != manifest.layers.len() {
        bail!("{} has {} layers and a history of {}", folder.display(), manifest.layers.len(), made.len());
    }
    let layers = manifest.layers.iter().zip(made);
    let all = layers.map(|(layer, past)| Layer { size: layer.size, created_by: past.created_by }).collect();
    let arch = configuration.architecture.parse()?;
    Ok(Layers { arch, digest: descriptor.digest, labels: configuration.config.labels, all })
}

fn open(folder: &Path) -> anyhow::Result<(Descriptor, Manifest)> {
    let text = fs_err::read_to_string(folder.join(INDEX))?;
    let index: Index = serde_json::from_str(&text).with_context(|| format!("{} is no OCI layout", folder.display()))?;
    let [descriptor] = index.manifests.as_slice() else {
        bail!("{} holds {} images instead of one", folder.display(), index.manifests.len());
    };
    Ok((descriptor.clone(), blob(folder, descriptor)?))
}

/// The document that a descriptor names.
fn blob<T: DeserializeOwned>(folder: &Path, descriptor: &Descriptor) -> anyhow::Result<T> {
    let path = folder.join("blobs/sha256").join(descriptor.digest.hex());
    let text = fs_err::read_to_string(&path)?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what an image is made of", path.display()))
}
