//! Child processes: always an argument list, never a shell. Each has its own process group, so that Ctrl-C in a
//! terminal reaches this process only, and stopping a child also stops what it started.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::ending::{Group, Lasting};
use super::{say, tell};

/// Time to stop between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(5);
/// Timeout of a clean-up command.
const CLEANING: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// A command without standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// The command in messages.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether a child ended by a signal that may have been sent to this process: for a moment after its start, a child is
/// still in the same process group.
static STRUCK: AtomicBool = AtomicBool::new(false);

pub(crate) fn was_struck() -> bool {
    STRUCK.load(Ordering::Relaxed)
}

fn is_struck(status: ExitStatus) -> bool {
    status.signal().is_some_and(|signal| [Signal::HUP, Signal::INT, Signal::TERM].map(Signal::as_raw).contains(&signal))
}

fn seen(status: ExitStatus) -> ExitStatus {
    STRUCK.fetch_or(is_struck(status), Ordering::Relaxed);
    status
}

/// A running child. Dropping it stops its whole process group: with SIGTERM, so that it can clean up, and with SIGKILL
/// if that takes too long.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    when_dropped: WhenDropped,
}

#[derive(Debug)]
enum WhenDropped {
    Stop {
        group: Group,
        patience: Duration,
    },
    /// It must run to its end; the action that is finished then.
    Wait(Option<Lasting>),
    /// It has ended.
    Nothing,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot run `{program}`")]
pub(crate) struct NotRun {
    pub(crate) program: String,
    pub(crate) source: std::io::Error,
}

pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Running> {
    tell(|| format!("+ {}", shown(command)));
    let child = command.process_group(0).spawn().map_err(|source| {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        NotRun { program, source }
    })?;
    let leader = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("a child without an id")?;
    Ok(Running { child, when_dropped: WhenDropped::Stop { group: Group::new(leader), patience: PATIENCE } })
}

impl Running {
    /// Sets the time to stop before it is killed.
    pub(crate) fn with_patience(mut self, longer: Duration) -> Self {
        if let WhenDropped::Stop { patience, .. } = &mut self.when_dropped {
            *patience = longer;
        }
        self
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.when_dropped = WhenDropped::Nothing;
        Ok(seen(status))
    }

    /// Returns its exit status if it has ended.
    pub(crate) fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.when_dropped = WhenDropped::Nothing;
        }
        Ok(status)
    }

    fn has_ended_within(&mut self, patience: Duration) -> bool {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(None) if started.elapsed() < patience => std::thread::sleep(LOOK),
                Ok(None) => return false,
                Ok(Some(_)) | Err(_) => return true,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.when_dropped, WhenDropped::Nothing) {
            WhenDropped::Nothing => {}
            WhenDropped::Wait(lasting) => {
                say("interrupted; waiting for a program that must run to its end");
                self.has_ended_within(Duration::MAX);
                if let (Some(lasting), Ok(Some(status))) = (lasting, self.child.try_wait())
                    && status.success()
                {
                    lasting.done();
                }
            }
            WhenDropped::Stop { group: Group(leader), patience } => {
                // A process that has ended cannot be signalled.
                let _ = kill_process_group(leader, Signal::TERM);
                let has_ended = self.has_ended_within(patience);
                // Its children may outlive the leader.
                let _ = kill_process_group(leader, Signal::KILL);
                if !has_ended {
                    self.has_ended_within(PATIENCE);
                }
            }
        }
    }
}

/// Runs a command to its end and returns its output and exit status.
pub(crate) async fn ended(command: &mut Command) -> anyhow::Result<Output> {
    // Declared first to be dropped after the child, which may still write while it cleans up.
    let (mut out, mut err);
    let mut running = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    (out, err) = (running.child.stdout.take(), running.child.stderr.take());
    let (status, stdout, stderr) = tokio::try_join!(running.child.wait(), whole(out.as_mut()), whole(err.as_mut()))
        .with_context(|| format!("cannot read the output of `{}`", shown(command)))?;
    running.when_dropped = WhenDropped::Nothing;
    Ok(Output { status: seen(status), stdout, stderr })
}

async fn whole(pipe: Option<&mut (impl AsyncRead + Unpin)>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// Runs a command to its end, without capturing its output.
pub(crate) async fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    Ok(spawn(command)?.wait().await?)
}

/// Runs a command and copies its stderr to this process's line by line, each after `mark`. Returns the end of it, too.
pub(crate) async fn passed_on(command: &mut Command, mark: &str) -> anyhow::Result<(ExitStatus, String)> {
    const KEPT: usize = 64 << 10;
    let mut kept: Vec<u8> = Vec::new();
    // Dropped after the child, as in `ended`.
    let mut pipe;
    let mut running = spawn(command.stderr(Stdio::piped()))?;
    pipe = running.child.stderr.take().map(BufReader::new);
    if let Some(pipe) = &mut pipe {
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).await? > 0 {
            // The build continues even if stderr is closed.
            let _ = std::io::stderr().write_all(&[mark.as_bytes(), &line].concat());
            kept.append(&mut line);
            kept.drain(..kept.len().saturating_sub(KEPT));
        }
    }
    Ok((running.wait().await?, String::from_utf8_lossy(&kept).into_owned()))
}

/// Runs a command to its end and returns its output; an error has the end of its stderr.
pub(crate) async fn output(command: &mut Command) -> anyhow::Result<Output> {
    let output = ended(command).await?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed with {}: {}", shown(command), output.status, tail(&stderr, 12));
    }
    Ok(output)
}

