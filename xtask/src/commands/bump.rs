//! `bump`: candidates → select → digests → new lock → atomic write → render.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};

use super::resolve::{AT_ONCE, Resolver, held, names, say_ended_holds, units, waves};
use super::{Session, checkout, render};
use crate::cli;
use crate::domain::compare;
use crate::domain::lock::{Lock, LockError, Pin};
use crate::domain::rules;
use crate::domain::stack::{Source, Stack};
use crate::domain::trust::Trust;
use crate::error::{HintExt as _, ended, hinted, split};
use crate::io::progress::Waiting;
use crate::io::{self, files};
use crate::upstream::{self, Candidate, Finding, PassedOver, Upstream, Want};

mod report;

pub(crate) use report::Bumped;

#[derive(Debug)]
struct Resolution {
    name: String,
    old: Option<Pin>,
    new: Pin,
    /// Files in the checkout that belong to the new pin.
    files: Vec<(PathBuf, String)>,
    passed_over: Vec<PassedOver>,
    /// Findings about the old pin, if it is kept.
    findings: Vec<Finding>,
    /// GitHub's comparison of both pins.
    compare: Option<String>,
}

impl Resolution {
    /// Whether more changes than the waiting versions.
    fn is_change(&self) -> bool {
        let without_seen = |pin: &Pin| Pin { seen: self.new.seen.clone(), ..pin.clone() };
        self.old.as_ref().map(without_seen).as_ref() != Some(&self.new) || !self.files.is_empty()
    }
}

pub(crate) async fn run(session: &Session, args: &cli::Bump) -> anyhow::Result<()> {
    let report = bump(session, args).await?;
    session.print(&report.document(), || report.text().trim_end().to_owned())?;
    report.tell_github_actions()?;
    ended(report.failures)
}

/// Bumps without printing a result: `rehearse` prints its own table.
pub(crate) async fn bump(session: &Session, args: &cli::Bump) -> anyhow::Result<Bumped> {
    let stack = checkout::read_stack(&session.root)?;
    let names = names(&stack, &args.pins.names)?;
    let want = want(args)?;
    // Locked until the end, because resolving depends on the other pins.
    let _held = if args.dry_run { None } else { Some(files::hold(&session.root).await?) };
    let before = checkout::read_lock_text(&session.root)?;
    let lock = checkout::parse_lock(&before)?;
    let mut resolver = Resolver::new(session, stack, lock)?;
    resolver.clock.waived = args.now;

    let (resolutions, mut failures) = resolve(&resolver, &names, &want).await;
    if !args.keep_going {
        ended(std::mem::take(&mut failures))?;
    }
    let new = new_lock(&resolver, &resolutions)?;
    let text = new.to_text()?;
    // Whatever upstream returned, the next run must be able to read the lock.
    let is_read_again = Lock::parse(&text).context("the new lock cannot be read again; nothing was written")?;
    ensure!(is_read_again == new, "the new lock does not read back as the same; nothing was written");
    let changed = text != resolver.lock.to_text()? || resolutions.iter().any(|one| !one.files.is_empty());

    if changed && !args.dry_run {
        if checkout::read_lock_text(&session.root)? != before {
            return Err(anyhow::anyhow!("versions.lock was changed by another program meanwhile; nothing was written"))
                .hint(|| "run it again");
        }
        write(&session.root, &resolver.stack, &new, text, &resolutions)?;
    }
    let dropped = resolver.lock.components.keys().filter(|name| !new.components.contains_key(*name)).cloned();
    Ok(Bumped {
        changed,
        written: changed && !args.dry_run,
        dropped: dropped.collect(),
        resolutions,
        asked: args.pins.names.clone(),
        now: resolver.clock.now,
        github: resolver.upstream().github.usage(),
        failures,
    })
}

fn want(args: &cli::Bump) -> anyhow::Result<Want> {
    match (&args.to, args.pins.names.as_slice()) {
        (None, _) => Ok(Want::Newest),
        (Some(to), [_]) => Ok(Want::Exactly(to.clone())),
        (Some(to), _) => Err(anyhow::anyhow!("--to needs exactly one component"))
            .hint(|| format!("cargo xtask bump NAME --to {}", to.escape_debug())),
    }
}

