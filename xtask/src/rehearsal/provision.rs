//! A private Docker engine where there is none: installed from the distribution, run with a socket and a data
//! root of its own in the rehearsal's scratch directory, stopped and removed with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::network::Network;
use crate::engine::docker::Docker;
use crate::error::HintExt as _;
use crate::io::{ending, files, loopback, process, say};

/// The services that the packages bring, and where they are described.
const UNITS: [&str; 9] = [
    "containerd.service",
    "docker.service",
    "docker.socket",
    "docker-registry.service",
    "podman.service",
    "podman.socket",
    "podman-auto-update.service",
    "podman-auto-update.timer",
    "podman-restart.service",
];
const UNIT_FOLDER: &str = "/usr/lib/systemd/system";
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// In the second line, so that a later run knows it again when this one is killed.
const NO_SERVICES: &str =
    "#!/bin/sh\n# Of `cargo xtask rehearse --provision`, while it runs: no package starts a service.\nexit 101\n";
/// dockerd stops its containers and unmounts.
const DAEMON_PATIENCE: Duration = Duration::from_secs(20);

/// What a rehearsal runs on.
#[derive(Debug)]
pub(crate) struct Provisioned {
    pub(crate) docker: Docker,
    _daemon: Daemon,
}

/// The distributions that this knows how to install from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distribution {
    /// Debian 12 has no buildx: the engine comes from Debian 13, whose packages run on its C library.
    Bookworm,
    /// Debian 13 and newer.
    Debian,
    Ubuntu,
}

impl Distribution {
    fn here() -> anyhow::Result<Self> {
        match (&*os_release("ID"), &*os_release("VERSION_CODENAME")) {
            ("debian", "bookworm") => Ok(Self::Bookworm),
            ("debian", _) => Ok(Self::Debian),
            ("ubuntu", _) => Ok(Self::Ubuntu),
            (id, _) => Err(anyhow::anyhow!("`--provision` knows Debian and Ubuntu, this is `{id}`"))
                .hint(|| "install Docker with buildx and run `cargo xtask rehearse` without --provision"),
        }
    }

    /// What is needed, where the engine is another one than the distribution's: without an engine.
    fn packages(self, has_engine: bool) -> Vec<&'static str> {
        let engine: &[&str] = match self {
            _ if has_engine => &[],
            Self::Bookworm => {
                &["docker.io/trixie", "docker-cli/trixie", "docker-buildx/trixie", "docker-compose/trixie"]
            }
            Self::Debian => &["docker.io", "docker-cli", "docker-buildx", "docker-compose"],
            Self::Ubuntu => &["docker.io", "docker-buildx", "docker-compose-v2"],
        };
        let beside = [
            "iproute2",
            "iptables",
            "docker-registry",
            "mmdebstrap",
            "skopeo",
            "podman",
            "catatonit",
            "debian-archive-keyring",
            "xz-utils",
            "git",
        ];
        engine.iter().copied().chain(beside).collect()
    }
}

/// The address of the Debian archive that this machine's apt uses, so that a machine behind a mirror stays behind it;
/// none where apt knows no Debian, as on Ubuntu.
pub(crate) async fn debian_mirror() -> anyhow::Result<Option<String>> {
    let codename = os_release("VERSION_CODENAME");
    let told = async |more: &[&str]| {
        let format = "$(ORIGIN)\t$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)";
        let mut command = process::command("apt-get");
        command.arg("indextargets").args(more).args(["--format", format, "Created-By: Packages"]);
        process::text(&mut command).await
    };
    if let Some(mirror) = archive(&told(&[]).await?, |origin, _| origin == "Debian") {
        return Ok(Some(mirror));
    }
    if os_release("ID") != "debian" {
        return Ok(None);
    }
    // Before the first update apt knows its sources, and nothing of whose they are.
    let sources = told(&["--no-release-info"]).await?;
    Ok(archive(&sources, |_, release| release == codename))
}

