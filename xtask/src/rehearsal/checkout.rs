//! A scratch copy of the checkout, as its own git repository.

use std::path::Path;

use anyhow::Context as _;

use crate::io::{files, git, process};

const AUTHOR: &str = "rehearsal";
const EMAIL: &str = "rehearsal@localhost";

/// Copies the files that git knows (tracked and new, not ignored), without the lock: the embedded upstream has other
/// bytes than the real one under the same names.
pub(crate) async fn copy(root: &Path, scratch: &Path) -> anyhow::Result<()> {
    let listed = git::files(root).await.context("cannot list the files of this checkout")?;
    for path in listed.iter().filter(|path| *path != Path::new(files::LOCK)) {
        let (from, to) = (root.join(path), scratch.join(path));
        // A file may be deleted without a commit yet.
        let Ok(metadata) = fs_err::symlink_metadata(&from) else { continue };
        fs_err::create_dir_all(to.parent().context("a file without a folder")?)?;
        if metadata.is_symlink() {
            fs_err::os::unix::fs::symlink(fs_err::read_link(&from)?, to)?;
        } else if metadata.is_file() {
            fs_err::copy(from, to)?;
        }
    }
    run(scratch, &["init", "--quiet", "--initial-branch=main"]).await
}

/// Commits everything in the scratch checkout, for a release of that commit.
pub(crate) async fn commit(scratch: &Path, message: &str) -> anyhow::Result<()> {
    // `--force`, because a file can be tracked and ignored.
    run(scratch, &["add", "--all", "--force"]).await?;
    run(scratch, &["commit", "--quiet", "--message", message]).await
}

/// Adds a remote to the scratch checkout, and a tagger, for the release's git tag: the user may have none, or sign tags.
pub(crate) async fn publish(scratch: &Path, remote: &Path) -> anyhow::Result<()> {
    let remote = remote.to_str().context("the scratch directory's name is not UTF-8")?;
    run(scratch, &["init", "--quiet", "--bare", remote]).await?;
    run(scratch, &["remote", "add", "origin", remote]).await?;
    for [name, value] in [["user.name", AUTHOR], ["user.email", EMAIL], ["tag.gpgSign", "false"]] {
        run(scratch, &["config", name, value]).await?;
    }
    Ok(())
}

/// Runs git without the user's settings, who may sign commits, run hooks or ignore more.
async fn run(scratch: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut command = git::command(scratch);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("GIT_TEMPLATE_DIR", "");
    command.args(["-c", &format!("user.name={AUTHOR}"), "-c", &format!("user.email={EMAIL}")]);
    process::run(command.args(words)).await
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    #[tokio::test]
    async fn every_file_that_git_knows_is_copied_and_committed_unchanged() {
        let (from, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, copied) = (from.path(), scratch.path().join("checkout"));
        run(root, &["init", "--quiet"]).await.unwrap();
        let names: [&[u8]; 6] = [b"plain", "é.md".as_bytes(), b"\xff.bin", b"a \"quoted\"\\name", b"new\nline", b"-n"];
        for name in names {
            fs_err::write(root.join(OsStr::from_bytes(name)), name).unwrap();
        }
        fs_err::write(root.join("script"), "#!/bin/sh\n").unwrap();
        files::make_executable(&root.join("script")).unwrap();
        fs_err::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
        for name in ["renamed", "deleted", "tracked-and-ignored"] {
            fs_err::write(root.join(name), name).unwrap();
        }
        commit(root, "all").await.unwrap();
        fs_err::rename(root.join("renamed"), root.join("by its new name")).unwrap();
        fs_err::remove_file(root.join("deleted")).unwrap();
        fs_err::write(root.join(".gitignore"), "*ignored\n").unwrap();
        fs_err::write(root.join("ignored"), "").unwrap();
        fs_err::write(root.join(files::LOCK), "").unwrap();

        copy(root, &copied).await.unwrap();
        commit(&copied, "copied").await.unwrap();
        let committed = git::files(&copied).await.unwrap();
        let more = [".gitignore", "by its new name", "link", "script", "tracked-and-ignored"];
        let more = more.map(str::as_bytes);
        let mut expected: Vec<PathBuf> =
            names.into_iter().chain(more).map(|name| OsStr::from_bytes(name).into()).collect();
        expected.sort();
        assert_eq!(committed, expected);
        assert_eq!(git::changes(&copied).await.unwrap(), "");
        for name in names {
            assert_eq!(fs_err::read(copied.join(OsStr::from_bytes(name))).unwrap(), name);
        }
        assert_eq!(fs_err::read_link(copied.join("link")).unwrap(), Path::new("nowhere"));
        assert_eq!(fs_err::metadata(copied.join("script")).unwrap().permissions().mode() & 0o111, 0o111);

        publish(&copied, &scratch.path().join("origin.git")).await.unwrap();
        let mut tag = git::command(&copied);
        tag.env("GIT_CONFIG_GLOBAL", "/dev/null").args(["-c", "user.useConfigOnly=true"]);
        process::run(tag.args(["tag", "--annotate", "--message", "m", "r1"])).await.unwrap();
    }
}
