//! The Docker engine of this machine, and whether it can build the image.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::error::{HintExt as _, hinted};
use crate::io::process;

/// Minimum versions: BuildKit's `ADD --checksum`, `COPY --link` and source policies came with Docker 24 and buildx
/// 0.11. Older versions are not tested.
const OLDEST_ENGINE: (u32, u32) = (24, 0);
const OLDEST_BUILDX: (u32, u32) = (0, 11);

/// The docker command line and its engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Docker {
    /// `None`: docker's own settings (`DOCKER_HOST`, contexts) apply.
    private: Option<Private>,
    builder: Builder,
}

/// The builder of buildx.
#[derive(Debug, Clone, Default)]
enum Builder {
    #[default]
    InUse,
    Named(String),
    /// A docker context. buildx lists its engine as a builder, but refuses it by that name.
    Context(String),
}

#[derive(Debug, Clone)]
struct Private {
    host: String,
    /// The client of the same installation.
    program: PathBuf,
    /// buildx's own folder: the user's may select another builder.
    buildx: PathBuf,
}

impl Docker {
    pub(crate) fn private(socket: &Path, program: PathBuf) -> Self {
        let host = format!("unix://{}", socket.display());
        let private = Private { host, program, buildx: socket.with_file_name("buildx") };
        Self { private: Some(private), builder: Builder::InUse }
    }

    /// An engine whose builds run on the builder or docker context of that name.
    pub(crate) async fn with_builder(builder: Option<&str>) -> Self {
        let mut docker = Self::default();
        if let Some(name) = builder {
            let is_context = process::output(docker.command().args(["context", "inspect", name])).await.is_ok();
            docker.builder = if is_context { Builder::Context } else { Builder::Named }(name.to_owned());
        }
        docker
    }

    pub(crate) fn command(&self) -> Command {
        let program = self.private.as_ref().map_or(Path::new("docker"), |private| &private.program);
        let mut command = process::command(program);
        if let Some(Private { host, buildx, .. }) = &self.private {
            command.env("DOCKER_HOST", host).env("BUILDX_CONFIG", buildx);
            command.env_remove("DOCKER_CONTEXT").env_remove("BUILDX_BUILDER");
        }
        command
    }

    /// The command line for builds, which may run on another engine.
    pub(crate) fn building(&self) -> Command {
        let mut command = self.command();
        match &self.builder {
            Builder::InUse => {}
            Builder::Named(name) => drop(command.env("BUILDX_BUILDER", name)),
            Builder::Context(name) => drop(command.env("DOCKER_CONTEXT", name).env_remove("DOCKER_HOST")),
        }
        command
    }

    /// Checks that this engine can build the image; the error names what is missing or too old.
    pub(crate) async fn check(&self) -> anyhow::Result<Versions> {
        let engine = process::text(self.building().args(["version", "--format", "{{.Server.Version}}"]))
            .await
            .context(NoEngine)
            .hint(|| {
                "install Docker and start it, or let `cargo xtask rehearse --provision` run a private one \
                 (Debian or Ubuntu, as root)"
            })?;
        let buildx = process::text(self.command().args(["buildx", "version"]))
            .await
            .context("docker has no buildx")
            .hint(|| "install the buildx plugin (Debian and Ubuntu: apt-get install docker-buildx)")?;
        let buildx = buildx.split_whitespace().nth(1).unwrap_or_default().to_owned();
        for (what, found, oldest) in [("engine", &engine, OLDEST_ENGINE), ("buildx", &buildx, OLDEST_BUILDX)] {
            if major_minor(found).is_none_or(|version| version < oldest) {
                let (major, minor) = oldest;
                let old = anyhow::anyhow!("Docker's {what} is {found}, which is older than {major}.{minor}");
                return Err(hinted(old, format!("install {major}.{minor} or newer")));
            }
        }
        // With the `docker` driver, only the containerd image store exports OCI layouts; a `docker-container` builder
        // always does.
        let builder = self.inspect().await?;
        let driver = values(&builder, &["Driver"]).join(" ");
        let status = process::text(self.building().args(["info", "--format", "{{json .DriverStatus}}"])).await?;
        if driver == "docker" && !status.contains("io.containerd.snapshotter") {
            return Err(hinted(
                anyhow::anyhow!("this Docker engine cannot export an OCI layout: its containerd image store is off"),
                r#"put {"features":{"containerd-snapshotter":true}} into /etc/docker/daemon.json and restart Docker"#,
            ));
        }
        Ok(Versions { engine, buildx })
    }

