//! Containers, as users run them: without root and capabilities, with a read-only root file system.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::docker::Docker;
use crate::io::process;

/// A container that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Container {
    docker: Docker,
    name: String,
    /// Its creation was requested, but not confirmed.
    asked: bool,
}

/// A volume that is removed when this is dropped; drop its containers first.
#[derive(Debug)]
pub(crate) struct Volume {
    docker: Docker,
    pub(crate) name: String,
}

/// An engine may still create a container after its client was interrupted: it is removed if it appears within this time.
const LATE: Duration = Duration::from_secs(5);

/// Options for starting a container.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) environment: BTreeMap<String, String>,
    /// Published ports on the loopback: container port and host port, where 0 is any free one.
    pub(crate) ports: Vec<(u16, u16)>,
    /// Publish them on all IPv4 addresses and the IPv6 loopback instead, without `PUBLISH_ADDRESS`.
    pub(crate) everywhere: bool,
    /// More `--mount` options.
    pub(crate) mounts: Vec<String>,
    pub(crate) user: Option<&'static str>,
    /// A command instead of the services.
    pub(crate) command: Vec<String>,
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl Volume {
    /// `options` are those of the local driver, such as `type=tmpfs` and `o=size=64m`.
    pub(crate) async fn create(docker: &Docker, options: &[&str]) -> anyhow::Result<Self> {
        let volume = Self { docker: docker.clone(), name: new_name() };
        let mut command = docker.command();
        command.args(["volume", "create"]);
        for option in options {
            command.args(["--opt", option]);
        }
        process::text(command.arg(&volume.name)).await.context("cannot make a volume")?;
        Ok(volume)
    }
}

impl Container {
    /// Starts a container. Its name is chosen here, so that a failed or interrupted start can be cleaned up.
    pub(crate) async fn start(
        docker: &Docker,
        image: &str,
        volume: &Volume,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let mut container = Self { docker: docker.clone(), name: new_name(), asked: true };
        let mut command = docker.command();
        command.args(["run", "--detach", "--name", &container.name]);
        command.args(["--read-only", "--tmpfs", "/tmp", "--tmpfs", "/run/stack"]);
        command.args(["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        command.args(["--volume", &format!("{}:/data", volume.name)]);
        // Otherwise the front requires a sign-in.
        if !options.everywhere {
            command.args(["--env", "PUBLISH_ADDRESS=127.0.0.1"]);
        }
        let addresses: &[&str] = match (options.everywhere, has_ipv6()) {
            (true, true) => &["0.0.0.0", "[::1]"],
            (true, false) => &["0.0.0.0"],
            (false, _) => &["127.0.0.1"],
        };
        for (inside, outside) in &options.ports {
            let outside = if *outside == 0 { String::new() } else { outside.to_string() };
            for address in addresses {
                command.args(["--publish", &format!("{address}:{outside}:{inside}")]);
            }
        }
        for (name, value) in &options.environment {
            command.args(["--env", &format!("{name}={value}")]);
        }
        for mount in &options.mounts {
            command.args(["--mount", mount]);
        }
        if let Some(user) = options.user {
            command.args(["--user", user]);
        }
        command.arg(image).args(&options.command);
        let answered = process::text(&mut command).await;
        container.asked = false;
        answered.with_context(|| format!("cannot start {image}"))?;
        Ok(container)
    }

    /// The host address of a published port.
    pub(crate) async fn address(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let output = process::text(self.docker.command().args(["port", &self.name, &port.to_string()])).await?;
        let first = output.lines().next().unwrap_or_default();
        first.parse().with_context(|| format!("docker reports no address of port {port}: {output}"))
    }

    /// `starting`, `healthy` or `unhealthy`, or the state of a stopped container, such as `exited`.
    pub(crate) async fn health(&self) -> anyhow::Result<String> {
        self.inspect("{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}").await
    }

    /// Runs `docker inspect` with a template.
    pub(crate) async fn inspect(&self, format: &str) -> anyhow::Result<String> {
        process::text(self.docker.command().args(["inspect", "--format", format, &self.name])).await
    }

    /// Runs a command in the container and returns its output.
    pub(crate) async fn exec(&self, words: &[&str]) -> anyhow::Result<String> {
        process::text(self.docker.command().args(["exec", &self.name]).args(words)).await
    }

    /// Runs a command in the container that may fail.
    pub(crate) async fn try_exec(&self, words: &[&str]) -> anyhow::Result<Ended> {
        let output = process::ended(self.docker.command().args(["exec", &self.name]).args(words)).await?;
        Ok(Ended { code: output.status.code().unwrap_or(-1), output: both(&output) })
    }

    /// The output of `status --json`.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        // It exits with 1 when a service has a problem, but prints the status as well.
        let output = self.try_exec(&["status", "--json"]).await?.output;
        serde_json::from_str(&output).with_context(|| format!("the output of `status --json` is {output:?}"))
    }

    /// The whole log.
    pub(crate) async fn logs(&self) -> anyhow::Result<String> {
        Ok(both(&process::output(self.docker.command().args(["logs", &self.name])).await?))
    }

    /// Waits for its end, and returns the exit code.
    pub(crate) async fn wait(&self) -> anyhow::Result<i32> {
        let code = process::text(self.docker.command().args(["wait", &self.name])).await?;
        code.parse().context("docker reports no exit code")
    }

    /// Stops it, and returns the exit code.
    pub(crate) async fn stop(&self) -> anyhow::Result<i32> {
        process::text(self.docker.command().args(["stop", "--time", "30", &self.name])).await?;
        let code = self.inspect("{{.State.ExitCode}}").await?;
        code.parse().context("docker reports no exit code")
    }

    /// Kills it, like a power failure.
    pub(crate) async fn kill(&self) -> anyhow::Result<()> {
        process::run(self.docker.command().args(["kill", &self.name])).await
    }

    /// Removes it now.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        process::run(self.docker.command().args(["rm", "--force", &self.name])).await
    }

