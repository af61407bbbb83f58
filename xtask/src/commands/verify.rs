//! `verify`: checks every URL, npm integrity, commit and image digest of the lock against its upstream.

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::Session;
use super::resolve::{Resolver, names};
use crate::cli;
use crate::domain::trust::Trust;
use crate::error::{Ended, ended};
use crate::upstream::{self, Checked, Finding, Upstream};

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
    let results = resolver.each(&names, "verify", async |name| check(up, name).await).await;
    let rows: Vec<Row<'_>> = names
        .iter()
        .zip(&results)
        .map(|(name, result)| {
            let checked = result.as_ref().ok();
            let vouched = checked.and_then(|checked| checked.trust);
            Row {
                name,
                version: up.lock.components.get(name).map_or("", |pin| &pin.version),
                findings: checked.map(|checked| checked.findings.as_slice()),
                trust: vouched.map(|(trust, _)| trust),
                vouched_by: vouched.map(|(_, by)| by),
                error: result.as_ref().err().map(|error| error.root_cause().to_string()),
            }
        })
        .collect();
    let document = serde_json::json!({ "components": rows, "github": up.github.usage() });
    session.list(&document, rows.iter().map(text))?;
    let found: usize = rows.iter().filter_map(|row| row.findings).map(<[Finding]>::len).sum();
    ended(results.into_iter().filter_map(Result::err).collect())?;
    let message =
        format!("findings: {found}; if you know why, pin a version again with `cargo xtask bump NAME --to VERSION`");
    ensure!(found == 0, Ended::Difference(message));
    Ok(())
}

/// Verifies a pin, and its trust. An upstream that does not answer is an error, not a finding.
async fn check(up: Upstream<'_>, name: &str) -> anyhow::Result<Checked> {
    let pin = up.lock.components.get(name).with_context(|| format!("`{name}` is not pinned"))?;
    let mut checked = upstream::verify(up, name, pin).await?;
    let before = pin.trust.filter(|before| *before < Trust::Attested || !checked.unchecked);
    let wanted = before.max(up.stack.component(name)?.trust);
    if let (Some(wanted), Some((found, _))) = (wanted, checked.trust)
        && found < wanted
    {
        let what = format!("the trust in {name} {}", pin.version);
        checked.findings.push(Finding::Weaker { what, wanted, found });
    }
    Ok(checked)
}

fn text(Row { name, version, findings, trust, vouched_by, .. }: &Row<'_>) -> String {
    match findings {
        None => format!("{name} {version}: unknown"),
        Some([]) => {
            let vouched = trust.zip(*vouched_by).map(|(trust, by)| format!(" ({trust} by {by})"));
            format!("{name} {version}: as pinned{}", vouched.unwrap_or_default())
        }
        Some(findings) => {
            let lines = findings.iter().map(|finding| format!("{name} {version}: {finding}"));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}
