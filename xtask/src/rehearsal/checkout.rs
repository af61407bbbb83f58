//! A scratch copy of the checkout, as a git repository of its own.

use std::path::Path;

use anyhow::Context as _;

use crate::io::process;

/// Copies what git knows of the checkout (tracked and new files, none that it ignores), without the lock: the
/// embedded upstream has other bytes than the real one under the same names.
pub(crate) async fn copy(root: &Path, scratch: &Path) -> anyhow::Result<()> {
    let listed = process::text(process::command("git").arg("-C").arg(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .await
    .context("the rehearsal copies what git knows of this checkout")?;
    for path in listed.lines().filter(|path| *path != crate::io::files::LOCK) {
        let (from, to) = (root.join(path), scratch.join(path));
        // A file may be deleted and not yet committed.
        if from.is_file() {
            fs_err::create_dir_all(to.parent().context("a file without a folder")?)?;
            fs_err::copy(from, to)?;
        }
    }
    git(scratch, &["init", "--quiet", "--initial-branch=main"]).await?;
    Ok(())
}

/// Commits everything in the scratch checkout: a release is made from a commit.
pub(crate) async fn commit(scratch: &Path, message: &str) -> anyhow::Result<()> {
    git(scratch, &["add", "--all"]).await?;
    git(scratch, &["commit", "--quiet", "--message", message]).await
}

async fn git(scratch: &Path, words: &[&str]) -> anyhow::Result<()> {
    let mut command = process::command("git");
    command.arg("-C").arg(scratch).args(["-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost"]);
    process::output(command.args(words)).await?;
    Ok(())
}
