//! BuildKit reports "digest mismatch" for a replaced file as well as for the error page of a throttling server. Another
//! request distinguishes them.

use crate::commands::Session;
use crate::domain::digest::Sha256;
use crate::domain::lock::{Lock, Pinned};
use crate::engine::build::BuildFailed;
use crate::error::{advice, hinted};
use crate::io::http::Http;

pub(super) async fn explained(session: &Session, lock: &Lock, error: anyhow::Error) -> anyhow::Error {
    let wanted = error.downcast_ref::<BuildFailed>().and_then(BuildFailed::wanted);
    let found = wanted.and_then(|wanted| Some((file_of(lock, &wanted)?, wanted)));
    let Some(((name, url), wanted)) = found else { return error };
    let error = error.context(format!("BuildKit got another file for `{name}` than pinned, from {url}"));
    let Ok(http) = Http::new(session.mirrors.clone()) else { return error };
    let label = url.rsplit('/').next().unwrap_or(url);
    match http.hash(url, label).await {
        Ok((again, _)) if again == wanted => hinted(
            error,
            "now the server returns the pinned file, so BuildKit got something else, such as the error page of a \
             throttling server: wait and run it again, or use another server with --mirror FROM=TO",
        ),
        Ok((again, _)) => hinted(
            error,
            format!(
                "the server still returns another file (sha256 {again}): the file was replaced since it was pinned; see \
                 `cargo xtask verify {name}`"
            ),
        ),
        Err(refused) => {
            let advice = advice(&refused).unwrap_or("see `cargo xtask verify`".to_owned());
            hinted(error, format!("another request failed: {refused}; {advice}"))
        }
    }
}

/// The component and the address of the file with a digest.
fn file_of<'a>(lock: &'a Lock, wanted: &Sha256) -> Option<(&'a str, &'a str)> {
    lock.components.iter().find_map(|(name, pin)| {
        let url = match &pin.pinned {
            Pinned::Files(files) => files.values().find(|file| file.sha256 == *wanted)?.url.as_str(),
            Pinned::Packages(lists) => lists.values().flatten().find(|one| one.sha256 == *wanted)?.url.as_str(),
            Pinned::Npm(_) | Pinned::Git(_) | Pinned::Image(_) => return None,
        };
        Some((name.as_str(), url))
    })
}
