//! OCI image layouts on disk (OCI image specification, "Image Layout").

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;

use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::oci::{Configuration, Descriptor, HAS_ZSTD, INDEX_TYPE, Index, MANIFEST_TYPE, Manifest, Past};
use crate::io::store;

/// The index of a layout.
pub(super) const INDEX: &str = "index.json";
/// A file next to it with the builder, in one line: another `BuildKit` may produce other bytes.
pub(super) const BUILT_BY: &str = "built-by";
const BLOBS: &str = "blobs/sha256";

/// The image in a layout of one architecture.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Of the manifest.
    pub(crate) digest: OciDigest,
    pub(crate) labels: BTreeMap<String, String>,
    /// The compressed size of the configuration and all layers, in bytes.
    pub(crate) size: u64,
    pub(crate) layers: usize,
}

/// A layer and its build step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Compressed, in bytes.
    pub(crate) size: u64,
    /// Ends in `+zstd` or `+gzip` if compressed.
    pub(crate) media_type: String,
    /// From the history: `COPY /out/ / # buildkit`. Base images may have other formats.
    pub(crate) created_by: String,
}

/// The layers of an image, lowest first.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) arch: Arch,
    /// Of the manifest.
    pub(crate) digest: OciDigest,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) all: Vec<Layer>,
}

/// Reads the image of a layout, which must be for `arch`.
pub(crate) fn read(folder: &Path, arch: Arch) -> anyhow::Result<Image> {
    let (descriptor, manifest) = open(folder)?;
    let configuration: Configuration = blob(folder, &manifest.config)?;
    if configuration.architecture != arch.oci() {
        bail!("{} has an image for {} instead of {}", folder.display(), configuration.architecture, arch.oci());
    }
    let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
    let labels = configuration.config.labels;
    Ok(Image { digest: descriptor.digest, labels, size, layers: manifest.layers.len() })
}

/// Joins the images of several layouts under one index with annotations, in the layout `output`, which is replaced. The
/// result is reproducible. Returns the digest of the index.
pub(crate) fn merge(
    layouts: &[(Arch, PathBuf)],
    annotations: BTreeMap<String, String>,
    output: &Path,
) -> anyhow::Result<OciDigest> {
    let parent = output.parent().context("the output folder has no parent")?;
    fs_err::create_dir_all(parent)?;
    let staging = tempfile::TempDir::with_prefix_in(".merging-", parent)?;
    fs_err::create_dir_all(staging.path().join(BLOBS))?;
    let mut manifests = Vec::new();
    for (arch, folder) in layouts {
        let (descriptor, manifest) = open(folder)?;
        let size = fs_err::metadata(file(folder, &descriptor.digest))?.len();
        for part in blobs_of(&descriptor, &manifest) {
            carry(&part.digest, folder, staging.path())?;
        }
        let has_zstd = manifest.layers.iter().any(|layer| layer.media_type.ends_with("+zstd"));
        let annotations = has_zstd.then(|| (HAS_ZSTD.to_owned(), "true".to_owned())).into_iter().collect();
        let entry = Descriptor::new(MANIFEST_TYPE, descriptor.digest, size);
        manifests.push(Descriptor { platform: Some((*arch).into()), annotations, ..entry });
    }
    let index = serde_json::to_vec(&Index::new(manifests, annotations))?;
    let digest = OciDigest::from(Sha256::of(&index));
    fs_err::write(file(staging.path(), &digest), &index)?;
    let named = Descriptor::new(INDEX_TYPE, digest.clone(), index.len() as u64);
    let outer = Index::new(vec![named], BTreeMap::new());
    fs_err::write(staging.path().join(INDEX), serde_json::to_vec(&outer)?)?;
    fs_err::write(staging.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    if output.exists() {
        fs_err::remove_dir_all(output)?;
    }
    fs_err::rename(staging.keep(), output)?;
    Ok(digest)
}

/// Gives a layout that is about to be exported the layers of an earlier one: BuildKit then sends only the others.
pub(super) async fn lend_layers(earlier: &Path, folder: &Path) -> anyhow::Result<()> {
    let Ok((_, manifest)) = open(earlier) else { return Ok(()) };
    fs_err::create_dir_all(folder.join(BLOBS))?;
    for Descriptor { digest, .. } in manifest.layers {
        // A damaged file would stay in all later layouts. Hashing blocks, and only reads: an interruption may leave it
        // running.
        let (blob, sha256) = (file(earlier, &digest), digest.hex().to_owned());
        if tokio::task::spawn_blocking(move || store::is_undamaged(&blob, &sha256)).await? {
            carry(&digest, earlier, folder)?;
        }
    }
    Ok(())
}

/// Deletes the blobs that are not of the layout's image.
pub(super) fn prune(folder: &Path) -> anyhow::Result<()> {
    let (descriptor, manifest) = open(folder)?;
    let image: BTreeSet<&str> = blobs_of(&descriptor, &manifest).map(|part| part.digest.hex()).collect();
    for blob in fs_err::read_dir(folder.join(BLOBS))? {
        let blob = blob?;
        if !blob.file_name().to_str().is_some_and(|name| image.contains(name)) {
            fs_err::remove_file(blob.path())?;
        }
    }
    Ok(())
}

/// Whether a copied layer has another compression than the one requested: BuildKit exports cached layers as they are.
pub(crate) fn has_other_compression(folder: &Path) -> anyhow::Result<bool> {
    let mut copied = layers(folder)?.all.into_iter().filter(|layer| layer.created_by.starts_with("COPY "));
    Ok(copied.any(|layer| !layer.media_type.ends_with("+zstd")))
}

/// The contents of a released index.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) version: String,
    pub(crate) revision: String,
    pub(crate) manifests: BTreeMap<Arch, OciDigest>,
}