/// Resolves all components concurrently; failures do not affect the others.
async fn resolve(resolver: &Resolver, names: &[String], want: &Want) -> (Vec<Resolution>, Vec<anyhow::Error>) {
    let units = units(&resolver.stack, names);
    for (leader, members) in &units {
        for follower in members.iter().filter(|member| *member != leader) {
            let asked_for_follower_only = names.contains(follower) && !names.contains(leader);
            if asked_for_follower_only {
                io::say(&format!("note: `{follower}` and `{leader}` are from one release and change together"));
            }
        }
    }
    let broken = broken(&resolver.lock, &resolver.stack);
    let waiting = Waiting::new(units.keys());
    let mut resolutions: Vec<Resolution> = Vec::new();
    let mut failures = Vec::new();
    for wave in waves(&resolver.stack, &units) {
        let settled: Vec<String> = resolutions.iter().map(|one| one.name.clone()).collect();
        let mut lock = resolver.lock.clone();
        lock.components.extend(resolutions.iter().map(|one| (one.name.clone(), one.new.clone())));
        let up = Upstream { lock: &lock, settled: &settled, ..resolver.upstream() };
        let results = stream::iter(wave)
            .map(async |(leader, members)| {
                let unit = resolve_unit(up, leader, members, want, &broken).await;
                waiting.done(leader);
                unit.with_context(|| format!("failed to bump `{leader}`"))
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let (succeeded, failed) = split(results);
        resolutions.extend(succeeded.into_iter().flatten());
        failures.extend(failed);
    }
    drop(waiting);
    resolver.say_warnings();
    say_ended_holds(resolver.upstream(), names);
    resolutions.sort_by(|one, other| one.name.cmp(&other.name));
    (resolutions, failures)
}

async fn resolve_unit(
    up: Upstream<'_>,
    leader: &str,
    members: &[String],
    want: &Want,
    broken: &BTreeSet<String>,
) -> anyhow::Result<Vec<Resolution>> {
    let candidate = upstream::candidate(up, leader, want).await?;
    let is_whole = members.iter().all(|name| !broken.contains(name) && up.lock.components.contains_key(name));
    let may_stay = !candidate.asked && is_whole;
    let held = held(up, members, &candidate).filter(|_| may_stay);
    let stays = may_stay && (held.is_some() || is_ahead(up, leader, members, &candidate));
    let mut unit = Vec::new();
    for name in members {
        let old = up.lock.components.get(name).cloned();
        let mut passed_over = if name == leader { candidate.passed_over.clone() } else { Vec::new() };
        let kept = old.clone().filter(|pin| {
            stays || !candidate.asked && !broken.contains(name) && is_at(up.stack, name, pin, &candidate)
        });
        let (new, files) = if let Some(pin) = kept {
            if let Some(held) = held.as_ref().filter(|held| name == leader && held.version != pin.version) {
                passed_over.insert(0, held.clone());
            }
            let seen = if stays { pin.seen.clone() } else { candidate.seen.clone() };
            (Pin { seen, ..pin }, Vec::new())
        } else {
            let resolved = upstream::pin(up, name, &candidate).await.with_context(|| format!("cannot pin `{name}`"))?;
            passed_over.extend(resolved.passed_over);
            // If an attestation cannot be verified here, the trust has not decreased.
            let is_measure = |pin: &&Pin| !resolved.unchecked || pin.trust != Some(Trust::Attested);
            vouched(up, name, old.as_ref().filter(is_measure), &resolved.pin, candidate.asked)?;
            (resolved.pin, resolved.files)
        };
        let newest = compare::reference(new.tag.as_deref(), new.commit.as_ref());
        let compare = old.as_ref().and_then(|old| compare::link(&up.stack.components.get(name)?.source, old, newest));
        let mut one = Resolution { name: name.clone(), old, new, files, passed_over, findings: Vec::new(), compare };
        if !candidate.asked && !one.is_change() {
            one.findings = upstream::standing(up, name, &candidate).await?;
        }
        unit.push(one);
    }
    Ok(unit)
}

/// Refuses a pin with less trust than `stack.toml` requires, or than the old pin had, which may be the first sign of a
/// compromised upstream. `--to` only warns about the latter.
fn vouched(up: Upstream<'_>, name: &str, old: Option<&Pin>, new: &Pin, asked: bool) -> anyhow::Result<()> {
    let Some(found) = new.trust else { return Ok(()) };
    let version = new.tag.as_deref().unwrap_or(&new.version);
    if let Some(wanted) = up.stack.component(name)?.trust.filter(|wanted| found < *wanted) {
        let error = anyhow::anyhow!("the digests of `{name}` {version} are {found}, but stack.toml requires {wanted}");
        return Err(error).hint(|| {
            format!("wait until upstream publishes more, or lower `trust` of [components.{name}] in stack.toml")
        });
    }
    let Some(before) = old.and_then(|old| old.trust).filter(|before| found < *before) else { return Ok(()) };
    let message = format!("the digests of `{name}` {version} are {found}, those before were {before}");
    if asked {
        io::say(&format!("warning: {message}"));
        return Ok(());
    }
    Err(anyhow::anyhow!(message))
        .hint(|| format!("find out why; to pin it anyway: cargo xtask bump {name} --to {version}"))
}

/// Whether the pin is newer than the candidate, and is kept.
fn is_ahead(up: Upstream<'_>, leader: &str, members: &[String], candidate: &Candidate) -> bool {
    let Some(pin) = up.lock.components.get(leader) else { return false };
    let is_ahead = upstream::is_ahead(up.stack, leader, pin, candidate)
        && members.iter().all(|name| up.lock.components.get(name).is_some_and(|other| other.version == pin.version));
    if is_ahead {
        io::say(&format!(
            "note: `{leader}` stays pinned at {}, which is newer than {}; to go back: cargo xtask bump {leader} --to {}",
            pin.version, candidate.version, candidate.version
        ));
    }
    is_ahead
}

/// Whether a pin has the candidate's version already. Its digests are kept then: replaced files and moved tags are only
/// reported, and taken with `--to`. The version does not determine the pin for image tags, which move, and snapshots,
/// whose packages are in `stack.toml`.
fn is_at(stack: &Stack, name: &str, pin: &Pin, candidate: &Candidate) -> bool {
    let source = stack.components.get(name).map(|component| &component.source);
    let is_determined = !matches!(source, Some(Source::Oci { .. } | Source::Debian { .. }));
    is_determined && pin.version == candidate.version.as_str() && pin.tag == candidate.tag
}

/// The components whose pins are invalid (an architecture is missing, another kind of source).
fn broken(lock: &Lock, stack: &Stack) -> BTreeSet<String> {
    let wrong = lock.check(stack).err().unwrap_or_default();
    wrong.iter().filter_map(LockError::component).map(str::to_owned).collect()
}

/// The new lock, without components that the stack does not have. Checks each new pin and the rules between components.
fn new_lock(resolver: &Resolver, resolutions: &[Resolution]) -> anyhow::Result<Lock> {
    let stack = &resolver.stack;
    let mut components = resolver.lock.components.clone();
    components.retain(|name, _| stack.components.contains_key(name));
    components.extend(resolutions.iter().map(|one| (one.name.clone(), one.new.clone())));
    let lock = Lock::new(components);
    // Former errors of other components are not due to this bump.
    let is_ours =
        |error: &LockError| error.component().is_none_or(|name| resolutions.iter().any(|one| one.name == name));
    let (ours, others): (Vec<_>, Vec<_>) = lock.check(stack).err().unwrap_or_default().into_iter().partition(is_ours);
    ended(ours.into_iter().map(|error| anyhow::Error::new(error).context("the new lock is not valid")).collect())?;
    for error in others.iter().filter(|error| !matches!(error, LockError::Unpinned(_))) {
        io::say(&format!("note: {error}, as before"));
    }

    let verdict = rules::check(stack, &lock);
    let before = rules::check(stack, &resolver.lock).violations;
    let (old, new): (Vec<_>, Vec<_>) = verdict.violations.into_iter().partition(|found| before.contains(found));
    for violation in old {
        io::say(&format!("note: {}, as before", violation.message));
    }
    let violations = new.into_iter().map(|violation| {
        let what = format!("the new pins break the rule `{}`", violation.rule);
        let hint = format!("bump `{}` too, or choose a version with --to; nothing was written", violation.component);
        hinted(anyhow::anyhow!(violation.message).context(what), hint)
    });
    ended(violations.collect())?;
    for waiver in verdict.stale_waivers {
        if waiver.versions.keys().all(|name| lock.components.contains_key(name)) {
            io::say(&format!(
                "note: the waiver of `{}` for `{}` does not apply any more: delete it from stack.toml",
                waiver.rule, waiver.component
            ));
        }
    }
    Ok(lock)
}

/// Writes the files of the pins, the rendered files and the lock: all or none.
fn write(root: &Path, stack: &Stack, lock: &Lock, text: String, resolutions: &[Resolution]) -> anyhow::Result<()> {
    let mut drifts = Vec::new();
    if !root.join("templates").is_dir() {
        io::say("note: nothing is rendered, because there is no templates/");
    } else if lock.check(stack).is_ok() {
        drifts = render::drifts(root, stack, lock).context("the new pins cannot be rendered; nothing was written")?;
    } else {
        io::say("note: nothing is rendered, because not every component is pinned yet");
    }
    let mut contents: Vec<(PathBuf, String)> = resolutions.iter().flat_map(|one| one.files.clone()).collect();
    contents.push((PathBuf::from(files::LOCK), text));
    render::write(root, &drifts, contents)
        .hint(|| format!("is {} read-only? --dry-run only prints", root.display()))?;
    for drift in drifts {
        io::say(&format!("rendered {}", drift.path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_is_for_one_component() {
        let args = |names: &[&str], to: Option<&str>| cli::Bump {
            pins: cli::Names { names: names.iter().map(|name| (*name).to_owned()).collect() },
            to: to.map(str::to_owned),
            now: false,
            keep_going: false,
            dry_run: false,
        };
        assert_eq!(want(&args(&["convex"], Some("x"))).unwrap(), Want::Exactly("x".to_owned()));
        assert_eq!(want(&args(&[], None)).unwrap(), Want::Newest);
        assert!(want(&args(&[], Some("x"))).is_err());
        assert!(want(&args(&["convex", "node"], Some("x"))).is_err());
    }
}
