//! Images in an engine: existing ones, or ones that are loaded from a layout for this run.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::docker::Docker;
use super::layout::{BUILT_BY, INDEX};
use crate::io::process;

/// The annotations with an image's name in a layout's index, of containerd and of OCI.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image, by its name in the engine.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: String,
    /// Set for a loaded image, which is removed when this is dropped.
    docker: Option<Docker>,
}

impl Loaded {
    /// An existing image.
    pub(crate) fn named(name: String) -> Self {
        Self { name, docker: None }
    }

    /// An image that is removed when this is dropped.
    pub(crate) fn ours(docker: &Docker, name: String) -> Self {
        Self { name, docker: Some(docker.clone()) }
    }

    /// Loads the image of a layout under a unique name.
    pub(crate) async fn from_layout(docker: &Docker, layout: &Path) -> anyhow::Result<Self> {
        let tag = format!("run-{:016x}", fastrand::u64(..));
        let name = format!("localhost/mission-control:{tag}");
        let named = TempDir::with_prefix("xtask-index-")?;
        fs_err::write(named.path().join(INDEX), renamed(&fs_err::read_to_string(layout.join(INDEX))?, &name, &tag)?)?;
        let loaded = Self::ours(docker, name);
        let mut tar = process::command("tar");
        tar.arg("--create").arg("--directory").arg(layout);
        tar.args([INDEX, BUILT_BY].map(|name| format!("--exclude=./{name}"))).arg(".");
        tar.arg("--directory").arg(named.path()).arg(INDEX).stdout(Stdio::piped());
        let mut tar = process::spawn(&mut tar)?;
        let stream: Stdio = tar.take_stdout().context("tar has no output")?.try_into()?;
        process::output(docker.command().arg("load").stdin(stream))
            .await
            .with_context(|| format!("cannot load {}", layout.display()))?;
        let status = tar.wait().await?;
        ensure!(status.success(), "tar failed with {status}");
        Ok(loaded)
    }

    /// Pulls an image, which is removed when this is dropped.
    pub(crate) async fn pulled(docker: &Docker, name: String) -> anyhow::Result<Self> {
        let pulled = process::output(docker.command().args(["pull", "--quiet", &name])).await;
        pulled.with_context(|| format!("cannot pull {name}"))?;
        Ok(Self::ours(docker, name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The index of a layout with another name for its image.
fn renamed(index: &str, name: &str, tag: &str) -> anyhow::Result<String> {
    let mut index: Value = serde_json::from_str(index).context("the layout's index is not JSON")?;
    for manifest in index["manifests"].as_array_mut().context("the layout's index names no image")? {
        for (key, value) in NAMES.into_iter().zip([name, tag]) {
            manifest["annotations"][key] = value.into();
        }
    }
    Ok(index.to_string())
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Some(docker) = &self.docker {
            let mut command = docker.command();
            // Errors cannot be reported here; `docker image ls` shows what remains.
            let _ = process::clean_up(command.args(["image", "rm", &self.name]).as_std_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_in_an_index_is_replaced() {
        let index = r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:1","size":2,"annotations":{
            "io.containerd.image.name":"localhost/x:1","org.opencontainers.image.ref.name":"1","other":"kept"}}]}"#;
        let renamed: Value = serde_json::from_str(&renamed(index, "localhost/y:2", "2").unwrap()).unwrap();
        let manifest = &renamed["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], "localhost/y:2");
        assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "2");
        assert_eq!((&manifest["annotations"]["other"], &manifest["size"]), (&"kept".into(), &2.into()));
    }
}
