//! Repositories in a registry, by skopeo: reads and pushes images with unchanged digests.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::layout::{Blobs, Released};
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::host::{host_of, is_loopback};
use crate::domain::oci::{Configuration, Manifest};
use crate::error::HintExt as _;
use crate::io::process;

#[derive(Debug, Clone)]
pub(crate) struct Repository {
    /// `registry/path`, without tag.
    pub(crate) name: String,
    /// Use plain HTTP, for a registry on the loopback.
    plain: bool,
}

/// The output of `skopeo list-tags`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Repository {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        super::docker::check_reference(name)?;
        Ok(Self { name: name.to_owned(), plain: is_loopback(host_of(name)) })
    }

    /// All tags; none if the repository does not exist.
    pub(crate) async fn tags(&self) -> anyhow::Result<Vec<String>> {
        let listed = self.ask(&["list-tags"], "").await;
        let Some(listed) = listed.with_context(|| format!("cannot list the tags of {}", self.name))? else {
            return Ok(Vec::new());
        };
        let tags: Tags =
            serde_json::from_slice(&listed).context("the output of skopeo list-tags is not as expected")?;
        Ok(tags.tags.unwrap_or_default())
    }

    /// The digest of a tag (`:latest`) or digest (`@sha256:…`); `None` if there is no such image.
    pub(crate) async fn digest(&self, reference: &str) -> anyhow::Result<Option<OciDigest>> {
        Ok(self.raw(reference).await?.map(|manifest| Sha256::of(&manifest).into()))
    }

    /// The bytes of an index or a manifest; `None` if it does not exist.
    pub(crate) async fn raw(&self, reference: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let raw = self.ask(&["inspect", "--raw"], reference).await;
        raw.with_context(|| format!("cannot read {}{reference}", self.name))
    }

    /// The digest of a released image, and what its index says.
    pub(crate) async fn released(&self, reference: &str) -> anyhow::Result<(OciDigest, Released)> {
        let index = self.raw(reference).await?.with_context(|| format!("there is no {}{reference}", self.name))?;
        let released = Released::parse(&index)
            .with_context(|| format!("{}{reference} is not a release of this tool", self.name))?;
        Ok((Sha256::of(&index).into(), released))
    }

    /// The blobs of a released image, for each architecture.
    pub(crate) async fn blobs(&self, reference: &str) -> anyhow::Result<BTreeMap<Arch, Blobs>> {
        let (_, released) = self.released(reference).await?;
        let mut all = BTreeMap::new();
        for (arch, digest) in released.manifests {
            let manifest = self.raw(&format!("@{digest}")).await?;
            let manifest = manifest.with_context(|| format!("{} has no {digest}", self.name))?;
            let manifest: Manifest = serde_json::from_slice(&manifest).context("it is not a manifest of an image")?;
            all.insert(arch, manifest.blobs());
        }
        Ok(all)
    }

    /// The labels of one image.
    pub(crate) async fn labels(&self, image: &OciDigest) -> anyhow::Result<BTreeMap<String, String>> {
        let output = self.ask(&["inspect", "--config"], &format!("@{image}")).await?;
        let output = output.with_context(|| format!("{} has no {image}", self.name))?;
        let configuration: Configuration =
            serde_json::from_slice(&output).context("the output of skopeo inspect is not as expected")?;
        Ok(configuration.config.labels)
    }

    async fn ask(&self, words: &[&str], reference: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let mut command = process::command("skopeo");
        command.args(words);
        if self.plain {
            command.arg("--tls-verify=false");
        }
        let output = process::ended(command.arg(format!("docker://{}{reference}", self.name))).await?;
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        if is_unknown(&stderr) {
            return Ok(None);
        }
        Err(anyhow::anyhow!("skopeo: {}", process::tail(&stderr, 4)))
            .hint(|| "check the name of the registry, or log in with `docker login` or `skopeo login`")
    }

    /// Downloads one image as a layout.
    pub(crate) async fn fetch(&self, image: &OciDigest, layout: &Path) -> anyhow::Result<()> {
        let mut command = process::command("skopeo");
        command.args(["copy", "--quiet", "--preserve-digests"]);
        if self.plain {
            command.arg("--src-tls-verify=false");
        }
        command.arg(format!("docker://{}@{image}", self.name)).arg(format!("oci:{}", layout.display()));
        process::run(&mut command).await.with_context(|| format!("cannot fetch {}@{image}", self.name))
    }

    /// Pushes all images of a layout, under a tag (`:latest`) or their digest (`@sha256:…`).
    pub(crate) async fn push(&self, layout: &Path, reference: &str) -> anyhow::Result<()> {
        let mut command = process::command("skopeo");
        command.args(["copy", "--all", "--quiet", "--preserve-digests"]);
        if self.plain {
            command.arg("--dest-tls-verify=false");
        }
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}{reference}", self.name));
        let output = process::ended(&mut command).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot push {}{reference}: {}", self.name, process::tail(&stderr, 4));
        Ok(())
    }
}

/// Whether skopeo reports that a tag or repository does not exist, in the terms of the distribution specification or its
/// own.
fn is_unknown(stderr: &str) -> bool {
    let unknown = [
        "manifest unknown",
        "name unknown",
        "repository name not known",
        "NAME_UNKNOWN",
        "MANIFEST_UNKNOWN",
        "invalid status code from registry 404",
    ];
    unknown.iter().any(|words| stderr.contains(words))
}