impl Released {
    pub(crate) fn parse(index: &[u8]) -> anyhow::Result<Self> {
        let Index { manifests, mut annotations, .. } = serde_json::from_slice(index)?;
        let mut annotation = |name: &str| {
            let name = format!("org.opencontainers.image.{name}");
            annotations.remove(&name).with_context(|| format!("it has no annotation {name}"))
        };
        let entry = |entry: Descriptor| {
            let platform = entry.platform.context("it has an image without a platform")?;
            Ok((platform.architecture.parse()?, entry.digest))
        };
        Ok(Self {
            version: annotation("version")?,
            revision: annotation("revision")?,
            manifests: manifests.into_iter().map(entry).collect::<anyhow::Result<_>>()?,
        })
    }
}

/// All that an image consists of: its manifest, its configuration and its layers.
fn blobs_of<'a>(descriptor: &'a Descriptor, manifest: &'a Manifest) -> impl Iterator<Item = &'a Descriptor> {
    [descriptor, &manifest.config].into_iter().chain(&manifest.layers)
}

/// The file of a blob in a layout.
fn file(folder: &Path, digest: &OciDigest) -> PathBuf {
    folder.join(BLOBS).join(digest.hex())
}

/// Hard-links or copies a blob between layouts, unless it exists: images share layers.
fn carry(digest: &OciDigest, from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (file(from, digest), file(to, digest));
    if !to.exists() && fs_err::hard_link(&from, &to).is_err() {
        fs_err::copy(from, to)?;
    }
    Ok(())
}

/// Reads the layers of a layout's image and their build steps.
pub(crate) fn layers(folder: &Path) -> anyhow::Result<Layers> {
    let (descriptor, manifest) = open(folder)?;
    let configuration: Configuration = blob(folder, &manifest.config)?;
    let made: Vec<Past> = configuration.history.into_iter().filter(|past| !past.empty_layer).collect();
    if made.len() != manifest.layers.len() {
        bail!("{} has {} layers and a history of {}", folder.display(), manifest.layers.len(), made.len());
    }
    let layer = |(layer, past): (Descriptor, Past)| Layer {
        size: layer.size,
        media_type: layer.media_type,
        created_by: past.created_by,
    };
    let all = manifest.layers.into_iter().zip(made).map(layer).collect();
    let arch = configuration.architecture.parse()?;
    Ok(Layers { arch, digest: descriptor.digest, labels: configuration.config.labels, all })
}

/// The configuration and the layers of an image, which a pull downloads, with their sizes in bytes.
pub(crate) type Blobs = BTreeMap<OciDigest, u64>;

/// The blobs of the images in a folder with a layout for each architecture.
pub(crate) fn blobs(layouts: &Path) -> anyhow::Result<BTreeMap<Arch, Blobs>> {
    let folders = Arch::ALL.map(|arch| (arch, layouts.join(arch.as_str())));
    let there = folders.into_iter().filter(|(_, folder)| folder.join(INDEX).is_file());
    there.map(|(arch, folder)| Ok((arch, open(&folder)?.1.blobs()))).collect()
}

impl Manifest {
    pub(super) fn blobs(self) -> Blobs {
        self.layers.into_iter().chain([self.config]).map(|blob| (blob.digest, blob.size)).collect()
    }
}

pub(super) struct Parts {
    pub(super) digest: OciDigest,
    pub(super) configuration: serde_json::Value,
    /// Digest and file of each layer, lowest first.
    pub(super) layers: Vec<(OciDigest, PathBuf)>,
}

pub(super) fn parts(folder: &Path) -> anyhow::Result<Parts> {
    let (descriptor, manifest) = open(folder)?;
    let configuration = blob(folder, &manifest.config)?;
    let layer = |Descriptor { digest, .. }| (digest.clone(), file(folder, &digest));
    Ok(Parts { digest: descriptor.digest, configuration, layers: manifest.layers.into_iter().map(layer).collect() })
}

