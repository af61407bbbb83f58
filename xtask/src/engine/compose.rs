//! Starts the rendered compose file on free ports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::docker::Docker;
use super::probe;
use crate::domain::stack::Stack;
use crate::io::{loopback, process};

/// The time limit of `up --wait`, in seconds.
const PATIENCE: &str = "300";

/// A running project; dropping it removes it with its volume.
#[derive(Debug)]
struct Project {
    docker: Docker,
    file: PathBuf,
    /// Has the settings; its name is that of the project.
    folder: TempDir,
}

impl Project {
    fn command(&self, words: &[&str]) -> tokio::process::Command {
        let name = self.folder.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let mut command = self.docker.command();
        command
            .args(["compose", "--project-name", &name, "--file"])
            .arg(&self.file)
            .arg("--env-file")
            .arg(self.folder.path().join("env"))
            .args(words);
        command
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let mut command = self.command(&["down", "--volumes"]);
        // Errors cannot be reported here; `docker compose ls` shows what remains.
        let _ = process::clean_up(command.as_std_mut());
    }
}

/// A free loopback port for each port setting.
pub(crate) fn free_ports(stack: &Stack) -> anyhow::Result<BTreeMap<String, u16>> {
    let ports = loopback::free_ports(stack.endpoints().count())?;
    Ok(stack.endpoints().map(|endpoint| endpoint.setting.clone()).zip(ports).collect())
}

/// Checks that compose accepts each overlay and requires its settings.
async fn check_overlays(project: &Project, stack: &Stack) -> anyhow::Result<()> {
    let config = |overlay: &str, unset: Option<&str>| {
        let mut command = project.command(&["--file"]);
        command.arg(project.file.with_file_name(overlay)).args(["config", "--format", "json"]).env("RENDER_GID", "992");
        command.envs(stack.flavors.iter().flat_map(|flavor| &flavor.needs).map(|name| (name, "given")));
        unset.map(|name| command.env(name, ""));
        command
    };
    for gpu in &stack.gpus {
        let overlay = format!("compose.gpu-{}.yml", gpu.name);
        let output = process::text(&mut config(&overlay, None)).await?;
        for wanted in gpu.devices.iter().map(String::as_str).chain(gpu.cdi.is_some().then_some("\"gpu\"")) {
            ensure!(output.contains(wanted), "{overlay} does not have {wanted}");
        }
    }
    let mut asked = vec![
        ("compose.gpu-amd.yml".to_owned(), "RENDER_GID"),
        ("compose.build.yml".to_owned(), "MISSION_CONTROL_IMAGE"),
    ];
    for flavor in stack.flavors.iter().filter(|flavor| flavor.later.is_none() && !flavor.without.is_empty()) {
        let overlay = format!("compose.{}.yml", flavor.name);
        let configuration: serde_json::Value =
            serde_json::from_str(&process::text(&mut config(&overlay, None)).await?)?;
        let published = configuration["services"]["stack"]["ports"].as_array().map_or(0, Vec::len);
        let wanted = stack.flavored(Some(&flavor.name))?.endpoints().count();
        ensure!(published == wanted, "{overlay} publishes {published} ports instead of {wanted}");
        asked.extend(flavor.needs.iter().map(|name| (overlay.clone(), name.as_str())));
    }
    for (overlay, name) in asked {
        let refused = process::ended(&mut config(&overlay, Some(name))).await?;
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        let names_it = stderr.contains(&format!("put {name}="));
        ensure!(!refused.status.success() && names_it, "{overlay} does not require {name}: {stderr}");
    }
    Ok(())
}

/// Starts `image` with the compose file of a rendered context on free ports, waits until it is healthy, and checks every
/// port. Returns the number of ports.
pub(crate) async fn check(docker: &Docker, context: &Path, stack: &Stack, image: &str) -> anyhow::Result<usize> {
    let ports = free_ports(stack)?;
    let mut environment = format!("MISSION_CONTROL_IMAGE={image}\n");
    for (setting, port) in &ports {
        let _ = writeln!(environment, "{setting}={port}");
    }
    let folder = TempDir::with_prefix("mission-control-compose-")?;
    fs_err::write(folder.path().join("env"), environment)?;
    let project = Project { docker: docker.clone(), file: context.join("docker-compose.yml"), folder };
    check_overlays(&project, stack).await?;
    let up = project.command(&["up", "--detach", "--wait", "--wait-timeout", PATIENCE]);
    if let Err(error) = process::output(&mut { up }).await {
        let logs = process::text(&mut project.command(&["logs", "--no-color"])).await.unwrap_or_default();
        return Err(error.context(format!("the last lines of its log are:\n    {}", process::tail(&logs, 25))));
    }
    let client = probe::client()?;
    for endpoint in stack.endpoints() {
        let url = format!("http://127.0.0.1:{}{}", ports[endpoint.setting.as_str()], endpoint.path);
        let asked = probe::ask_once(&client, &url, endpoint).await;
        asked.map_err(|why| anyhow::anyhow!("{url} ({}) answers wrongly: {why}", endpoint.setting))?;
    }
    // The README's next commands.
    process::text(&mut project.command(&["exec", "-T", "stack", "status"])).await?;
    let password =
        process::text(&mut project.command(&["exec", "-T", "stack", "secrets", "MANAGER_ADMIN_PASSWORD"])).await?;
    ensure!(!password.is_empty(), "`secrets` does not show the Manager's password");
    process::output(&mut project.command(&["stop"])).await.context("the stack does not stop")?;
    Ok(ports.len())
}
