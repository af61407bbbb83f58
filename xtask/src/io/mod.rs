//! The outside world: HTTP, files, child processes, the terminal.

pub(crate) mod ending;
pub(crate) mod files;
pub(crate) mod git;
pub(crate) mod http;
pub(crate) mod loopback;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod steps;
pub(crate) mod store;
mod terminal;

use std::sync::{Mutex, MutexGuard, PoisonError};

use terminal::tell;
pub(crate) use terminal::{complain, document, note, print, print_document, say, set_volume, unprinted};

/// Locks a mutex, even after a panic: its data is always consistent here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Formats rows as lines with aligned columns.
pub(crate) fn columns<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: [String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect()
}

/// Adds `name=value` to the outputs of the GitHub Actions step, if it runs in one.
pub(crate) fn github_output(name: &str, value: &str) -> anyhow::Result<()> {
    append_to(std::env::var_os("GITHUB_OUTPUT"), &format!("{name}={value}\n"))
}

/// Adds Markdown to the summary of the GitHub Actions step, if it runs in one.
pub(crate) fn github_summary(markdown: &str) -> anyhow::Result<()> {
    append_to(std::env::var_os("GITHUB_STEP_SUMMARY"), &format!("{markdown}\n"))
}

fn append_to(path: Option<std::ffi::OsString>, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(()) };
    let mut file = fs_err::OpenOptions::new().create(true).append(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
