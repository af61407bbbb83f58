//! `outdated`: lists newer versions; writes nothing.

use anyhow::ensure;
use serde::Serialize;

use super::resolve::{
    Gated, Resolver, ended_hold, gated, held, names, say_ended_holds, short_version, shortened, units,
};
use super::{Session, checkout};
use crate::cli::{self, Format};
use crate::domain::compare;
use crate::domain::lock::{Pin, Pinned, Published};
use crate::domain::rules;
use crate::domain::stack::{Source, Waiver};
use crate::error::{Ended, ended};
use crate::io;
use crate::upstream::{self, Finding, PassedOver, Upstream, Want};

/// How many reasons for passing over releases are listed.
const LISTED: usize = 3;

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    pinned: Option<Side>,
    #[serde(flatten)]
    found: Found,
    /// The newest version, also if `bump` does not take it (see `passed_over`).
    newest: Option<Side>,
    outdated: bool,
    passed_over: Vec<Gated>,
    waivers: Vec<String>,
    /// The last day of an expired `hold`.
    ended_hold: Option<chrono::NaiveDate>,
    /// Why it could not be resolved, in a line; stderr has the details.
    error: Option<String>,
}

/// What upstream has.
#[derive(Debug, Default, Serialize)]
struct Found {
    /// The version that `bump` takes.
    newest_allowed: Option<Side>,
    /// GitHub's comparison of the pin and the version that `bump` takes.
    compare: Option<String>,
    /// The pin is newer than the version that `bump` takes.
    ahead: bool,
    #[serde(skip)]
    passed_over: Vec<PassedOver>,
    /// Findings about the pin.
    findings: Vec<Finding>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Side {
    version: String,
    published: Option<Published>,
    /// The digest of an image tag.
    digest: Option<String>,
}

impl From<&Pin> for Side {
    fn from(pin: &Pin) -> Self {
        let digest = match &pin.pinned {
            Pinned::Image(image) => Some(image.digest.to_string()),
            _ => None,
        };
        Self { version: pin.version.clone(), published: pin.published.clone(), digest }
    }
}

impl From<&PassedOver> for Side {
    fn from(passed: &PassedOver) -> Self {
        Self { version: passed.version.clone(), published: passed.published.clone(), digest: None }
    }
}

pub(crate) async fn run(session: &Session, args: &cli::Outdated) -> anyhow::Result<()> {
    let stack = checkout::read_stack(&session.root)?;
    let names = names(&stack, &args.pins.names)?;
    let lock = checkout::read_lock_unchecked(&session.root)?;
    let resolver = Resolver::new(session, stack, lock)?;
    let up = resolver.upstream();
    let found = resolver.each(&names, "look up", async |name| newest(up, name).await).await;
    say_ended_holds(up, &names);

    let verdict = rules::check(&resolver.stack, &resolver.lock);
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    for (name, result) in names.into_iter().zip(found) {
        let pinned: Option<Side> = resolver.lock.components.get(&name).map(Into::into);
        let waived = verdict.waived.iter().filter(|waiver| waiver.component == name);
        let waivers = waived.map(|waiver: &&Waiver| format!("`{}` waived: {}", waiver.rule, waiver.reason)).collect();
        let error = result.as_ref().err().map(|error| error.root_cause().to_string());
        let mut found = result.unwrap_or_else(|error| {
            failures.push(error);
            Found::default()
        });
        let differs = |newest: &Side| {
            pinned.as_ref().is_none_or(|pin| (&pin.version, &pin.digest) != (&newest.version, &newest.digest))
        };
        let outdated = !found.ahead && found.newest_allowed.as_ref().is_some_and(differs);
        found.compare = found.compare.filter(|_| outdated);
        rows.push(Row {
            ended_hold: ended_hold(up, &name),
            newest: found.passed_over.first().map(Side::from).or_else(|| found.newest_allowed.clone()),
            passed_over: gated(&found.passed_over, up.clock.now),
            name,
            pinned,
            found,
            outdated,
            waivers,
            error,
        });
    }
    session.list(&serde_json::json!({ "components": rows, "github": up.github.usage() }), table(&rows))?;
    let outdated: Vec<String> = rows.iter().filter(|row| row.outdated).map(|row| row.name.clone()).collect();
    if session.format == Format::Text && !outdated.is_empty() {
        let leaders: Vec<String> = units(&resolver.stack, &outdated).into_keys().collect();
        io::say(&format!("to pin the newest versions: cargo xtask bump {}", leaders.join(" ")));
    }
    ended(failures)?;
    let message = format!("{} of {} components are outdated", outdated.len(), rows.len());
    ensure!(!args.exit_code || outdated.is_empty(), Ended::Difference(message));
    Ok(())
}

/// Resolves a component. Image tags and Debian snapshots are pinned for it, because their versions do not show changes.
async fn newest(up: Upstream<'_>, name: &str) -> anyhow::Result<Found> {
    let mut candidate = upstream::candidate(up, name, &Want::Newest).await?;
    if upstream::leader(up.stack, name) != name {
        // Listed in the leader's row.
        candidate.passed_over.clear();
    }
    let findings = upstream::standing(up, name, &candidate).await?;
    let mut passed_over = std::mem::take(&mut candidate.passed_over);
    let pinned = up.lock.components.get(name);
    let members: Vec<String> = units(up.stack, &[name.to_owned()]).into_values().flatten().collect();
    if let (Some(pin), Some(held)) = (pinned, held(up, &members, &candidate)) {
        if held.version != pin.version {
            passed_over.insert(0, held);
        }
        return Ok(Found { newest_allowed: Some(pin.into()), passed_over, findings, ..Found::default() });
    }
    let ahead = pinned.is_some_and(|pin| upstream::is_ahead(up.stack, name, pin, &candidate));
    if matches!(up.stack.component(name)?.source, Source::Oci { .. } | Source::Debian { .. }) && !ahead {
        let resolved = upstream::pin(up, name, &candidate).await?;
        passed_over.extend(resolved.passed_over);
        return Ok(Found { newest_allowed: Some((&resolved.pin).into()), passed_over, findings, ..Found::default() });
    }
    let newest = compare::reference(candidate.tag.as_deref(), candidate.commit.as_ref());
    let compare = pinned.and_then(|pin| compare::link(&up.stack.components.get(name)?.source, pin, newest));
    let version = candidate.version.as_str().to_owned();
    let newest_allowed = Some(Side { version, published: candidate.published, digest: None });
    Ok(Found { newest_allowed, compare, ahead, passed_over, findings })
}

/// A row for each component, with notes below it.
fn table(rows: &[Row]) -> impl Iterator<Item = String> {
    let cells = rows.iter().map(|row| {
        let newest = match &row.found.newest_allowed {
            None => "unknown".to_owned(),
            Some(side) if row.found.ahead => format!("{}, which is older", side.shown()),
            Some(_) if !row.outdated => "up to date".to_owned(),
            Some(side) => side.shown(),
        };
        let pinned = row.pinned.as_ref().map_or_else(|| "not pinned".to_owned(), Side::shown);
        [row.name.clone(), pinned, newest]
    });
    let header = ["component", "pinned", "newest"].map(str::to_owned);
    let mut lines = io::columns(std::iter::once(header).chain(cells).collect()).into_iter();
    let header = lines.next();
    let rest = lines.zip(rows).flat_map(|(line, row)| {
        let notes = notes(row).map(|note| format!("    {note}"));
        std::iter::once(line).chain(notes)
    });
    header.into_iter().chain(rest)
}

fn notes(row: &Row) -> impl Iterator<Item = String> {
    let Found { compare, passed_over, findings, .. } = &row.found;
    let findings = findings.iter().map(|finding| format!("warning: {finding}"));
    let passed_over = shortened(passed_over, LISTED).into_iter().map(|passed| format!("passed over {passed}"));
    findings.chain(compare.clone()).chain(row.error.clone()).chain(row.waivers.clone()).chain(passed_over)
}

impl Side {
    fn shown(&self) -> String {
        let digest = self.digest.as_deref().and_then(|digest| digest.get(..19)).map(str::to_owned);
        let date = self.published.as_ref().map(|published| published.date().to_string());
        let details: Vec<String> = date.into_iter().chain(digest).collect();
        let version = short_version(&self.version);
        if details.is_empty() { version.to_owned() } else { format!("{version} ({})", details.join(", ")) }
    }
}
