//! Ending by a signal: the first one drops the command, which cleans up; the second one exits immediately.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{locked, say};

/// `timeout` and others signal a process and then its group: signals this close together count as one.
const SAME_REQUEST: Duration = Duration::from_millis(200);
/// A clean-up that takes longer is reported.
const SLOW: Duration = Duration::from_secs(1);

/// The signal that ended the run, with its exit code: 128 plus the signal's number, as in shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The terminal was closed.
    Hangup = 129,
    /// Ctrl-C.
    Interrupt = 130,
    Terminate = 143,
}

impl Signal {
    pub(crate) fn exit_code(self) -> u8 {
        self as u8
    }
}

/// Starts watching for signals, and returns the first one. The watch has its own thread and runtime: a second signal
/// ends the process even if the command or its clean-up blocks.
pub(crate) fn watch() -> oneshot::Receiver<Signal> {
    let (sender, receiver) = oneshot::channel();
    let (watches, is_watching) = std::sync::mpsc::channel();
    let watching = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // Without handlers, signals have their default effect, which ends the process.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            let _ = runtime.block_on(wait(&watches, sender));
        }
    });
    drop(watching);
    // The command starts only when the handlers are installed; an error means that the thread has given up.
    let _ = is_watching.recv();
    receiver
}

async fn wait(watches: &std::sync::mpsc::Sender<()>, sender: oneshot::Sender<Signal>) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // `nohup` ignores hangups, which must stay so.
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    let _ = watches.send(());
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
            Some(()) = async { hangup.as_mut()?.recv().await } => Signal::Hangup,
        }
    };
    let first = next().await;
    // The command may have ended already.
    let _ = sender.send(first);
    let soon = async {
        loop {
            next().await;
        }
    };
    let _ = tokio::time::timeout(SAME_REQUEST, soon).await;
    if let Ok(second) = tokio::time::timeout(SLOW, next()).await {
        exit_at_once(second);
    }
    say("interrupted; cleaning up, a second signal exits at once");
    exit_at_once(next().await)
}

/// Whether SIGHUP is ignored, by `SigIgn` of proc(5): its lowest bit is signal 1.
fn ignores_hangup() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

fn exit_at_once(signal: Signal) -> ! {
    for group in std::mem::take(&mut *locked(&GROUPS)) {
        // It may have ended meanwhile.
        let _ = kill_process_group(group, rustix::process::Signal::KILL);
    }
    say(
        "error: interrupted twice: the clean-up did not come to its end, and may have left temporary files, containers \
         or an engine",
    );
    std::process::exit(signal.exit_code().into())
}

/// The process groups of running children.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Actions whose effects outlive this process, and whether they were finished.
static LASTING: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

/// A process group that a second signal kills, until this is dropped.
#[derive(Debug)]
pub(super) struct Group(pub(super) Pid);

impl Group {
    pub(super) fn new(leader: Pid) -> Self {
        locked(&GROUPS).push(leader);
        Self(leader)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        locked(&GROUPS).retain(|group| *group != self.0);
    }
}

/// An action in progress whose effects outlive this process; an interruption reports it.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lasting(usize);

pub(crate) fn begin(what: impl Into<String>) -> Lasting {
    let mut lasting = locked(&LASTING);
    lasting.push((what.into(), false));
    Lasting(lasting.len() - 1)
}

impl Lasting {
    pub(crate) fn done(self) {
        if let Some((_, done)) = locked(&LASTING).get_mut(self.0) {
            *done = true;
        }
    }
}

/// Describes the lasting effects at an interruption.
pub(crate) fn left() -> String {
    in_words(&locked(&LASTING))
}

fn in_words(lasting: &[(String, bool)]) -> String {
    let listed = |(wanted, title): (bool, &str)| {
        let names = lasting.iter().filter(|(_, done)| *done == wanted).map(|(what, _)| what.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        (!names.is_empty()).then(|| format!("{title}: {names}"))
    };
    let parts = [(true, "done by then"), (false, "begun and not finished")].into_iter().filter_map(listed);
    let text = parts.collect::<Vec<_>>().join("; ");
    if text.is_empty() { "nothing was changed".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_reports_finished_and_unfinished_actions() {
        for (list, expected) in [
            (&[][..], "nothing was changed"),
            (&[("a", true), ("b", true)], "done by then: a, b"),
            (&[("a", false)], "begun and not finished: a"),
            (&[("a", true), ("b", false)], "done by then: a; begun and not finished: b"),
        ] {
            let lasting: Vec<_> = list.iter().map(|(what, done)| ((*what).to_owned(), *done)).collect();
            assert_eq!(in_words(&lasting), expected);
        }
    }
}
