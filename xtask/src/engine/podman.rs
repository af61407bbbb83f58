//! Runs an image with Podman: by the rendered pod, and as an unknown user.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::compose::free_ports;
use super::docker::major_minor;
use crate::domain::stack::Stack;
use crate::io::process;

/// The first with `kube play`.
const OLDEST: (u32, u32) = (4, 3);
/// The image in the pod.
const IMAGE: &str = "localhost/mission-control:latest";
const CONTAINER: &str = "mission-control-stack";
const PATIENCE: Duration = Duration::from_secs(300);
/// Podman's defaults exceed the limits of some machines.
const CONFIGURATION: &str =
    "[containers]\ndefault_ulimits = [\"nofile=16384:16384\", \"nproc=16384:16384\"]\npids_limit = 0\n";

/// Why Podman cannot be used; `None` if it can.
pub(crate) async fn missing() -> Option<String> {
    let Ok(output) = process::text(process::command("podman").arg("--version")).await else {
        return Some("no podman: apt-get install podman".to_owned());
    };
    let version = output.split(' ').next_back().and_then(major_minor);
    (version < Some(OLDEST)).then(|| format!("{output} is older than {}.{}", OLDEST.0, OLDEST.1))
}

/// Podman with its images, containers and networks in a folder. Dropping it removes the pod.
struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn command(&self, words: &[&str]) -> Command {
        let below = |name: &str| self.folder.join(name);
        let mut command = process::command("podman");
        command.env("CONTAINERS_CONF", below("containers.conf")).args(["--cgroup-manager", "cgroupfs"]);
        for (option, name) in
            [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp"), ("--network-config-dir", "networks")]
        {
            command.arg(option).arg(below(name));
        }
        command.args(words);
        command
    }

    fn pod(&self) -> String {
        self.folder.join("pod.yaml").to_string_lossy().into_owned()
    }

    async fn text(&self, words: &[&str]) -> anyhow::Result<String> {
        process::text(&mut self.command(words)).await
    }

    /// Waits until the health check succeeds.
    async fn healthy(&self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        loop {
            match self.text(&["healthcheck", "run", CONTAINER]).await {
                Ok(_) => return Ok(started.elapsed()),
                Err(_) if started.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_secs(2)).await,
                Err(error) => {
                    let logs = self.text(&["logs", "--tail", "25", CONTAINER]).await.unwrap_or_default();
                    return Err(error.context(format!("not healthy; the last lines of its log are:\n    {logs}")));
                }
            }
        }
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for words in [&["pod", "rm", "--all", "--force"][..], &["network", "rm", "podman-default-kube-network"]] {
            // Errors cannot be reported here; everything is in the scratch directory.
            let _ = process::clean_up(self.command(words).as_std_mut());
        }
    }
}

/// Plays the pod of a rendered context with the image of a layout, and returns a summary.
pub(crate) async fn check(layout: &Path, context: &Path, stack: &Stack, scratch: &Path) -> anyhow::Result<String> {
    let podman = Podman { folder: scratch.join("podman") };
    fs_err::create_dir_all(&podman.folder)?;
    fs_err::write(podman.folder.join("containers.conf"), CONFIGURATION)?;
    // Podman uses the path as the image's name, which must be in lower case.
    let (parent, name) = layout.parent().zip(layout.file_name()).context("the layout is not a folder of a folder")?;
    let from = format!("oci:{}", name.to_string_lossy());
    let image = process::text(podman.command(&["pull", "--quiet", &from]).current_dir(parent)).await?;
    podman.text(&["tag", &image, IMAGE]).await?;

    let mut pod = fs_err::read_to_string(context.join("kubernetes/pod.yaml"))?;
    let ports = free_ports(stack)?;
    for endpoint in stack.endpoints() {
        let published = format!("hostPort: {},", endpoint.port);
        ensure!(pod.contains(&published), "the pod does not publish port {}", endpoint.port);
        pod = pod.replace(&published, &format!("hostPort: {},", ports[endpoint.setting.as_str()]));
    }
    fs_err::write(podman.pod(), pod)?;
    podman.text(&["kube", "play", &podman.pod()]).await?;
    let healthy = podman.healthy().await?;
    let port = ports["MISSION_CONTROL_PORT"];
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.context("the pod's port is not published")?;
    let written = podman.text(&["exec", CONTAINER, "touch", "/opt/stack/x"]).await;
    ensure!(written.is_err(), "the pod's root file system is writable");
    podman.text(&["kube", "down", &podman.pod()]).await?;

    // ssh requires a user name. Without a network: the bridge of Podman's usual one would stay on the machine.
    let stranger = ["run", "--rm", "--network", "none", "--user", "1000680000:0", IMAGE];
    let command = ["bash", "-c", "ssh -G host >/dev/null && whoami"];
    let name = podman.text(&[&stranger[..], &command].concat()).await?;
    ensure!(!name.is_empty(), "uid 1000680000 has no name");
    Ok(format!("the pod is healthy after {:.1} s, and uid 1000680000 has a name", healthy.as_secs_f64()))
}
