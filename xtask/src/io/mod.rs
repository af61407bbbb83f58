//! The outside world: HTTP, files, child processes, the terminal.

pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod steps;

/// Talk goes to stderr; data goes to stdout with [`print`].
#[expect(clippy::print_stderr, reason = "the one place that talks")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

/// A result, on stdout. A reader that has gone away (`| head`) is no failure of ours.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Returns when somebody asks us to stop: Ctrl-C, or SIGTERM from a CI runner.
pub(crate) async fn interrupt() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals keep their default, which ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
