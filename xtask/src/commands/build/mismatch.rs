//! BuildKit calls whatever it gets in place of a file a "digest mismatch": the page of an archive that throttles as much
//! as a file that was replaced. The server is asked again, to tell which.

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
    let error = error.context(format!("BuildKit was given something else for `{name}` than is pinned, from {url}"));
    let Ok(http) = Http::new(session.mirrors.clone()) else { return error };
    let label = url.rsplit('/').next().unwrap_or(url);
    match http.hash(url, label).await {
        Ok((again, _)) if again == wanted => hinted(
            error,
            "asked again, the server gives the very file that is pinned: what BuildKit got was no file, as from a server \
             that throttles. Wait and run it again, or lead to another server with --mirror FROM=TO"
                .to_owned(),
        ),
        Ok((again, _)) => hinted(
            error,
            format!(
                "asked again, the server gives other bytes, too (sha256 {again}): the file was replaced since it was \
                 pinned. `cargo xtask verify {name}` looks closer"
            ),
        ),
        Err(refused) => {
            let advice = advice(&refused).unwrap_or("`cargo xtask verify` looks at all that is pinned".to_owned());
            hinted(error, format!("asked again: {refused}. {advice}"))
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
