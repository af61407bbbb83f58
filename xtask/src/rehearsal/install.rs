//! Installs the distribution's packages for a rehearsal, without starting their services.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::error::HintExt as _;
use crate::io::{ending, files, process, say};

const POLICY: &str = "/usr/sbin/policy-rc.d";
/// The comment in the second line identifies the file of a killed run.
const NO_SERVICES: &str =
    "#!/bin/sh\n# Of `cargo xtask rehearse --provision`, while it runs: no package starts a service.\nexit 101\n";
/// systemd starts the services that are linked there at boot.
const ENABLED: &str = "/etc/systemd/system";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Debian 12 has no buildx: the engine comes from Debian 13, whose packages run with its C library.
    Bookworm,
    /// Debian 13 and newer.
    Debian,
    Ubuntu,
}

impl Distribution {
    pub(super) fn here() -> anyhow::Result<Self> {
        match (&*os_release("ID"), &*os_release("VERSION_CODENAME")) {
            ("debian", "bookworm") => Ok(Self::Bookworm),
            ("debian", _) => Ok(Self::Debian),
            ("ubuntu", _) => Ok(Self::Ubuntu),
            (id, _) => Err(anyhow::anyhow!("`--provision` knows Debian and Ubuntu, this is `{id}`"))
                .hint(|| "install Docker with buildx and run `cargo xtask rehearse` without --provision"),
        }
    }

    /// Returns the required packages, without those for an existing engine and npm.
    fn packages(self, has_engine: bool, has_npm: bool) -> Vec<&'static str> {
        let engine = match self {
            _ if has_engine => "",
            Self::Bookworm => "docker.io/trixie docker-cli/trixie docker-buildx/trixie docker-compose/trixie",
            Self::Debian => "docker.io docker-cli docker-buildx docker-compose",
            Self::Ubuntu => "docker.io docker-buildx docker-compose-v2",
        };
        // nftables is for Podman's netavark of Debian 13, which only recommends it.
        let beside = "iproute2 iptables nftables docker-registry mmdebstrap skopeo podman catatonit \
                      debian-archive-keyring xz-utils git";
        let npm = if has_npm { "" } else { "npm" };
        [engine, beside, npm].into_iter().flat_map(str::split_whitespace).collect()
    }
}

/// Returns the URL of the Debian archive in this machine's apt configuration, so that a configured mirror is used;
/// `None` if apt has no Debian archive, as on Ubuntu.
pub(crate) async fn debian_mirror() -> anyhow::Result<Option<String>> {
    let codename = os_release("VERSION_CODENAME");
    let targets = async |more: &[&str]| {
        let format = "$(ORIGIN)\t$(RELEASE)\t$(COMPONENT)\t$(REPO_URI)";
        let mut command = process::command("apt-get");
        command.arg("indextargets").args(more).args(["--format", format, "Created-By: Packages"]);
        process::text(&mut command).await
    };
    if let Some(mirror) = archive(&targets(&[]).await?, |origin, _| origin == "Debian") {
        return Ok(Some(mirror));
    }
    if os_release("ID") != "debian" {
        return Ok(None);
    }
    // Before the first update, apt knows the URLs of its sources but not their origins.
    let sources = targets(&["--no-release-info"]).await?;
    Ok(archive(&sources, |_, release| release == codename))
}

