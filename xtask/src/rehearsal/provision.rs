//! A private Docker engine for machines without one: installed from the distribution, run with its own socket and data
//! in the rehearsal's scratch directory, stopped and removed with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::process::Command;

use super::install::{Distribution, install};
use super::network::Network;
use crate::engine::docker::Docker;
use crate::error::HintExt as _;
use crate::io::{loopback, process};

/// dockerd stops its containers and unmounts their file systems.
const DAEMON_PATIENCE: Duration = Duration::from_secs(20);

/// The engine of a rehearsal: a running dockerd with its containerd, stopped when dropped.
#[derive(Debug)]
pub(crate) struct Provisioned {
    pub(crate) docker: Docker,
    dockerd: process::Running,
    containerd: process::Running,
    // Removed after the daemons have stopped: fields are dropped in order.
    _network: Network,
}

/// Installs what is missing and starts the engine.
pub(crate) async fn provision(scratch: &Path) -> anyhow::Result<Provisioned> {
    if process::text(process::command("id").arg("-u")).await? != "0" {
        return Err(anyhow::anyhow!("`--provision` installs packages and starts an engine, which only root may"))
            .hint(|| "run it as root, or start Docker yourself and leave --provision out");
    }
    install(Distribution::here()?, scratch).await?;
    let provisioned = Provisioned::start(&scratch.join("engine")).await?;
    provisioned.docker.check().await?;
    Ok(provisioned)
}

impl Provisioned {
    async fn start(state: &Path) -> anyhow::Result<Self> {
        fs_err::create_dir_all(state)?;
        let below = |name: &str| state.join(name);
        // The containerd image store is required to export OCI layouts and to hold images of foreign platforms.
        fs_err::write(below("daemon.json"), r#"{"features":{"containerd-snapshotter":true}}"#)?;
        fs_err::write(below("containerd.toml"), "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n")?;
        let network = Network::new().await?;
        // Otherwise dockerd would use the machine's containerd if one runs, and leave images there.
        let mut containerd = process::command("containerd");
        for (option, name) in [
            ("--config", "containerd.toml"),
            ("--address", "containerd.sock"),
            ("--root", "containerd"),
            ("--state", "containerd.run"),
        ] {
            containerd.arg(option).arg(below(name));
        }
        let mut dockerd = process::command("dockerd");
        for (option, name) in [
            ("--config-file", "daemon.json"),
            ("--containerd", "containerd.sock"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
        ] {
            dockerd.arg(option).arg(below(name));
        }
        let socket = below("docker.sock");
        let host = format!("unix://{}", socket.display());
        dockerd.args(["--bridge", &network.bridge, "--iptables=false", "--ip6tables=false", "--host", &host]);
        let containerd = logged(&mut containerd, &below("containerd.log"))?;
        let dockerd = logged(&mut dockerd, &below("dockerd.log"))?.with_patience(DAEMON_PATIENCE);
        let docker = Docker::private(&socket, PathBuf::from("/usr/bin/docker"));
        let mut provisioned = Self { docker, dockerd, containerd, _network: network };
        provisioned.wait(state).await?;
        Ok(provisioned)
    }

    async fn wait(&mut self, state: &Path) -> anyhow::Result<()> {
        for _ in 0..120 {
            for (name, daemon) in [("containerd", &mut self.containerd), ("dockerd", &mut self.dockerd)] {
                if let Some(status) = daemon.try_wait()? {
                    bail!("{name} ended with {status}: {}", last(&state.join(format!("{name}.log"))));
                }
            }
            if process::run(self.docker.command().arg("version")).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("dockerd did not answer within a minute; the end of its log: {}", last(&state.join("dockerd.log")))
    }
}

/// Starts a daemon whose output goes into a file.
fn logged(command: &mut Command, log: &Path) -> anyhow::Result<process::Running> {
    let log = fs_err::File::create(log)?.into_parts().0;
    process::spawn(command.stdout(log.try_clone()?).stderr(log))
}

/// The end of a daemon's log: the log itself is removed with the scratch directory.
fn last(log: &Path) -> String {
    process::tail(&fs_err::read_to_string(log).unwrap_or_default(), 8)
}

/// A registry on the loopback, from the distribution's package; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) address: String,
    _running: process::Running,
}

impl Registry {
    pub(crate) async fn start(scratch: &Path) -> anyhow::Result<Self> {
        let state = scratch.join("registry");
        fs_err::create_dir_all(&state)?;
        let port = loopback::free_ports(1)?[0];
        let address = format!("127.0.0.1:{port}");
        // Debian's own configuration requires a password; this one listens on the loopback only.
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n",
            state.join("data").display()
        );
        fs_err::write(state.join("config.yml"), config)?;
        let log = state.join("registry.log");
        let mut command = process::command("docker-registry");
        let running = logged(command.arg("serve").arg(state.join("config.yml")), &log)
            .hint(|| "apt-get install docker-registry, or let --provision do it")?;
        let listens = loopback::listens(port).await;
        ensure!(listens, "the registry does not listen; the end of its log: {}", last(&log));
        Ok(Self { address, _running: running })
    }
}
