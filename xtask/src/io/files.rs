//! Atomic replacement of files, directory walks, copies, and the lock of a checkout.

use std::fs::TryLockError;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::NamedTempFile;

use super::say;

const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Renamed in Debian trixie; older systems have the second name only.
const KEYRINGS: [&str; 2] =
    ["/usr/share/keyrings/debian-archive-keyring.pgp", "/usr/share/keyrings/debian-archive-keyring.gpg"];

#[derive(Debug, thiserror::Error)]
#[error("this machine has no keyring of the Debian archive")]
pub(crate) struct NoKeyring;

pub(crate) const STACK: &str = "stack.toml";
pub(crate) const LOCK: &str = "versions.lock";

/// Locks the checkout for one command, waiting for others, until the returned file is dropped. The lock is on the
/// folder, so no lock file is left behind. `None`: this file system cannot lock folders.
pub(crate) async fn hold(root: &Path) -> anyhow::Result<Option<std::fs::File>> {
    let folder = fs_err::File::open(root)?.into_parts().0;
    let mut is_reported = false;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(Some(folder)),
            Err(TryLockError::WouldBlock) if is_reported => tokio::time::sleep(BETWEEN_TRIES).await,
            Err(TryLockError::WouldBlock) => {
                say(&format!("waiting for another command that writes to {} ...", root.display()));
                is_reported = true;
            }
            // Some network file systems cannot lock folders.
            Err(TryLockError::Error(error)) => {
                say(&format!("note: {} cannot be locked ({error}); run one command at a time", root.display()));
                return Ok(None);
            }
        }
    }
}

/// Replaces files of the checkout, by path below `root`: all or none. All new contents are on the disk before the first
/// rename, so a full disk or a read-only folder changes nothing. If a rename fails, files replaced before are restored.
pub(crate) fn replace_all(root: &Path, files: &[(PathBuf, String)]) -> anyhow::Result<()> {
    let mut ready = Vec::with_capacity(files.len());
    for (path, contents) in files {
        let target = root.join(path);
        // Replace a symlink's target, not the link.
        let target = fs_err::canonicalize(&target).unwrap_or(target);
        let before = read_if_exists(&target)?;
        let staged = stage(&target, contents.as_bytes());
        let staged = staged.with_context(|| format!("cannot write {}; nothing was changed", target.display()));
        ready.push((staged?, target, before));
    }
    let mut replaced = Vec::with_capacity(files.len());
    for (temporary, target, before) in ready {
        if let Err(error) = put(temporary, &target) {
            let outcome = match put_back(&replaced) {
                Ok(()) => "nothing was changed".to_owned(),
                Err(more) => format!("some files are changed: {more:#}"),
            };
            return Err(error.context(format!("cannot replace {}; {outcome}", target.display())));
        }
        replaced.push((target, before));
    }
    Ok(())
}

/// Reads a file; `None` if it does not exist.
pub(crate) fn read_if_exists(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn put(temporary: NamedTempFile, target: &Path) -> anyhow::Result<()> {
    match temporary.persist(target) {
        Ok(_) => Ok(()),
        // A mounted file cannot be replaced, only overwritten.
        Err(refused) if refused.error.kind() == std::io::ErrorKind::ResourceBusy => {
            let (new, old) = (fs_err::read(refused.file.path())?, fs_err::read(target)?);
            fill(target, &new).inspect_err(|_| {
                // Report the first error.
                let _ = fill(target, &old);
            })
        }
        Err(refused) => Err(refused.error.into()),
    }
}

fn fill(target: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).truncate(true).open(target)?;
    file.write_all(contents)?;
    Ok(file.sync_all()?)
}

fn put_back(replaced: &[(PathBuf, Option<Vec<u8>>)]) -> anyhow::Result<()> {
    for (target, before) in replaced.iter().rev() {
        let put_back = match before {
            Some(bytes) => stage(target, bytes).and_then(|temporary| put(temporary, target)),
            None => fs_err::remove_file(target).map_err(Into::into),
        };
        put_back.with_context(|| format!("cannot restore {}", target.display()))?;
    }
    Ok(())
}

/// All files below a folder, by relative path, sorted. Symlinks count as files.
pub(crate) fn below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(root)?.to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the files directly in a folder to another folder, which is created.
pub(crate) fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(to)?;
    for entry in fs_err::read_dir(from)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            fs_err::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

pub(crate) fn debian_keyring() -> Result<PathBuf, NoKeyring> {
    KEYRINGS.into_iter().map(PathBuf::from).find(|path| path.is_file()).ok_or(NoKeyring)
}

pub(crate) fn make_executable(path: &Path) -> anyhow::Result<()> {
    set_executable(path, true)
}

pub(crate) fn set_executable(path: &Path, executable: bool) -> anyhow::Result<()> {
    let mode = if executable { 0o755 } else { 0o644 };
    fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(Into::into)
}

fn stage(target: &Path, contents: &[u8]) -> anyhow::Result<NamedTempFile> {
    let folder = target.parent().context("the file has no folder")?;
    fs_err::create_dir_all(folder)?;
    let mut temporary = tempfile::Builder::new().prefix(".xtask-").tempfile_in(folder)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    let permissions = match fs_err::metadata(target) {
        Ok(existing) => existing.permissions(),
        // Temporary files are private, committed ones are not.
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
        // A file in place of a folder fails for root, too; a read-only folder would not.
        fs_err::write(scratch.path().join("b"), "a file").unwrap();
        let files = [(PathBuf::from("a"), "new".to_owned()), (PathBuf::from("b/c"), "new".to_owned())];
        assert!(replace_all(scratch.path(), &files).is_err());
        assert_eq!(fs_err::read_to_string(scratch.path().join("a")).unwrap(), "old");
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 2, "a temporary file was left behind");
    }

    #[test]
    fn replaced_files_are_restored_if_a_later_one_fails() {
        let scratch = tempfile::tempdir().unwrap();
        fs_err::write(scratch.path().join("a"), "old").unwrap();
        // A file cannot be renamed over a folder.
        fs_err::create_dir_all(scratch.path().join("c/d")).unwrap();
        let ready = |name: &str| stage(&scratch.path().join(name), b"new").unwrap();
        assert!(put(ready("c"), &scratch.path().join("c")).is_err());
        put(ready("a"), &scratch.path().join("a")).unwrap();
        put(ready("b"), &scratch.path().join("b")).unwrap();
        let (a, b) = (scratch.path().join("a"), scratch.path().join("b"));
        put_back(&[(a.clone(), Some(b"old".to_vec())), (b.clone(), None)]).unwrap();
        assert_eq!(fs_err::read_to_string(a).unwrap(), "old");
        assert!(!b.exists());
    }

    #[test]
    fn a_symlink_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        fs_err::write(scratch.path().join("real"), "old").unwrap();
        fs_err::os::unix::fs::symlink("real", scratch.path().join("link")).unwrap();
        replace_all(scratch.path(), &[(PathBuf::from("link"), "new".to_owned())]).unwrap();
        assert!(scratch.path().join("link").is_symlink());
        assert_eq!(fs_err::read_to_string(scratch.path().join("real")).unwrap(), "new");
    }

    #[tokio::test]
    async fn one_command_at_a_time_locks_a_checkout() {
        let scratch = tempfile::tempdir().unwrap();
        let first = hold(scratch.path()).await.unwrap();
        let second = || tokio::time::timeout(Duration::from_millis(250), hold(scratch.path()));
        assert!(second().await.is_err());
        drop(first);
        assert!(second().await.is_ok());
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
