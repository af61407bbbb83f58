//! What a build must refuse, tried on the real engine: a source that is not pinned, and a file that is not what was
//! pinned.

use anyhow::{Context as _, bail};

use crate::domain::lock::{Lock, Pinned};
use crate::engine::build::Build;

/// Tries both; gives how many were refused for the reason that was expected.
pub(crate) async fn check(build: &Build<'_>, lock: &Lock) -> anyhow::Result<usize> {
    let pinned = lock.components.values().find_map(|pin| match &pin.pinned {
        Pinned::Files(files) => files.values().next(),
        _ => None,
    });
    let url = pinned.context("the lock pins no file")?.url.as_str();
    let unpinned = format!("{url}.unpinned");
    // A digest of nothing that anybody ever published.
    let other = "0".repeat(64);
    let cases = [
        (format!("FROM scratch\nADD {unpinned} /file\n"), "denied by policy"),
        (format!("FROM scratch\nADD --checksum=sha256:{other} {url} /file\n"), "digest mismatch"),
    ];
    for (dockerfile, reason) in &cases {
        let said = build.refusal(dockerfile).await?;
        if !said.contains(reason) {
            bail!("refused, but not because of `{reason}`:\n    {}", crate::io::process::tail(&said, 8));
        }
    }
    Ok(cases.len())
}
