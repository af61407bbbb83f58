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

/// Adds `name=value` to the outputs of a GitHub Actions step, where there is one.
pub(crate) fn github_output(name: &str, value: &str) -> anyhow::Result<()> {
    append_to(std::env::var_os("GITHUB_OUTPUT"), &format!("{name}={value}\n"))
}

/// Adds Markdown to the summary of a GitHub Actions step, where there is one.
pub(crate) fn github_summary(markdown: &str) -> anyhow::Result<()> {
    append_to(std::env::var_os("GITHUB_STEP_SUMMARY"), &format!("{markdown}\n"))
}

fn append_to(path: Option<std::ffi::OsString>, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(()) };
    fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(std::path::PathBuf::from(path))?
        .write_all(text.as_bytes())?;
    Ok(())
}
