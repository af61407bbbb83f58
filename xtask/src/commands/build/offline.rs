//! `build --offline`: BuildKit gets the files of the lock from the store, by a server on the loopback.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Session, fetch};
use crate::domain::lock::Lock;
use crate::domain::mirror::{Mirror, Mirrors};
use crate::error::HintExt as _;
use crate::io::http::Http;
use crate::rehearsal::server::{Answer, Server};

/// A session whose mirrors lead to what the store has, and what serves it for as long as it is kept.
pub(super) async fn session(session: &Session, lock: &Lock) -> anyhow::Result<(Session, Server)> {
    let http = Http::new(session.mirrors.clone())?.with(session.memory);
    let names: Vec<String> = lock.components.keys().cloned().collect();
    let (listener, address) = Server::bind().await?;
    let mut mirrors: Vec<Mirror> = session.mirrors.iter().cloned().collect();
    let (mut answers, mut missing) = (BTreeMap::new(), BTreeSet::new());
    for (url, (name, sha256)) in fetch::wanted(lock, &names) {
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
        let error = anyhow::anyhow!("files of {missing} are not in the store, and nobody is asked (--offline)");
        return Err(error).hint(|| "`cargo xtask fetch`, where there is a network, brings them");
    }
    Ok((Session { mirrors: Mirrors::new(mirrors), ..session.clone() }, Server::serve(listener, answers)))
}