/// Runs a command to its end.
pub(crate) async fn run(command: &mut Command) -> anyhow::Result<()> {
    output(command).await.map(drop)
}

/// Runs a command and returns its standard output, without the last newline.
pub(crate) async fn text(command: &mut Command) -> anyhow::Result<String> {
    let output = output(command).await?;
    let text = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
    Ok(text.trim_end().to_owned())
}

/// Runs a command that must run to its end, such as a package manager: an interruption waits for it, and a second one
/// leaves it running. Its output goes to `log`, because a pipe may lose its reader. `lasting` describes its effect.
pub(crate) async fn to_its_end(command: &mut Command, log: &Path, lasting: Option<Lasting>) -> anyhow::Result<()> {
    let file = fs_err::File::create(log)?.into_parts().0;
    let mut running = spawn(command.stdout(file.try_clone()?).stderr(file))?;
    running.when_dropped = WhenDropped::Wait(lasting);
    let status = seen(running.child.wait().await?);
    let when_dropped = std::mem::replace(&mut running.when_dropped, WhenDropped::Nothing);
    if !status.success() {
        let output = fs_err::read_to_string(log).unwrap_or_default();
        bail!("`{}` failed with {status}: {}", shown(command), tail(&output, 12));
    }
    if let WhenDropped::Wait(Some(lasting)) = when_dropped {
        lasting.done();
    }
    Ok(())
}

/// Runs a clean-up command, with a timeout. It blocks, because `drop` cannot await.
pub(crate) fn clean_up(command: &mut std::process::Command) -> std::io::Result<Output> {
    let output = clean_up_once(command)?;
    // Clean-up commands can be repeated.
    if is_struck(output.status) { clean_up_once(command) } else { Ok(output) }
}

fn clean_up_once(command: &mut std::process::Command) -> std::io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > CLEANING {
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    }
    child.wait_with_output()
}

/// Whether a program could not run because it does not exist.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    let not_found = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::NotFound;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(not_found))
}

/// The last lines of a log, for a message.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a process runs; a zombie has no command line.
    fn runs(id: &str) -> bool {
        !std::fs::read(format!("/proc/{}/cmdline", id.trim())).unwrap_or_default().is_empty()
    }

    /// Waits until something is true; `false` after a timeout.
    fn comes(what: impl Fn() -> bool) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(LOOK);
            what()
        })
    }

    /// A shell that has printed the id of its child.
    async fn family(script: &str) -> (Running, String) {
        let mut running = spawn(command("bash").args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut buffer = [0; 32];
        let read = running.take_stdout().unwrap().read(&mut buffer).await.unwrap();
        (running, String::from_utf8_lossy(&buffer[..read]).trim().to_owned())
    }

    #[tokio::test]
    async fn children_of_a_child_end_with_it() {
        let (running, grandchild) = family("sleep 600 & echo $!; wait").await;
        // During exec, a process has no command line for a moment.
        assert!(comes(|| runs(&grandchild)));
        drop(running);
        assert!(comes(|| !runs(&grandchild)));
    }

    #[tokio::test]
    async fn a_child_that_ignores_sigterm_is_killed() {
        let (running, grandchild) = family("trap '' TERM; sleep 600 & echo $!; while :; do sleep 0.1; done").await;
        let started = Instant::now();
        drop(running.with_patience(Duration::from_millis(300)));
        assert!(started.elapsed() >= Duration::from_millis(300));
        assert!(comes(|| !runs(&grandchild)));
    }

    /// Writing to a closed pipe would end the child in the middle of its clean-up.
    #[tokio::test]
    async fn a_child_may_write_while_it_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let (ready, mark) = (folder.path().join("ready"), folder.path().join("mark"));
        let script = "trap 'echo cleaning; echo cleaning >&2; echo >\"$1\"; exit' TERM; echo >\"$0\"; while :; do sleep 0.05; done";
        let work = async || ended(command("bash").args(["-c", script]).args([&ready, &mark])).await;
        let is_ready = async {
            while !ready.exists() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            _ = work() => panic!("it ended by itself"),
            () = is_ready => {}
        }
        assert!(mark.exists());
    }

    #[tokio::test]
    async fn a_child_that_must_run_to_its_end_is_awaited() {
        let folder = tempfile::tempdir().unwrap();
        let (mark, log) = (folder.path().join("mark"), folder.path().join("log"));
        let mut command = command("bash");
        command.args(["-c", "echo begun; sleep 0.5; echo >\"$0\""]).arg(&mark);
        let work = to_its_end(&mut command, &log, None);
        assert!(tokio::time::timeout(Duration::from_millis(200), work).await.is_err());
        assert!(mark.exists());
    }

    #[tokio::test]
    async fn a_failure_has_the_end_of_stderr() {
        let folder = tempfile::tempdir().unwrap();
        let script = ["-c", "echo out; echo no such thing >&2; exit 3"];
        for error in [
            output(command("bash").args(script)).await.unwrap_err(),
            to_its_end(command("bash").args(script), &folder.path().join("log"), None).await.unwrap_err(),
        ] {
            let message = error.to_string();
            assert!(message.contains("no such thing") && message.contains("exit status: 3"), "{message}");
        }
        assert_eq!(text(command("bash").args(["-c", "echo out"])).await.unwrap(), "out");
    }
}
