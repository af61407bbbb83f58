//! A run that is ended by a signal: the first one drops the command, which cleans up; the second one exits at once.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, kill_process_group};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::{locked, say};

/// `timeout` and the like signal a process and then its group: what comes so soon is the same request.
const SAME_REQUEST: Duration = Duration::from_millis(200);
/// A clean-up that takes longer is told.
const SLOW: Duration = Duration::from_secs(1);

/// Who asked us to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The terminal is gone.
    Hangup,
    /// Ctrl-C.
    Interrupt,
    Terminate,
}

impl Signal {
    /// 128 and the number of the signal, as shells tell it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Watches for signals from now on; gives the first one. The watch has a thread and a runtime of its own: whatever the
/// command or its clean-up waits for, a second signal ends the process.
pub(crate) fn watch() -> oneshot::Receiver<Signal> {
    let (sender, receiver) = oneshot::channel();
    let (watches, is_watching) = std::sync::mpsc::channel();
    let watching = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        // Without handlers the signals keep their default, which ends the process.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            let _ = runtime.block_on(wait(&watches, sender));
        }
    });
    drop(watching);
    // Nothing is begun before a signal would clean it up; an error says that the thread has given up.
    let _ = is_watching.recv();
    receiver
}

async fn wait(watches: &std::sync::mpsc::Sender<()>, sender: oneshot::Sender<Signal>) -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    // `nohup` ignores it, and that stays so.
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
    let _ = watches.send(());
    let mut next = async || {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
            _ = hung_up => Signal::Hangup,
        }
    };
    let first = next().await;
    // The command may be over already.
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

/// The mask of ignored signals: `SigIgn` of proc(5), where the lowest bit is signal 1.
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

/// The process groups of the children that run now.
static GROUPS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// What was begun that outlives this process, and whether it was finished.
static LASTING: Mutex<Vec<(String, bool)>> = Mutex::new(Vec::new());

/// A process group that a second signal kills, for as long as this lives.
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

/// Something that outlives this process, begun now; an interruption tells of it.
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

/// What an interruption leaves as it is, in words.
pub(crate) fn left() -> String {
    in_words(&locked(&LASTING))
}

fn in_words(lasting: &[(String, bool)]) -> String {
    let listed = |wanted: bool| {
        let names = lasting.iter().filter(|(_, done)| *done == wanted).map(|(what, _)| what.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let (done, begun) = (listed(true), listed(false));
    if done.is_empty() && begun.is_empty() {
        return "nothing was changed".to_owned();
    }
    let mut text = String::new();
    if !done.is_empty() {
        let _ = write!(text, "done by then: {done}");
    }
    if !begun.is_empty() {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}begun and not finished: {begun}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_tells_what_was_done_and_what_was_begun() {
        let lasting = |list: &[(&str, bool)]| list.iter().map(|(what, done)| ((*what).to_owned(), *done)).collect();
        for (list, told) in [
            (&[][..], "nothing was changed"),
            (&[("a", true), ("b", true)], "done by then: a, b"),
            (&[("a", false)], "begun and not finished: a"),
            (&[("a", true), ("b", false)], "done by then: a; begun and not finished: b"),
        ] {
            let lasting: Vec<_> = lasting(list);
            assert_eq!(in_words(&lasting), told);
        }
    }
}
