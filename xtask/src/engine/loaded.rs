//! An image in an engine: one that it has, or one that is loaded from a layout for this run.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::docker::Docker;
use super::layout::{BUILT_BY, INDEX};
use crate::io::process;

/// What names an image in a layout's index: for containerd, and for everybody else.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// An image by the name that the engine knows it by.
#[derive(Debug)]
pub(crate) struct Loaded {
    name: String,
    /// Where it was loaded for us: dropping this removes it there.
    docker: Option<Docker>,
}

impl Loaded {
    /// An image that the engine has, and keeps.
    pub(crate) fn named(name: String) -> Self {
        Self { name, docker: None }
    }

    /// An image that is in the engine for as long as this lives.
    pub(crate) fn ours(docker: &Docker, name: String) -> Self {
        Self { name, docker: Some(docker.clone()) }
    }

    /// Loads the image of a layout, under a name that no other run on the same engine has.
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
        if !status.success() {
            bail!("tar failed with {status}");
        }
        Ok(loaded)
    }

    /// Pulls an image, for as long as this lives.
    pub(crate) async fn pulled(docker: &Docker, name: String) -> anyhow::Result<Self> {
        let pulled = process::output(docker.command().args(["pull", "--quiet", &name])).await;
        pulled.with_context(|| format!("cannot pull {name}"))?;
        Ok(Self::ours(docker, name))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// The index of a layout with another name of its image.
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
            // There is nobody left to tell; `docker image ls` shows what could not be removed.
            let _ = process::clean_up(command.args(["image", "rm", &self.name]).as_std_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_everything_but_the_name() {
        let index = r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:1","size":2,"annotations":{
            "io.containerd.image.name":"localhost/x:1","org.opencontainers.image.ref.name":"1","other":"kept"}}]}"#;
        let renamed: Value = serde_json::from_str(&renamed(index, "localhost/y:2", "2").unwrap()).unwrap();
        let manifest = &renamed["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], "localhost/y:2");
        assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "2");
        assert_eq!((&manifest["annotations"]["other"], &manifest["size"]), (&"kept".into(), &2.into()));
    }
}