/// The first archive of `main`, other than the one of security updates, of such an origin or release.
fn archive(told: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<String> {
    told.lines().find_map(|line| {
        let [origin, release, "main", address] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
        let is_it = wanted(origin, release) && !address.contains("security");
        is_it.then(|| address.trim_end_matches('/').to_owned())
    })
}

/// A field of os-release(5).
fn os_release(name: &str) -> String {
    let text = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.map(|value| value.trim_matches('"').to_owned()).unwrap_or_default()
}

/// Installs what is missing and starts the engine.
pub(crate) async fn provision(scratch: &Path) -> anyhow::Result<Provisioned> {
    if process::text(process::command("id").arg("-u")).await? != "0" {
        return Err(anyhow::anyhow!("`--provision` installs packages and starts an engine, which only root may"))
            .hint(|| "run it as root, or start Docker yourself and leave --provision out");
    }
    install(Distribution::here()?, scratch).await?;
    let daemon = Daemon::start(scratch).await?;
    let docker = Docker::private(&daemon.socket, PathBuf::from("/usr/bin/docker"));
    docker.check().await?;
    Ok(Provisioned { docker, _daemon: daemon })
}

/// Installs the packages with a configuration of apt that lives in the scratch directory: the machine's own
/// sources stay as they are.
async fn install(distribution: Distribution, scratch: &Path) -> anyhow::Result<()> {
    let apt = scratch.join("apt");
    fs_err::create_dir_all(apt.join("lists/partial"))?;
    fs_err::create_dir_all(apt.join("sources"))?;
    fs_err::create_dir_all(apt.join("preferences"))?;
    for (own, copy) in [("/etc/apt/sources.list.d", "sources"), ("/etc/apt/preferences.d", "preferences")] {
        if Path::new(own).is_dir() {
            files::copy_files(Path::new(own), &apt.join(copy))?;
        }
    }
    let update = |command: &mut tokio::process::Command| {
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-o")
            .arg(format!("Dir::State::lists={}", apt.join("lists").display()))
            .arg("-o")
            .arg(format!("Dir::Etc::sourceparts={}", apt.join("sources").display()))
            .arg("-o")
            .arg(format!("Dir::Etc::preferencesparts={}", apt.join("preferences").display()))
            .args(["-o", "Dpkg::Use-Pty=0"]);
    };
    if distribution == Distribution::Bookworm {
        let log = apt.join("log");
        process::to_its_end(process::command("apt-get").arg("update"), &log).await?;
        let mirror = debian_mirror().await?.context("this machine's apt knows no Debian archive")?;
        let source = format!("deb [signed-by={}] {mirror} trixie main\n", files::debian_keyring()?.display());
        fs_err::write(apt.join("sources/trixie.list"), source)?;
        fs_err::write(apt.join("preferences/trixie.pref"), "Package: *\nPin: release n=trixie\nPin-Priority: 50\n")?;
    }
    let mut refresh = process::command("apt-get");
    update(&mut refresh);
    let log = apt.join("log");
    process::to_its_end(refresh.arg("update"), &log).await.context("cannot read the package lists")?;
    // Installing a service starts it where systemd runs, now and at every boot; ours is started by us, with a socket
    // of its own, and for this once.
    let _guard = NoServices::new(Path::new(POLICY))?;
    let new_units: Vec<&str> = UNITS.into_iter().filter(|unit| !Path::new(UNIT_FOLDER).join(unit).exists()).collect();
    let mut install = process::command("apt-get");
    update(&mut install);
    let packages = distribution.packages(has_other_engine().await);
    // Whatever is installed stays.
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&packages);
    let installed = ending::begin("the engine's packages were installed");
    process::to_its_end(&mut install, &log).await.context("cannot install the engine")?;
    installed.done();
    let added: Vec<&str> = new_units.into_iter().filter(|unit| Path::new(UNIT_FOLDER).join(unit).exists()).collect();
    if !added.is_empty() {
        if Path::new("/usr/bin/systemctl").exists() {
            process::output(process::command("systemctl").args(["--root=/", "--quiet", "disable"]).args(added)).await?;
        }
        let names: Vec<&str> = packages.iter().map(|package| package.split('/').next().unwrap_or(package)).collect();
        say(&format!("note: these packages stay installed, with no service of theirs started: {}", names.join(" ")));
    }
    Ok(())
}

/// Whether Docker's own packages are installed: the distribution's would take their place.
async fn has_other_engine() -> bool {
    let mut command = process::command("dpkg-query");
    command.args(["--show", "--showformat", "${db:Status-Status}\n", "docker-ce", "moby-engine"]);
    // It fails when one of them is not known, and tells of the other all the same.
    let told = process::ended(&mut command).await;
    told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).lines().any(|status| status == "installed"))
}

/// While this lives, packages start no services (Debian policy, "invoke-rc.d").
struct NoServices(Option<PathBuf>);

impl NoServices {
    /// A policy of the machine's own stays; one that a killed run of ours left is taken over.
    fn new(path: &Path) -> anyhow::Result<Self> {
        if path.exists() && fs_err::read(path)? != NO_SERVICES.as_bytes() {
            return Ok(Self(None));
        }
        // From here on it is removed again, also where it cannot be completed.
        let policy = Self(Some(path.to_owned()));
        fs_err::write(path, NO_SERVICES)?;
        files::make_executable(path)?;
        Ok(policy)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // If this fails, the file is still there to be seen, and says what it does.
            let _ = fs_err::remove_file(path);
        }
    }
}

