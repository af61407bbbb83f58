//! `verify`: checks every URL, npm integrity, commit and image digest of the lock against its upstream.

use serde::Serialize;

use super::Session;
use super::resolve::{Resolver, ended, names};
use crate::cli::{self, Format};
use crate::domain::trust::Trust;
use crate::error::Ended;
use crate::io;
use crate::upstream::Finding;

mod checks;

#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    version: &'a str,
    findings: Option<&'a [Finding]>,
    /// The trust in its digests, and what it is based on.
    trust: Option<Trust>,
    vouched_by: Option<&'a str>,
    error: Option<String>,
}

pub(crate) async fn run(session: &Session, args: &cli::Names) -> anyhow::Result<()> {
    let (stack, lock) = session.read()?;
    let names = names(&stack, &args.names)?;
    let resolver = Resolver::new(session, stack, lock)?;
    let up = resolver.upstream();
    let results = resolver.each(&names, "verify", async |name| checks::check(up, name).await).await;

    let version = |name: &str| resolver.lock.components.get(name).map_or("", |pin| pin.version.as_str());
    let rows: Vec<Row<'_>> = names
        .iter()
        .zip(&results)
        .map(|(name, result)| {
            let checked = result.as_ref().ok();
            let vouched = checked.and_then(|checked| checked.trust);
            Row {
                name,
                version: version(name),
                findings: checked.map(|checked| checked.findings.as_slice()),
                trust: vouched.map(|(trust, _)| trust),
                vouched_by: vouched.map(|(_, by)| by),
                error: result.as_ref().err().map(|error| error.root_cause().to_string()),
            }
        })
        .collect();
    match session.format {
        Format::Json => io::document(&serde_json::json!({ "components": rows, "github": up.github.usage() }))?,
        Format::Text => rows.iter().for_each(|row| io::print(&text(row))),
    }
    let found: usize = rows.iter().filter_map(|row| row.findings).map(<[Finding]>::len).sum();
    ended(results.into_iter().filter_map(Result::err).collect())?;
    if found > 0 {
        let message = format!(
            "findings: {found}; if you know why, pin a version again with `cargo xtask bump NAME --to VERSION`"
        );
        return Err(Ended::Difference(message).into());
    }
    Ok(())
}

fn text(row: &Row<'_>) -> String {
    match row.findings {
        None => format!("{} {}: unknown", row.name, row.version),
        Some([]) => {
            let vouched = row.trust.zip(row.vouched_by).map(|(trust, by)| format!(" ({trust} by {by})"));
            format!("{} {}: as pinned{}", row.name, row.version, vouched.unwrap_or_default())
        }
        Some(findings) => {
            let lines: Vec<String> =
                findings.iter().map(|finding| format!("{} {}: {finding}", row.name, row.version)).collect();
            lines.join("\n")
        }
    }
}
