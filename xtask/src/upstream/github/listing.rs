//! Reads a repository's releases, as many pages as needed.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::choose::Seen;
use super::client::Page;
use super::error::GithubError;
use super::release::Release;
use super::{Repo, files};
use crate::domain::stack::FileSpec;
use crate::domain::version::Version;
use crate::upstream::{Gate, PassedOver};

/// The longest time from creation to publication of a release.
///
/// GitHub lists by creation (the date of the commit), but publication or version decide. Reading stops at releases that
/// were created this long before the best one was published. Convex needs half an hour; no upstream needs a week. If an
/// upstream still patches older lines, `require` in stack.toml must select one line.
const LONGEST_WAIT: TimeDelta = TimeDelta::days(7);

/// A limit for servers whose pages link in a circle; GitHub's listings end at 1,000 or 10,000 releases.
const MOST_PAGES: usize = 101;

/// Where a listing ends, with 422 (not documented by docs.github.com).
const LISTED: usize = 1_000;

/// The limit of lists of checksums without our files.
const MOST_LACKING: usize = 20;

/// How many pages are read for the suggestion in an error.
const PAGES_FOR_SUGGESTION: usize = 3;

/// The newest release that can be taken, or else the one that upstream promotes.
pub(super) async fn newest(repo: Repo<'_>) -> anyhow::Result<(Seen, Vec<PassedOver>)> {
    let rules = repo.rules;
    let mut lacking: BTreeMap<Version, String> = BTreeMap::new();
    loop {
        // Start again: pages are cached, and the next best may be on a page that is not read yet.
        let mut seen = Vec::new();
        read(repo, |page| {
            seen.extend(page.releases.iter().filter_map(|release| rules.judge(release)).map(|mut seen| {
                if let Some(reason) = lacking.get(&seen.version) {
                    seen.refused = Some((Gate::Incomplete, reason.clone()));
                }
                seen
            }));
            rules.best(&seen).is_some_and(|best| is_settled(best, page))
        })
        .await?;
        let Some(best) = rules.best(&seen).filter(|_| lacking.len() < MOST_LACKING).cloned() else {
            return promoted(repo, &seen).await;
        };
        // For files at other addresses, the list of checksums must be complete.
        let Some(refused) = not_in_checksums(repo, &best).await? else {
            let passed_over = rules.passed_over(&seen, &best);
            return Ok((best, passed_over));
        };
        lacking.insert(best.version, refused);
    }
}