    pub(crate) async fn start_again(&self) -> anyhow::Result<()> {
        process::run(self.docker.command().args(["start", &self.name])).await
    }
}

fn both(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether this machine has an IPv6 loopback to publish ports on.
pub(crate) fn has_ipv6() -> bool {
    std::net::TcpListener::bind("[::1]:0").is_ok()
}

fn new_name() -> String {
    format!("mission-control-probe-{:016x}", fastrand::u64(..))
}

/// Removes a container or volume. Blocks, because it is called by `drop`. With `asked`, the engine may create it only
/// now.
fn remove(docker: &Docker, words: &[&str], asked: bool) {
    let started = Instant::now();
    loop {
        let mut command = docker.command();
        // Errors cannot be reported here; `docker ps` shows what remains.
        let removed = process::clean_up(command.args(words).as_std_mut());
        // Docker prints the name of what it removed; --force also succeeds without that.
        let is_removed = removed.is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
        if is_removed || !asked || started.elapsed() > LATE {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        remove(&self.docker, &["rm", "--force", &self.name], self.asked);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        remove(&self.docker, &["volume", "rm", "--force", &self.name], false);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A docker whose `run` never ends, and whose third `rm` finds the container.
    const SLOW: &str = "#!/bin/bash\n\
        echo \"$1\" >>\"$0.log\"\n\
        case $1 in\n\
        run) exec sleep 60 ;;\n\
        rm) if [ \"$(grep -c rm \"$0.log\")\" -ge 3 ]; then echo \"$3\"; else echo 'No such container' >&2; fi ;;\n\
        esac\n";

    #[tokio::test]
    async fn a_container_that_appears_after_the_interruption_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("docker");
        fs_err::write(&program, SLOW).unwrap();
        crate::io::files::make_executable(&program).unwrap();
        let docker = Docker::private(Path::new("/none"), program.clone());
        let volume = Volume { docker: docker.clone(), name: "v".to_owned() };
        let options = Options::default();
        let start = Container::start(&docker, "image", &volume, &options);
        assert!(tokio::time::timeout(Duration::from_millis(500), start).await.is_err());
        drop(volume);
        let asked = fs_err::read_to_string(folder.path().join("docker.log")).unwrap();
        assert_eq!(asked.lines().collect::<Vec<_>>(), ["run", "rm", "rm", "rm", "volume"]);
    }
}
