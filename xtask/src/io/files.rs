//! Reading a checkout, and replacing files of it whole or not at all.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use crate::domain::lock::{Lock, LockError};
use crate::domain::stack::{Stack, StackError};
use crate::error::{Failures, HintExt as _, hinted};

pub(crate) const STACK: &str = "stack.toml";
pub(crate) const LOCK: &str = "versions.lock";

/// The checkout to work on: `--root`, or the nearest folder from here upwards that holds `stack.toml`.
pub(crate) fn find_root(asked: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(root) = asked {
        if root.join(STACK).is_file() {
            return fs_err::canonicalize(root).map_err(Into::into);
        }
        bail!("{} holds no {STACK}", root.display());
    }
    let here = std::env::current_dir().context("cannot tell the current directory")?;
    here.ancestors()
        .find(|folder| folder.join(STACK).is_file())
        .map(Path::to_path_buf)
        .with_context(|| format!("no {STACK} in {} or a folder above it", here.display()))
        .hint(|| "run this inside a checkout, or name one with --root".to_owned())
}

pub(crate) fn read_stack(root: &Path) -> anyhow::Result<Stack> {
    let text = fs_err::read_to_string(root.join(STACK))?;
    Stack::parse(&text).map_err(anyhow::Error::from)
}

/// The error of a name that `stack.toml` does not have, with the nearest one as its hint.
pub(crate) fn unknown_component(error: StackError) -> anyhow::Error {
    let hint = match &error {
        StackError::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
        _ => None,
    };
    match hint {
        Some(hint) => hinted(error, hint),
        None => error.into(),
    }
}

/// Reads the lock and checks it against the stack; an absent one is empty for `bump`, an error elsewhere.
pub(crate) fn read_lock(root: &Path, stack: &Stack) -> anyhow::Result<Lock> {
    let lock = read_lock_unchecked(root)?;
    lock.check(stack).map_err(|wrong| {
        let advice = "restore it with `git checkout versions.lock`, or resolve it anew with `cargo xtask bump`";
        let failures = wrong.into_iter().map(|error| hinted(error, advice.to_owned()));
        anyhow::Error::new(Failures(failures.collect()))
    })?;
    Ok(lock)
}

/// Reads the lock as it is, for `bump`, which may be there to complete it.
pub(crate) fn read_lock_unchecked(root: &Path) -> anyhow::Result<Lock> {
    let path = root.join(LOCK);
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Lock::empty()),
        Err(error) => return Err(error.into()),
    };
    match Lock::parse(&text) {
        Ok(lock) => Ok(lock),
        Err(error @ LockError::Newer { .. }) => {
            Err(error).hint(|| "update this checkout: a newer version of the tool wrote the lock".to_owned())
        }
        Err(error) => Err(error).hint(|| {
            "restore it with `git checkout versions.lock`; it is written by `cargo xtask bump` only".to_owned()
        }),
    }
}

/// Replaces files of the checkout, by path below `root`. All new contents are on the disk before the first
/// rename, so that a full disk or a read-only folder changes nothing; each file is old or new, never torn.
pub(crate) fn replace_all(root: &Path, files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let mut ready = Vec::with_capacity(files.len());
    for (path, contents) in files {
        let target = root.join(path);
        ready.push((stage(&target, contents).with_context(|| format!("cannot write {}", target.display()))?, target));
    }
    for (temporary, target) in ready {
        temporary.persist(&target).with_context(|| format!("cannot replace {}", target.display()))?;
    }
    Ok(())
}

/// Lets a rendered script be run.
pub(crate) fn make_executable(path: &Path) -> anyhow::Result<()> {
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(Into::into)
}

fn stage(target: &Path, contents: &str) -> anyhow::Result<NamedTempFile> {
    let folder = target.parent().context("the file has no folder")?;
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(".xtask-").tempfile_in(folder)?;
    temporary.write_all(contents.as_bytes())?;
    temporary.as_file().sync_all()?;
    let permissions = match fs_err::metadata(target) {
        Ok(existing) => existing.permissions(),
        // Temporary files are private; what is committed is not.
        Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
    };
    temporary.as_file().set_permissions(permissions)?;
    Ok(temporary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_when_one_file_cannot_be_written() {
        let scratch = tempfile::tempdir().unwrap();
        fs_err::write(scratch.path().join("a"), "old").unwrap();
        // A file where a folder is wanted fails for root too, whom a read-only folder would not stop.
        fs_err::write(scratch.path().join("b"), "a file").unwrap();
        let files = [(PathBuf::from("a"), "new".to_owned()), (PathBuf::from("b/c"), "new".to_owned())];
        assert!(replace_all(scratch.path(), &files).is_err());
        assert_eq!(fs_err::read_to_string(scratch.path().join("a")).unwrap(), "old");
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 2, "a temporary file was left behind");
    }
}
