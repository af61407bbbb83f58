//! `outdated`: stack + lock → candidates → table; writes nothing.

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::Session;
use super::resolve::{AT_ONCE, Resolver, ended, names, shortened};
use crate::cli::{self, Format};
use crate::domain::lock::{Pin, Pinned, Published};
use crate::domain::rules;
use crate::domain::stack::{Source, Waiver};
use crate::io::{self, files};
use crate::upstream::{self, PassedOver, Upstream, Want};

/// How many passed-over releases a note tells.
const TOLD: usize = 2;

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    pinned: Option<Side>,
    newest: Option<Side>,
    outdated: bool,
    /// What is pinned is newer than what `bump` takes by itself.
    ahead: bool,
    passed_over: Vec<PassedOver>,
    waivers: Vec<String>,
    /// Why upstream could not be asked, in a line; the whole of it is on stderr.
    error: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Side {
    version: String,
    published: Option<Published>,
    /// What a version that is moved on purpose (an image tag) stands for.
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

pub(crate) async fn run(session: &Session, args: &cli::Names) -> anyhow::Result<()> {
    let stack = files::read_stack(&session.root)?;
    let names = names(&stack, &args.names)?;
    let lock = files::read_lock_unchecked(&session.root)?;
    let resolver = Resolver::new(session, stack, lock)?;
    let up = resolver.upstream();
    let newest: Vec<anyhow::Result<Newest>> = stream::iter(&names)
        .map(|name| async move { newest(up, name).await.with_context(|| format!("failed to look up `{name}`")) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    resolver.say_warnings();

    let verdict = rules::check(&resolver.stack, &resolver.lock);
    let mut failures = Vec::new();
    let mut rows = Vec::new();
    for (name, result) in names.into_iter().zip(newest) {
        let pinned: Option<Side> = resolver.lock.components.get(&name).map(Into::into);
        let waived = verdict.waived.iter().filter(|waiver| waiver.component == name);
        let waivers = waived.map(|waiver: &&Waiver| format!("`{}` waived: {}", waiver.rule, waiver.reason)).collect();
        let (newest, ahead, passed_over, error) = match result {
            Ok(Newest { side, ahead, passed_over }) => (Some(side), ahead, passed_over, None),
            Err(error) => {
                let line = format!("{}", error.root_cause());
                failures.push(error);
                (None, false, Vec::new(), Some(line))
            }
        };
        let differs = |newest: &Side| {
            pinned.as_ref().is_none_or(|pin| (&pin.version, &pin.digest) != (&newest.version, &newest.digest))
        };
        let outdated = !ahead && newest.as_ref().is_some_and(differs);
        rows.push(Row { name, pinned, newest, outdated, ahead, passed_over, waivers, error });
    }
    match session.format {
        Format::Json => io::print(&serde_json::to_string_pretty(&rows)?),
        Format::Text => io::print(table(&rows).trim_end()),
    }
    ended(failures)
}

/// What `bump` would take.
struct Newest {
    side: Side,
    ahead: bool,
    passed_over: Vec<PassedOver>,
}

/// What upstream has. An image's tag says nothing by itself, so its digest is asked for.
async fn newest(up: Upstream<'_>, name: &str) -> anyhow::Result<Newest> {
    let mut candidate = upstream::candidate(up, name, &Want::Newest).await?;
    if upstream::leader(up.stack, name) != name {
        // What its leader passed over stands in the leader's row.
        candidate.passed_over.clear();
    }
    if matches!(up.stack.component(name)?.source, Source::Oci { .. }) {
        let resolved = upstream::pin(up, name, &candidate).await?;
        let side = (&resolved.pin).into();
        return Ok(Newest { side, ahead: false, passed_over: candidate.passed_over });
    }
    let pinned = up.lock.components.get(name);
    let ahead = pinned.is_some_and(|pin| upstream::is_ahead(up.stack, name, pin, &candidate));
    let version = candidate.version.as_str().to_owned();
    let side = Side { version, published: candidate.published, digest: None };
    Ok(Newest { side, ahead, passed_over: candidate.passed_over })
}

/// Columns as wide as their widest cell.
fn table(rows: &[Row]) -> String {
    let mut lines = vec![["component", "pinned", "newest", "note"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let newest = match (&row.newest, &row.error) {
            (Some(side), _) if row.ahead => format!("{}, which is older", side.shown()),
            (Some(_), _) if !row.outdated => "up to date".to_owned(),
            (Some(side), _) => side.shown(),
            (None, Some(error)) => format!("unknown: {error}"),
            (None, None) => "unknown".to_owned(),
        };
        let mut notes = row.waivers.clone();
        let passed_over = shortened(&row.passed_over, TOLD);
        if !passed_over.is_empty() {
            notes.push(format!("passed over {}", passed_over.join("; ")));
        }
        let pinned = row.pinned.as_ref().map_or_else(|| "not pinned".to_owned(), Side::shown);
        [row.name.clone(), pinned, newest, notes.join("; ")]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let shown = lines.iter().map(|[name, pinned, newest, note]| {
        let line = format!("{name:0$}  {pinned:1$}  {newest:2$}  {note}", widths[0], widths[1], widths[2]);
        line.trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

impl Side {
    fn shown(&self) -> String {
        let digest = self.digest.as_deref().and_then(|digest| digest.get(..19));
        let details: Vec<&str> = self.published.as_ref().map(Published::date).into_iter().chain(digest).collect();
        if details.is_empty() { self.version.clone() } else { format!("{} ({})", self.version, details.join(", ")) }
    }
}