/// A running dockerd, stopped when dropped.
#[derive(Debug)]
struct Daemon {
    running: process::Running,
    socket: PathBuf,
    state: PathBuf,
    // Taken back after the daemon has stopped: fields are dropped in this order.
    _network: Network,
}

impl Daemon {
    async fn start(scratch: &Path) -> anyhow::Result<Self> {
        let state = scratch.join("engine");
        fs_err::create_dir_all(&state)?;
        let config = state.join("daemon.json");
        // The containerd image store is what exports OCI layouts and holds images of foreign platforms.
        fs_err::write(&config, r#"{"features":{"containerd-snapshotter":true}}"#)?;
        let socket = state.join("docker.sock");
        let network = Network::new().await?;
        let log = fs_err::File::create(state.join("dockerd.log"))?.into_parts().0;
        let mut command = process::command("dockerd");
        for (option, path) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "docker.pid"),
        ] {
            command.arg(option).arg(state.join(path));
        }
        command
            .args(["--bridge", &network.bridge, "--iptables=false", "--ip6tables=false"])
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .stdout(log.try_clone()?)
            .stderr(log);
        let running = process::spawn(&mut command)?.with_patience(DAEMON_PATIENCE);
        let mut daemon = Self { running, socket, state, _network: network };
        daemon.wait().await?;
        Ok(daemon)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let docker = Docker::private(&self.socket, PathBuf::from("/usr/bin/docker"));
        for _ in 0..120 {
            let log = || fs_err::read_to_string(self.state.join("dockerd.log")).unwrap_or_default();
            if let Some(status) = self.running.try_wait()? {
                bail!("dockerd ended with {status}: {}", process::tail(&log(), 8));
            }
            if process::output(docker.command().arg("version")).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        bail!("dockerd did not answer within a minute; its log is {}", self.state.join("dockerd.log").display())
    }
}

/// A registry on the loopback, from the distribution's package, stopped when dropped.
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
        // Debian's own configuration asks for a password; this one listens on the loopback only.
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n",
            state.join("data").display()
        );
        fs_err::write(state.join("config.yml"), config)?;
        let log = fs_err::File::create(state.join("registry.log"))?.into_parts().0;
        let mut command = process::command("docker-registry");
        command.arg("serve").arg(state.join("config.yml")).stdout(log.try_clone()?).stderr(log);
        let running =
            process::spawn(&mut command).hint(|| "apt-get install docker-registry, or let --provision do it")?;
        if loopback::listens(port).await {
            return Ok(Self { address, _running: running });
        }
        bail!("the registry does not listen; its log is {}", state.join("registry.log").display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_before_the_first_update_too() {
        let updated = "Docker\ttrixie\tstable\thttp://x/debian/\nDebian\ttrixie-security\tmain\thttp://m/debian-security/\n\
                       Debian\ttrixie\tmain\thttp://m/debian/\n";
        assert_eq!(archive(updated, |origin, _| origin == "Debian").as_deref(), Some("http://m/debian"));
        let before = "$(ORIGIN)\tnodistro\tmain\thttp://x/node\n$(ORIGIN)\ttrixie\tmain\thttp://m/debian/\n";
        assert_eq!(archive(before, |origin, _| origin == "Debian"), None);
        assert_eq!(archive(before, |_, release| release == "trixie").as_deref(), Some("http://m/debian"));
        assert_eq!(archive("Ubuntu\tnoble\tmain\thttp://m/ubuntu/\n", |origin, _| origin == "Debian"), None);
        assert_eq!(archive("", |_, _| true), None);
    }

    #[test]
    fn an_engine_of_dockers_own_stays() {
        for distribution in [Distribution::Bookworm, Distribution::Debian, Distribution::Ubuntu] {
            let is_engine = |package: &&str| package.starts_with("docker") && *package != "docker-registry";
            assert!(distribution.packages(false).iter().any(is_engine));
            assert!(!distribution.packages(true).iter().any(is_engine));
        }
    }

    #[test]
    fn the_policy_of_a_killed_run_is_known_again_and_another_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let killed = NoServices::new(&path).unwrap();
        std::mem::forget(killed);
        assert!(fs_err::read_to_string(&path).unwrap().ends_with("\nexit 101\n"));
        drop(NoServices::new(&path).unwrap());
        assert!(!path.exists());

        fs_err::write(&path, "#!/bin/sh\nexit 101\n").unwrap();
        drop(NoServices::new(&path).unwrap());
        assert!(path.exists(), "a policy of the machine's own was removed");
    }
}