/// Reads pages until `is_enough`, or to the end of the listing.
async fn read(repo: Repo<'_>, mut is_enough: impl FnMut(&Page) -> bool) -> Result<(), GithubError> {
    let github = repo.up.github;
    let mut page = github.first_page(repo.name).await?;
    let mut read = 0;
    for _ in 0..MOST_PAGES {
        read += page.releases.len();
        if is_enough(&page) || page.releases.is_empty() {
            break;
        }
        let Some(next) = &page.next else { break };
        page = match github.page(repo.name, next).await {
            Ok(page) => page,
            Err(GithubError::ListingEnds { .. }) => break,
            // GitHub has also failed there instead of answering 422.
            Err(GithubError::Refused { status, .. }) if read >= LISTED && status.is_server_error() => break,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Whether no later page can hold a newer release than `best`; see [`LONGEST_WAIT`].
fn is_settled(best: &Seen, page: &Page) -> bool {
    let created = |release: &Release| release.created_at.or(release.published_at);
    let last = page.releases.iter().rev().find_map(created);
    match (best.release.published_at, last) {
        (Some(published), Some(last)) => last + LONGEST_WAIT < published,
        // Without dates, trust the order of the listing.
        _ => true,
    }
}

/// The release that upstream's version service promotes, which may not be among the 1,000 listed ones. It may be marked
/// as a prerelease.
async fn promoted(repo: Repo<'_>, seen: &[Seen]) -> anyhow::Result<(Seen, Vec<PassedOver>)> {
    #[derive(serde::Deserialize)]
    struct Promoted {
        version: String,
    }
    let rules = repo.rules;
    let newest = seen.iter().max_by(|left, right| rules.order(left, right)).map(|seen| {
        let reason = seen.refused.as_ref().map_or("complete", |(_, reason)| reason.as_str());
        format!("{}: {reason}", seen.version)
    });
    let nothing = nothing_fits(repo, seen.len(), newest);
    let Some(service) = repo.promoted else { return Err(rules.suggest(anyhow::Error::msg(nothing), seen)) };
    let found = async {
        let Promoted { version } = repo.up.http.json(service).await?;
        let version = rules.parse(&version)?;
        let release = repo.release(&format!("{}{version}", rules.prefix)).await?;
        anyhow::Ok((version, release))
    };
    let found = found.await.with_context(|| nothing).with_context(|| format!("{service} names no release"));
    let (version, release) = found.map_err(|error| rules.suggest(error, seen))?;
    if let Some((_, reason)) = rules.refuse_asked_for(&release, &version) {
        let error = anyhow::Error::msg(reason).context(format!("{service} promotes {version}"));
        return Err(rules.suggest(error, seen));
    }
    let promoted = Seen { version, release, refused: None };
    if let Some(reason) = rules.too_fresh(&promoted.release)
        && let Some(pinned) = pinned(repo).await?
    {
        let (version, published) = (promoted.version.to_string(), promoted.release.published());
        let waits = PassedOver { version, published, gate: Gate::TooFresh, reason };
        return Ok((pinned, vec![waits]));
    }
    let passed_over = rules.passed_over(seen, &promoted);
    Ok((promoted, passed_over))
}

/// The message if no release can be taken. `newest` is the newest one, and why it cannot.
pub(super) fn nothing_fits(repo: Repo<'_>, looked: usize, newest: Option<String>) -> String {
    let newest = newest.map(|newest| format!("; the newest is {newest}")).unwrap_or_default();
    format!("none of the {looked} checked releases of `{}` can be taken{newest}", repo.name)
}

/// The pinned release, if it still exists.
async fn pinned(repo: Repo<'_>) -> anyhow::Result<Option<Seen>> {
    let Some(pin) = repo.up.lock.components.get(repo.rules.name) else { return Ok(None) };
    let version = repo.rules.component.scheme.parse(&pin.version)?;
    match repo.release(pin.tag.as_deref().unwrap_or(&pin.version)).await {
        Ok(release) => Ok(Some(Seen { version, release, refused: None })),
        Err(GithubError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a release with files at other addresses (`file.url`) cannot be pinned: its list of checksums is incomplete.
async fn not_in_checksums(repo: Repo<'_>, seen: &Seen) -> anyhow::Result<Option<String>> {
    let component = repo.rules.component;
    let Some(file @ FileSpec { checksums: Some(_), .. }) = &component.file else { return Ok(None) };
    let (tag, version) = (seen.release.tag_name.as_str(), seen.version.as_str());
    match files::checksums(repo.up, file, tag, version).await {
        Ok(list) => {
            let names = files::spellings(component).map(|(_, arch)| file.file_name(tag, version, arch));
            let missing: Vec<String> =
                names.filter(|name| !list.sums.contains_key(name)).map(|name| format!("`{name}`")).collect();
            Ok((!missing.is_empty()).then(|| format!("its list of checksums lacks {}", missing.join(", "))))
        }
        // A release is published before its files.
        Err(error) if files::is_gone(&error) => Ok(Some("its list of checksums does not exist".to_owned())),
        Err(error) => Err(error),
    }
}

/// Suggests the newest complete releases in the hint of an error, except the one with the tag `but`. Reads a few pages
/// for them; errors of that are ignored.
pub(super) async fn with_newest_complete(repo: Repo<'_>, error: anyhow::Error, but: Option<&str>) -> anyhow::Error {
    let mut seen = Vec::new();
    let mut pages = 0;
    let _ = read(repo, |page| {
        pages += 1;
        let others = page.releases.iter().filter(|release| but != Some(release.tag_name.as_str()));
        seen.extend(others.filter_map(|release| repo.rules.judge(release)));
        pages >= PAGES_FOR_SUGGESTION || repo.rules.can_suggest(&seen)
    })
    .await;
    repo.rules.suggest(error, &seen)
}

/// The stable releases of the first page that has some, newest first, whose tags are not versions of the component.
pub(super) async fn stable(repo: Repo<'_>) -> anyhow::Result<Vec<Release>> {
    let mut stable: Vec<Release> = Vec::new();
    read(repo, |page| {
        let fits = |release: &&Release| {
            !release.draft
                && !release.prerelease
                && release.published_at.is_some()
                && repo.rules.version_of(&release.tag_name).is_none()
        };
        stable.extend(page.releases.iter().filter(fits).cloned());
        !stable.is_empty()
    })
    .await?;
    stable.sort_by_key(|release| std::cmp::Reverse(release.published_at));
    Ok(stable)
}