/// The builder of a layout's image, if known.
pub(crate) fn builder(folder: &Path) -> Option<String> {
    let noted = fs_err::read_to_string(folder.join(BUILT_BY)).ok()?;
    let line = noted.lines().next()?;
    (!line.is_empty()).then(|| line.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').collect())
}

fn open(folder: &Path) -> anyhow::Result<(Descriptor, Manifest)> {
    let text = fs_err::read_to_string(folder.join(INDEX))?;
    let index: Index =
        serde_json::from_str(&text).with_context(|| format!("{} is not an OCI layout", folder.display()))?;
    let [descriptor] = index.manifests.as_slice() else {
        bail!("{} has {} images instead of one", folder.display(), index.manifests.len());
    };
    Ok((descriptor.clone(), blob(folder, descriptor)?))
}

/// Reads a JSON blob and verifies its digest.
fn blob<T: DeserializeOwned>(folder: &Path, descriptor: &Descriptor) -> anyhow::Result<T> {
    let path = file(folder, &descriptor.digest);
    let text = fs_err::read_to_string(&path)?;
    let found = OciDigest::from(Sha256::of(text.as_bytes()));
    ensure!(found == descriptor.digest, "{} has the digest {found}: the layout is damaged", path.display());
    serde_json::from_str(&text).with_context(|| format!("{} is not a document of an OCI image", path.display()))
}

/// A layout for tests, of a base layer and a copied one, each with its compression, and a user.
#[cfg(test)]
pub(super) fn of_two_layers(layers: [(&str, &[u8]); 2], user: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir_all(folder.path().join(BLOBS)).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let digest = OciDigest::from(Sha256::of(bytes));
        fs_err::write(file(folder.path(), &digest), bytes).unwrap();
        Descriptor::new(kind, digest, bytes.len() as u64)
    };
    let layers = layers.map(|(kind, bytes)| blob(&format!("application/vnd.oci.image.layer.v1.{kind}"), bytes));
    let history = serde_json::json!([
        { "created_by": "base" }, { "created_by": "ENV A=1", "empty_layer": true },
        { "created_by": "COPY /node/ / # buildkit" },
    ]);
    let configuration = serde_json::json!({ "architecture": "amd64", "history": history, "config": { "User": user } });
    let configuration = blob("configuration", configuration.to_string().as_bytes());
    let manifest = serde_json::json!({ "config": configuration, "layers": layers });
    let index = Index::new(vec![blob(MANIFEST_TYPE, manifest.to_string().as_bytes())], BTreeMap::new());
    fs_err::write(folder.path().join(INDEX), serde_json::to_vec(&index).unwrap()).unwrap();
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout of two layers with these compressions, where the second one is copied.
    fn image(base: &str, copied: &str) -> tempfile::TempDir {
        of_two_layers([(base, base.as_bytes()), (copied, copied.as_bytes())], "1")
    }

    #[test]
    fn only_copied_layers_must_be_compressed_as_asked() {
        let other = |base: &str, copied: &str| has_other_compression(image(base, copied).path()).unwrap();
        assert!(!other("tar+gzip", "tar+zstd"));
        assert!(other("tar+gzip", "tar+gzip"));
        assert!(other("tar+zstd", "tar"));
    }

    #[test]
    fn an_index_says_which_images_have_zstd_layers() {
        let entries = |copied: &str| {
            let (made, output) = (image("tar+gzip", copied), tempfile::tempdir().unwrap());
            let output = output.path().join("merged");
            let digest = merge(&[(Arch::X86_64, made.path().to_owned())], BTreeMap::new(), &output).unwrap();
            let index: Index = serde_json::from_slice(&fs_err::read(file(&output, &digest)).unwrap()).unwrap();
            index.manifests.into_iter().map(|entry| entry.annotations).collect::<Vec<_>>()
        };
        assert_eq!(entries("tar+zstd"), [BTreeMap::from([(HAS_ZSTD.to_owned(), "true".to_owned())])]);
        assert_eq!(entries("tar+gzip"), [BTreeMap::new()]);
    }

    #[tokio::test]
    async fn a_layout_keeps_only_its_own_of_the_layers_that_it_was_lent() {
        let blobs = |folder: &Path| fs_err::read_dir(folder.join(BLOBS)).unwrap().count();
        let (earlier, later) = (image("tar", "tar+gzip"), image("tar", "tar+zstd"));
        lend_layers(earlier.path(), later.path()).await.unwrap();
        assert_eq!(blobs(later.path()), 5);
        let damaged = image("tar", "tar+bzip2");
        let (_, manifest) = open(damaged.path()).unwrap();
        fs_err::write(file(damaged.path(), &manifest.layers[1].digest), "cut").unwrap();
        lend_layers(damaged.path(), later.path()).await.unwrap();
        assert_eq!(blobs(later.path()), 5);
        prune(later.path()).unwrap();
        assert_eq!(blobs(later.path()), 4);
        assert_eq!(layers(later.path()).unwrap().all.len(), 2);
        // Without an earlier layout, nothing is lent.
        let empty = tempfile::tempdir().unwrap();
        lend_layers(&empty.path().join("none"), empty.path()).await.unwrap();
        assert!(!empty.path().join(BLOBS).exists());
    }
}
