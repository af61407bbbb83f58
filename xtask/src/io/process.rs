//! Child processes: always an argument list, never a shell.

use std::ffi::OsStr;
use std::process::{Output, Stdio};

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::error::HintExt as _;

/// A command that ends with us: when its future is dropped (Ctrl-C), the child is killed.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// How a command reads in a message.
fn shown(command: &Command) -> String {
    let command = command.as_std();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end and gives what it wrote; an error holds the end of what it said on stderr.
pub(crate) async fn output(command: &mut Command) -> anyhow::Result<Output> {
    let shown = shown(command);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = match command.output().await {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("cannot run `{program}`"))
                .hint(|| format!("install `{program}`; `cargo xtask doctor` lists all that is missing"));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot run `{program}`")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed with {}: {}", output.status, tail(&said, 12));
    }
    Ok(output)
}

/// The standard output of a command, as text without the last newline.
pub(crate) async fn text(command: &mut Command) -> anyhow::Result<String> {
    let output = output(command).await?;
    let text = String::from_utf8(output.stdout).context("its output is not UTF-8")?;
    Ok(text.trim_end().to_owned())
}

/// The last lines of a log, for a message.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n    ")
}
