//! `fetch`: downloads all pinned files into the shared store, and resumes interrupted downloads.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::Session;
use super::resolve::{Resolver, names};
use crate::cli;
use crate::domain::digest::{FileUrl, Sha256};
use crate::domain::lock::{Lock, Pinned};
use crate::domain::size::mebibytes;
use crate::error::{self, hinted};

/// Concurrent downloads: Debian's snapshot archive throttles.
const AT_ONCE: usize = 4;

#[derive(Debug, Default, Serialize)]
struct Row<'a> {
    name: &'a str,
    files: usize,
    size: u64,
    /// How many files were in the store already.
    known: usize,
}

pub(crate) async fn run(session: &Session, args: &cli::Names) -> anyhow::Result<()> {
    let (stack, lock) = session.read()?;
    let names = names(&stack, &args.names)?;
    let resolver = Resolver::new(session, stack, lock)?;
    let http = resolver.upstream().http;
    http.prune();
    let fetched: Vec<anyhow::Result<(&str, u64, bool)>> = stream::iter(wanted(&resolver.lock, &names))
        .map(async |(url, (name, sha256))| {
            let label = url.file_name();
            let fetched = http.fetch(url.as_str(), label, sha256).await;
            let (found, size, is_known) = fetched.with_context(|| format!("failed to fetch `{name}`"))?;
            if found != *sha256 {
                let error = anyhow::anyhow!("{url} has the sha256 {found}, pinned is {sha256}");
                let error = error.context(format!("failed to fetch `{name}`"));
                return Err(hinted(error, format!("see `cargo xtask verify {name}`")));
            }
            Ok((name, size, is_known))
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (fetched, failures) = error::split(fetched);
    let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
    for (name, size, is_known) in fetched {
        let row = rows.entry(name).or_insert_with(|| Row { name, ..Row::default() });
        row.files += 1;
        row.size += size;
        row.known += usize::from(is_known);
    }
    let rows: Vec<Row<'_>> = rows.into_values().collect();
    session.list(&serde_json::json!({ "components": rows }), rows.iter().map(Row::text))?;
    error::ended(failures)
}

impl Row<'_> {
    fn text(&self) -> String {
        let Self { name, files, size, known } = self;
        let files = if *files == 1 { "1 file".to_owned() } else { format!("{files} files") };
        format!("{name}: {files}, {}, {known} of them in the store already", mebibytes(*size))
    }
}

/// The files of the components, by address, which removes duplicates of packages for all architectures.
pub(super) fn wanted<'a>(
    lock: &'a Lock,
    names: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<&'a FileUrl, (&'a str, &'a Sha256)> {
    let mut wanted = BTreeMap::new();
    for (name, pin) in names.into_iter().filter_map(|name| lock.components.get_key_value(name)) {
        match &pin.pinned {
            Pinned::Files(files) => {
                wanted.extend(files.values().map(|file| (&file.url, (name.as_str(), &file.sha256))));
            }
            Pinned::Packages(lists) => {
                wanted.extend(lists.values().flatten().map(|one| (&one.url, (name.as_str(), &one.sha256))));
            }
            // git, npm and the engine have their own caches.
            Pinned::Npm(_) | Pinned::Git(_) | Pinned::Image(_) => {}
        }
    }
    wanted
}
