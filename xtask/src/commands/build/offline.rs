//! `build --offline`: serves the files of the lock from the store to BuildKit, on a loopback port.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Session, fetch};
use crate::domain::lock::Lock;
use crate::domain::mirror::{Mirror, Mirrors};
use crate::error::HintExt as _;
use crate::io::http::Http;
use crate::rehearsal::server::{Answer, Server};

/// A session with mirrors to the files in the store, and their server, which ends when it is dropped.
pub(super) async fn session(session: &Session, lock: &Lock) -> anyhow::Result<(Session, Server)> {
    let http = Http::new(session.mirrors.clone())?.with(session.memory);
    let (listener, address) = Server::bind().await?;
    let mut mirrors: Vec<Mirror> = session.mirrors.iter().cloned().collect();
    let (mut answers, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for (url, (name, sha256)) in fetch::wanted(lock, lock.components.keys()) {
        if let Some(file) = http.stored(sha256) {
            let at = format!("/{sha256}/{}", url.file_name());
            mirrors.push(Mirror { from: url.to_string(), to: format!("http://{address}{at}") });
            answers.insert(at, Answer::File(file));
        } else {
            missing.insert(format!("`{name}`"));
        }
    }
    if !missing.is_empty() {
        let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
        let error = anyhow::anyhow!("files of {missing} are not in the store, and --offline allows no download");
        return Err(error).hint(|| "run `cargo xtask fetch` with a network first");
    }
    Ok((Session { mirrors: Mirrors::new(mirrors), ..session.clone() }, Server::serve(listener, answers)))
}
