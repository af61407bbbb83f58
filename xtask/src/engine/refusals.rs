//! Checks that builds refuse sources that are not pinned, and files with another digest.

use anyhow::{Context as _, ensure};

use super::build::Build;
use crate::domain::lock::Pinned;
use crate::io::process;

/// Tries both, and returns the number of refused builds.
pub(crate) async fn check(build: &Build<'_>) -> anyhow::Result<usize> {
    let pinned = build.lock.components.values().flat_map(|pin| match &pin.pinned {
        Pinned::Packages(lists) => lists.values().flatten().collect(),
        _ => Vec::new(),
    });
    // The smallest one, because it is downloaded.
    let url = pinned.min_by_key(|package| package.size).context("the lock pins no package")?.url.as_str();
    let unpinned = format!("{url}.unpinned");
    // The digest of no file.
    let other = "0".repeat(64);
    let cases = [
        (format!("FROM scratch\nADD {unpinned} /file\n"), "denied by policy"),
        (format!("FROM scratch\nADD --checksum=sha256:{other} {url} /file\n"), "digest mismatch"),
    ];
    for (dockerfile, reason) in &cases {
        let error = build.refusal(dockerfile).await?;
        ensure!(error.contains(reason), "refused, but not because of `{reason}`:\n    {}", process::tail(&error, 8));
    }
    Ok(cases.len())
}