/// Returns the first archive with `main` of such an origin or release, except the one of security updates.
fn archive(targets: &str, wanted: impl Fn(&str, &str) -> bool) -> Option<String> {
    targets.lines().find_map(|line| {
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

/// Installs the packages with an apt configuration in the scratch directory: the machine's own sources are not changed.
pub(super) async fn install(distribution: Distribution, scratch: &Path) -> anyhow::Result<()> {
    let apt = scratch.join("apt");
    for folder in ["lists/partial", "sources", "preferences"] {
        fs_err::create_dir_all(apt.join(folder))?;
    }
    for (own, copy) in [("/etc/apt/sources.list.d", "sources"), ("/etc/apt/preferences.d", "preferences")] {
        if Path::new(own).is_dir() {
            files::copy_files(Path::new(own), &apt.join(copy))?;
        }
    }
    let apt_get = || {
        let mut command = process::command("apt-get");
        // needrestart of Ubuntu servers would restart unrelated services after each installation.
        command.env("DEBIAN_FRONTEND", "noninteractive").env("NEEDRESTART_SUSPEND", "1");
        for (option, name) in
            [("State::lists", "lists"), ("Etc::sourceparts", "sources"), ("Etc::preferencesparts", "preferences")]
        {
            command.arg("-o").arg(format!("Dir::{option}={}", apt.join(name).display()));
        }
        // A new machine may be installing its updates.
        command.args(["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]);
        command
    };
    let log = apt.join("log");
    if distribution == Distribution::Bookworm {
        process::to_its_end(process::command("apt-get").arg("update"), &log, None).await?;
        let mirror = debian_mirror().await?.context("this machine's apt knows no Debian archive")?;
        let source = format!("deb [signed-by={}] {mirror} trixie main\n", files::debian_keyring()?.display());
        fs_err::write(apt.join("sources/trixie.list"), source)?;
        fs_err::write(apt.join("preferences/trixie.pref"), "Package: *\nPin: release n=trixie\nPin-Priority: 50\n")?;
    }
    process::to_its_end(apt_get().arg("update"), &log, None).await.context("cannot read the package lists")?;
    let has_npm = process::ended(process::command("npm").arg("--version")).await.is_ok();
    // The distribution's engine would replace Docker's own packages.
    let has_other_engine = !installed(&["docker-ce", "moby-engine"]).await.is_empty();
    let packages = distribution.packages(has_other_engine, has_npm);
    let names: Vec<&str> = packages.iter().map(|package| package.split('/').next().unwrap_or(package)).collect();
    let before = installed(&names).await;
    let _guard = NoServices::new(Path::new(POLICY), Path::new(ENABLED))?;
    // Installed packages are not removed again.
    let mut install = apt_get();
    install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(&packages);
    let lasting = ending::begin("the engine's packages were installed");
    process::to_its_end(&mut install, &log, Some(lasting)).await.context("cannot install the engine")?;
    let new: Vec<&str> = names.into_iter().filter(|name| !before.contains(*name)).collect();
    if !new.is_empty() {
        say(&format!("note: these packages stay installed, with no service of theirs started: {}", new.join(" ")));
    }
    Ok(())
}

async fn installed(names: &[&str]) -> BTreeSet<String> {
    let mut command = process::command("dpkg-query");
    command.args(["--show", "--showformat", "${db:Status-Status}\t${Package}\n"]).args(names);
    // It fails if one of them is unknown, but prints the others.
    let stdout = process::ended(&mut command).await.map(|output| output.stdout).unwrap_or_default();
    let stdout = String::from_utf8_lossy(&stdout);
    stdout.lines().filter_map(|line| line.strip_prefix("installed\t").map(str::to_owned)).collect()
}

/// Until dropped, packages start no services (Debian policy, "invoke-rc.d"); then the services that they enabled at
/// boot are disabled again. The rehearsal starts its own engine, with its own socket.
struct NoServices {
    policy: Option<PathBuf>,
    enabled: PathBuf,
    before: BTreeSet<PathBuf>,
}

impl NoServices {
    /// An existing policy of the machine stays; one of a killed run is reused.
    fn new(policy: &Path, enabled: &Path) -> anyhow::Result<Self> {
        let before = links(enabled).collect();
        let mut it = Self { policy: None, enabled: enabled.to_owned(), before };
        if policy.exists() && fs_err::read(policy)? != NO_SERVICES.as_bytes() {
            return Ok(it);
        }
        // Set first, so that an incomplete file is removed, too.
        it.policy = Some(policy.to_owned());
        fs_err::write(policy, NO_SERVICES)?;
        files::make_executable(policy)?;
        Ok(it)
    }
}

/// The links below a folder, as relative paths.
fn links(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let is_link = |path: &PathBuf| folder.join(path).is_symlink();
    files::below(folder).unwrap_or_default().into_iter().filter(is_link)
}

impl Drop for NoServices {
    fn drop(&mut self) {
        // Errors are ignored: the file's comment explains it.
        for link in links(&self.enabled).filter(|link| !self.before.contains(link)) {
            let _ = fs_err::remove_file(self.enabled.join(link));
        }
        if let Some(policy) = &self.policy {
            let _ = fs_err::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_found_also_before_the_first_update() {
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
    fn an_engine_of_docker_stays_and_npm_is_installed_if_missing() {
        for distribution in [Distribution::Bookworm, Distribution::Debian, Distribution::Ubuntu] {
            let is_engine = |package: &&str| package.starts_with("docker") && *package != "docker-registry";
            assert!(distribution.packages(false, true).iter().any(is_engine));
            assert!(!distribution.packages(true, true).iter().any(is_engine));
        }
        for (has_npm, wanted) in [(true, false), (false, true)] {
            assert_eq!(Distribution::Ubuntu.packages(true, has_npm).contains(&"npm"), wanted);
        }
    }

    #[test]
    fn the_policy_of_a_killed_run_is_recognized_and_another_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy-rc.d");
        let new = || NoServices::new(&path, &folder.path().join("systemd")).unwrap();
        std::mem::forget(new());
        assert!(fs_err::read_to_string(&path).unwrap().ends_with("\nexit 101\n"));
        drop(new());
        assert!(!path.exists());

        fs_err::write(&path, "#!/bin/sh\nexit 101\n").unwrap();
        drop(new());
        assert!(path.exists(), "a policy of the machine's own was removed");
    }

    #[test]
    fn packages_start_no_services_at_boot() {
        let folder = tempfile::tempdir().unwrap();
        let (policy, enabled) = (folder.path().join("policy-rc.d"), folder.path().join("system"));
        let wants = enabled.join("multi-user.target.wants");
        fs_err::create_dir_all(&wants).unwrap();
        let enable = |name: &str| fs_err::os::unix::fs::symlink("/usr/lib/systemd/system/x", wants.join(name)).unwrap();
        enable("ssh.service");
        let guard = NoServices::new(&policy, &enabled).unwrap();
        enable("docker.service");
        fs_err::write(enabled.join("own.service"), "").unwrap();
        drop(guard);
        let left = files::below(&enabled).unwrap();
        assert_eq!(left, [Path::new("multi-user.target.wants/ssh.service"), Path::new("own.service")]);
    }
}
