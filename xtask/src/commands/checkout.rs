//! Reads stack.toml and versions.lock of a checkout.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::domain::lock::{Lock, LockError};
use crate::domain::stack::Stack;
use crate::error::{Failures, HintExt as _, hinted};
use crate::io::files::{LOCK, STACK};

/// The checkout to work on: `--root`, or the nearest folder with `stack.toml`, from the current one upwards.
pub(crate) fn find_root(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(root) = asked {
        ensure!(root.join(STACK).is_file(), "there is no {STACK} in {}", root.display());
        return Ok(fs_err::canonicalize(root)?);
    }
    let here = std::env::current_dir().context("cannot get the current directory")?;
    here.ancestors()
        .find(|folder| folder.join(STACK).is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("no {STACK} in {} or a folder above it", here.display()))
        .hint(|| "run this inside a checkout, or name one with --root")
}

pub(crate) fn read_stack(root: &Path) -> anyhow::Result<Stack> {
    let text = fs_err::read_to_string(root.join(STACK))?;
    Ok(Stack::parse(&text)?)
}

/// Reads the lock and checks it against the stack.
pub(crate) fn read_lock(root: &Path, stack: &Stack) -> anyhow::Result<Lock> {
    let lock = read_lock_unchecked(root)?;
    lock.check(stack).map_err(|wrong| {
        let advice = "restore it with `git checkout versions.lock`, or resolve it again with `cargo xtask bump`";
        let failures = wrong.into_iter().map(|error| hinted(error, advice));
        anyhow::Error::new(Failures(failures.collect()))
    })?;
    Ok(lock)
}

/// Reads the lock without checking it, for commands that can repair it.
pub(crate) fn read_lock_unchecked(root: &Path) -> anyhow::Result<Lock> {
    parse_lock(&read_lock_text(root)?)
}

/// The text of the lock; empty if there is none.
pub(crate) fn read_lock_text(root: &Path) -> anyhow::Result<String> {
    match fs_err::read_to_string(root.join(LOCK)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => Ok(read?),
    }
}

pub(crate) fn parse_lock(text: &str) -> anyhow::Result<Lock> {
    if text.is_empty() {
        return Ok(Lock::empty());
    }
    Lock::parse(text).map_err(|error| {
        let hint = match &error {
            LockError::Newer { .. } => "update this checkout: a newer version of the tool wrote the lock",
            LockError::Conflict { .. } => {
                "take one side with `git checkout --ours versions.lock` (or --theirs), and pin the other side's versions \
                 with `cargo xtask bump NAME`"
            }
            LockError::LineEnds => {
                "git changed them (core.autocrlf): delete the file, and restore it with `git checkout versions.lock`"
            }
            _ => "restore it with `git checkout versions.lock`; only `cargo xtask bump` may write it",
        };
        hinted(error, hint)
    })
}
