//! A running container of an image, as its users run it: no root, no capabilities, a read-only root.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};

use super::docker::Docker;
use crate::io::process;

/// Loads the image of a layout into the engine, under the name that stands in the layout's index.
pub(crate) async fn load(docker: &Docker, layout: &Path) -> anyhow::Result<()> {
    let mut tar = process::command("tar");
    tar.arg("--create").arg("--directory").arg(layout).arg(".").stdout(Stdio::piped());
    let mut tar = tar.spawn().context("cannot run tar")?;
    let stream: Stdio = tar.stdout.take().context("tar has no output")?.try_into()?;
    process::output(docker.command().arg("load").stdin(stream))
        .await
        .with_context(|| format!("cannot load {}", layout.display()))?;
    let status = tar.wait().await?;
    if !status.success() {
        bail!("tar failed with {status}");
    }
    Ok(())
}

/// A container and its volume; both are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    docker: Docker,
    id: String,
    volume: Volume,
}

/// A named volume that ends with us.
#[derive(Debug)]
struct Volume {
    docker: Docker,
    name: String,
}

/// How a container is started beyond what is always so.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) environment: BTreeMap<String, String>,
    /// Container ports that are published on free ports of the loopback.
    pub(crate) ports: Vec<u16>,
}

impl Container {
    pub(crate) async fn start(docker: &Docker, image: &str, options: &Options) -> anyhow::Result<Self> {
        let volume = process::text(docker.command().args(["volume", "create"])).await?;
        let volume = Volume { docker: docker.clone(), name: volume };
        let mut command = docker.command();
        command.args(["run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]).args([
            "--security-opt",
            "no-new-privileges",
            "--volume",
            &format!("{}:/data", volume.name),
        ]);
        for port in &options.ports {
            command.args(["--publish", &format!("127.0.0.1::{port}")]);
        }
        for (name, value) in &options.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        let id = process::text(command.arg(image)).await.with_context(|| format!("cannot start {image}"))?;
        Ok(Self { docker: docker.clone(), id, volume })
    }

    /// Where a published port of the container is to be reached.
    pub(crate) async fn address(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let told = process::text(self.docker.command().args(["port", &self.id, &port.to_string()])).await?;
        let first = told.lines().next().unwrap_or_default();
        first.parse().with_context(|| format!("docker tells no address of port {port}: {told}"))
    }

    /// `starting`, `healthy` or `unhealthy`; `exited` and the like when it no longer runs.
    pub(crate) async fn health(&self) -> anyhow::Result<String> {
        let format = "{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}";
        process::text(self.docker.command().args(["inspect", "--format", format, &self.id])).await
    }

    /// Runs a command inside and gives what it printed.
    pub(crate) async fn exec(&self, words: &[&str]) -> anyhow::Result<String> {
        process::text(self.docker.command().args(["exec", &self.id]).args(words)).await
    }

    /// All that the container has said.
    pub(crate) async fn logs(&self) -> anyhow::Result<String> {
        let output = process::output(self.docker.command().args(["logs", &self.id])).await?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// Stops it as `docker stop` does and gives its exit code.
    pub(crate) async fn stop(&self) -> anyhow::Result<i32> {
        process::text(self.docker.command().args(["stop", "--time", "30", &self.id])).await?;
        let format = "{{.State.ExitCode}}";
        let code = process::text(self.docker.command().args(["inspect", "--format", format, &self.id])).await?;
        code.parse().context("docker tells no exit code")
    }

    pub(crate) async fn start_again(&self) -> anyhow::Result<()> {
        process::text(self.docker.command().args(["start", &self.id])).await?;
        Ok(())
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn volume(&self) -> &str {
        &self.volume.name
    }
}

/// Cleaning up must also happen when a future is dropped, where nothing can be awaited: so it blocks.
fn remove(docker: &Docker, words: &[&str]) {
    let mut command = docker.command();
    let command = command.as_std_mut();
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    // There is nobody left to tell; `docker ps` shows what could not be removed.
    let _ = command.status();
}

impl Drop for Container {
    fn drop(&mut self) {
        remove(&self.docker, &["rm", "--force", &self.id]);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        remove(&self.docker, &["volume", "rm", "--force", &self.name]);
    }
}
