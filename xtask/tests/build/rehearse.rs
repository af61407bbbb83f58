//! Interrupted `rehearse`, with stand-ins for everything slow and for programs that change the machine.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::process::Command;

use crate::common::checkout;

const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/rehearsal/stand-in");
const NAMES: &str = "apt-get containerd docker docker-registry dockerd ip iptables mmdebstrap npm systemctl";
/// Redirects writes to the machine into the scratch folder, and replaces its programs by the stand-ins.
const MACHINE: &str = r#"
ip link set lo up || exit 77
for folder in usr etc; do
    mount -t overlay -o "lowerdir=/$folder,upperdir=$STATE/$folder,workdir=$STATE/work-$folder" none "/$folder" || exit 77
done
rm -f /usr/sbin/policy-rc.d
: >"$STATE/begun"
exec "$@"
"#;
const AT_ONCE: usize = 4;

/// A signal at any moment, to the process or to its group, once or twice: the exit status is that of the signal, the
/// output is true, and nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_at_any_moment_of_a_rehearsal_leaves_nothing_behind() {
    interrupt(12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes"]
async fn many_signals_at_any_moment_of_a_rehearsal_leave_nothing_behind() {
    interrupt(200).await;
}

async fn interrupt(runs: u64) {
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let ended: Vec<Option<String>> = stream::iter(0..runs)
        .map(async |run| Run::new().interrupted(&mut fastrand::Rng::with_seed(seed + run)).await.err())
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let wrong: Vec<String> = ended.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{} of {runs}, with the seed {seed}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a rehearsal needs, and its traces.
struct Run {
    state: TempDir,
}

impl Run {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        for folder in ["have", "tmp", "usr/bin", "usr/sbin", "etc", "work-usr", "work-etc"] {
            std::fs::create_dir_all(state.path().join(folder)).unwrap();
        }
        for name in NAMES.split(' ') {
            // Their paths on Debian and Ubuntu.
            let folder = if ["dockerd", "ip", "iptables"].contains(&name) { "usr/sbin" } else { "usr/bin" };
            symlink(STAND_IN, state.path().join(folder).join(name)).unwrap();
        }
        Self { state }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.state.path().join(below)
    }

    fn command(&self, provision: bool) -> Command {
        let mut command = Command::new("env");
        // `nohup` makes a process ignore hangups, which must end it here.
        command.args(["--default-signal=HUP", "unshare", "--mount", "--net", "--map-root-user"]);
        command.args(["bash", "-c", MACHINE, "-", env!("CARGO_BIN_EXE_xtask"), "--root"]);
        command.arg(checkout()).arg("rehearse");
        command.args(provision.then_some("--provision"));
        command.env("STATE", self.state.path()).env("TMPDIR", self.path("tmp")).env("PATH", "/usr/sbin:/usr/bin");
        command.env_remove("DOCKER_HOST").env_remove("npm_config_registry").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    async fn interrupted(&self, random: &mut fastrand::Rng) -> Result<(), String> {
        let mut child = self.command(random.bool()).spawn().unwrap();
        while !self.path("begun").exists() {
            if child.try_wait().unwrap().is_some() {
                // This machine does not allow overlay mounts.
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.u64(0..4000))).await;
        let (signal, code) = random.choice([("-INT", 130), ("-TERM", 143), ("-HUP", 129)]).unwrap();
        let group = if random.bool() { "-" } else { "" };
        let twice = random.u8(0..4) == 0;
        let id = format!("{group}{}", child.id().unwrap());
        let kill = async || {
            // It may have ended before.
            let _ = Command::new("kill").args([signal, "--", &id]).stderr(Stdio::null()).status().await;
        };
        kill().await;
        if twice {
            tokio::time::sleep(Duration::from_millis(300)).await;
            kill().await;
        }
        let asked = Instant::now();
        let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
        let output = output.map_err(|_| format!("{signal} {id} does not end it"))?.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let summary = format!("{signal} {id}: exit {:?}\n{stderr}", output.status.code());
        match output.status.code() {
            // It did not handle signals yet.
            None => return Ok(()),
            Some(ended) if ended == code => {}
            _ => return Err(format!("it does not end as it must: {summary}")),
        }
        if let Ok(wrong) = std::fs::read_to_string(self.path("wrong")) {
            return Err(format!("{wrong}: {summary}"));
        }
        if stderr.contains("interrupted twice") {
            let took = asked.elapsed();
            return if took < Duration::from_secs(5) { Ok(()) } else { Err(format!("it took {took:?}: {summary}")) };
        }
        let left = self.left();
        if !left.is_empty() {
            return Err(format!("left behind: {left:?}: {summary}"));
        }
        let true_words = if self.path("installed").exists() {
            "error: interrupted; done by then: the engine's packages were installed"
        } else {
            "error: interrupted; nothing was changed"
        };
        if stderr.lines().last() == Some(true_words) {
            Ok(())
        } else {
            Err(format!("what it says is not true: {summary}"))
        }
    }

    /// Its traces on the machine.
    fn left(&self) -> Vec<String> {
        let names = |folder: &str| std::fs::read_dir(self.path(folder)).unwrap().map(|it| it.unwrap().path());
        let mut left: Vec<PathBuf> = names("have").chain(names("tmp")).collect();
        left.extend([self.path("etc/systemd/system/multi-user.target.wants/xtask-stand-in.service")]);
        left.retain(|path| path.is_symlink() || path.exists());
        // If it hides the machine's own, it is a device and not left over.
        left.extend(Some(self.path("usr/sbin/policy-rc.d")).filter(|path| path.is_file()));
        let state = format!("STATE={}", self.state.path().display());
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == state.as_bytes()) {
                left.push(process.path());
            }
        }
        left.iter().map(|path| path.display().to_string()).collect()
    }
}