    /// Describes the builder in one line, which is stored beside the image.
    pub(crate) async fn builder(&self) -> anyhow::Result<String> {
        let engine = process::text(self.building().args(["version", "--format", "{{.Server.Version}}"])).await?;
        Ok(described(&self.inspect().await?, &engine))
    }

    async fn inspect(&self) -> anyhow::Result<String> {
        let mut command = self.building();
        command.args(["buildx", "inspect"]);
        let Builder::Named(builder) = &self.builder else { return process::text(&mut command).await };
        // A builder that is not running has no version.
        process::text(command.arg("--bootstrap"))
            .await
            .with_context(|| format!("the builder `{}` does not answer", builder.escape_debug()))
            .hint(|| "docker buildx ls")
    }
}

/// For the engine's own BuildKit the engine's version is more useful than BuildKit's, which distributions omit.
fn described(inspected: &str, engine: &str) -> String {
    let buildkit = values(inspected, &["BuildKit version", "Buildkit", "BuildKit"]).join(" and ");
    let driver = values(inspected, &["Driver"]).join(" ");
    match driver.as_str() {
        "docker" => format!("BuildKit {buildkit} of Docker {engine}"),
        driver => format!("BuildKit {buildkit} ({driver})"),
    }
}

/// Returns the distinct values of the lines with these names.
fn values<'a>(text: &'a str, names: &[&str]) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(':'));
    let mut values: Vec<&str> = lines.filter(|(name, _)| names.contains(name)).map(|(_, value)| value.trim()).collect();
    values.sort_unstable();
    values.dedup();
    values
}

#[derive(Debug, thiserror::Error)]
#[error("no Docker engine answers")]
pub(crate) struct NoEngine;

/// The versions that [`Docker::check`] found.
#[derive(Debug)]
pub(crate) struct Versions {
    pub(crate) engine: String,
    pub(crate) buildx: String,
}

/// Returns the first two numbers of versions such as `28.2.2`, `v0.13.1`, `0.13.1+ds1` or `26.1.5+dfsg1`.
pub(crate) fn major_minor(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()?;
    Some((major, minor))
}

/// Fails unless `text` can be part of an image reference.
pub(crate) fn check_reference(text: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/:".contains(&byte);
    let is_reference = !text.starts_with('-') && text.bytes().all(plain) && text.contains('/');
    ensure!(is_reference, "`{}` is not a registry and repository (as in ghcr.io/owner/name)", text.escape_debug());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_packaging_parse() {
        for (text, version) in [
            ("28.2.2", Some((28, 2))),
            ("26.1.5+dfsg1", Some((26, 1))),
            ("v0.13.1", Some((0, 13))),
            ("0.13.1+ds1-3+b7", Some((0, 13))),
            ("", None),
            ("dev", None),
        ] {
            assert_eq!(major_minor(text), version, "{text}");
        }
    }

    #[test]
    fn a_builder_is_described_in_one_line() {
        let nodes = "Name: x\nDriver:        docker-container\n\nNodes:\nName: a\nBuildKit version: v0.15.2\n\n\
                     Name: b\nBuildkit:  v0.16.0\nPlatforms: linux/amd64\nName: c\nBuildKit version: v0.15.2\n";
        assert_eq!(described(nodes, "28.0.4"), "BuildKit v0.15.2 and v0.16.0 (docker-container)");
        let own = "Driver:        docker\nBuildKit version: v0.0.0+unknown\n";
        assert_eq!(described(own, "26.1.5"), "BuildKit v0.0.0+unknown of Docker 26.1.5");
    }

    #[test]
    fn a_reference_is_neither_an_option_nor_shell_syntax() {
        assert!(check_reference("127.0.0.1:5000/mission-control").is_ok());
        for text in ["", "name", "--all/x", "ghcr.io/Owner/x", "ghcr.io/a b", "ghcr.io/$(id)"] {
            assert!(check_reference(text).is_err(), "{text}");
        }
    }
}
