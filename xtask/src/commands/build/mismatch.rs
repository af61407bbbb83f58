//! BuildKit reports "digest mismatch" for a replaced file as well as for the error page of a throttling server. Another
//! request distinguishes them.

use crate::commands::fetch;
use crate::engine::build::{Build, BuildFailed};
use crate::error::{advice, hinted};
use crate::io::http::Http;

pub(super) async fn explained(build: &Build<'_>, error: anyhow::Error) -> anyhow::Error {
    let Some(wanted) = error.downcast_ref::<BuildFailed>().and_then(BuildFailed::wanted) else { return error };
    let files = fetch::wanted(build.lock, build.lock.components.keys());
    let Some((url, (name, _))) = files.into_iter().find(|(_, (_, sha256))| **sha256 == wanted) else { return error };
    let error = error.context(format!("BuildKit got another file for `{name}` than pinned, from {url}"));
    let Ok(http) = Http::new(build.mirrors.clone()) else { return error };
    let hint = match http.hash(url.as_str(), url.file_name()).await {
        Ok((again, _)) if again == wanted => {
            "now the server returns the pinned file, so BuildKit got something else, such as the error page of a \
             throttling server: wait and run it again, or use another server with --mirror FROM=TO"
                .to_owned()
        }
        Ok((again, _)) => format!(
            "the server still returns another file (sha256 {again}): the file was replaced since it was pinned; see \
             `cargo xtask verify {name}`"
        ),
        Err(refused) => {
            let advice = advice(&refused).unwrap_or("see `cargo xtask verify`".to_owned());
            format!("another request failed: {refused}; {advice}")
        }
    };
    hinted(error, hint)
}
