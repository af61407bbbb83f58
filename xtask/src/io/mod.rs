//! The outside world: HTTP, files, child processes, the terminal.

pub(crate) mod ending;
pub(crate) mod files;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod steps;
pub(crate) mod store;
mod terminal;

use terminal::tell;
pub(crate) use terminal::{complain, document, note, print, print_document, say, set_volume, unprinted};

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
