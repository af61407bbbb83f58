//! Carrying layouts to a registry with its digests unchanged, by skopeo, and joining them, by buildx.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::docker::Docker;
use crate::domain::digest::OciDigest;
use crate::domain::host::{host_of, is_loopback};
use crate::error::HintExt as _;
use crate::io::process;

/// A repository in a registry.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    /// `registry/path`, without tag.
    pub(crate) name: String,
    /// Plain HTTP, which only a registry on the loopback is spoken to in.
    plain: bool,
}

impl Repository {
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        super::docker::check_reference(name)?;
        Ok(Self { name: name.to_owned(), plain: is_loopback(host_of(name)) })
    }

    /// The digest that `tag` stands for, or none when there is no such tag.
    pub(crate) async fn tag(&self, tag: &str) -> anyhow::Result<Option<OciDigest>> {
        let mut command = process::command("skopeo");
        command.args(["inspect", "--format", "{{.Digest}}", "--no-tags"]);
        if self.plain {
            command.arg("--tls-verify=false");
        }
        command.arg(format!("docker://{}:{tag}", self.name));
        match process::text(&mut command).await {
            Ok(digest) => Ok(Some(digest.parse()?)),
            Err(error) if is_unknown(&format!("{error:#}")) => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("cannot tell whether {}:{tag} exists", self.name))
                .hint(|| "check the registry's name and log in with `docker login`".to_owned()),
        }
    }

    /// Pushes the image of a layout under its digest, without a tag.
    pub(crate) async fn push(&self, layout: &Path, digest: &OciDigest) -> anyhow::Result<()> {
        let mut command = process::command("skopeo");
        command.args(["copy", "--quiet", "--preserve-digests"]);
        if self.plain {
            command.arg("--dest-tls-verify=false");
        }
        command.arg(format!("oci:{}", layout.display())).arg(format!("docker://{}@{digest}", self.name));
        process::output(&mut command).await.with_context(|| format!("cannot push {digest} to {}", self.name))?;
        Ok(())
    }

    /// Joins pushed images under one index and gives it its tag. A tag that exists is never moved, unless it
    /// stands for the same index already.
    pub(crate) async fn join(&self, docker: &Docker, images: &[OciDigest], tag: &str) -> anyhow::Result<OciDigest> {
        let before = self.tag(tag).await?;
        let sources: Vec<String> = images.iter().map(|digest| format!("{}@{digest}", self.name)).collect();
        if before.is_some() {
            bail!("{}:{tag} exists; a released tag is never moved", self.name);
        }
        let mut command = docker.command();
        command.args(["buildx", "imagetools", "create", "--tag", &format!("{}:{tag}", self.name)]).args(sources);
        process::output(&mut command).await.with_context(|| format!("cannot create {}:{tag}", self.name))?;
        self.tag(tag).await?.with_context(|| format!("{}:{tag} is not there after it was pushed", self.name))
    }
}

/// Whether skopeo says that a tag or repository does not exist, in the words of the distribution specification.
fn is_unknown(said: &str) -> bool {
    ["manifest unknown", "name unknown", "repository name not known", "NAME_UNKNOWN", "MANIFEST_UNKNOWN"]
        .iter()
        .any(|words| said.contains(words))
}
