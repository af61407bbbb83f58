//! Reads a repository's releases, page by page, as far as the choice needs.

use std::collections::BTreeMap;

use chrono::TimeDelta;

use super::choose::{ChooseError, Rules, Seen};
use super::client::Page;
use super::error::GithubError;
use super::release::{Release, version_of};
use super::{Chosen, Repo, files};
use crate::domain::stack::FileSpec;
use crate::domain::version::Version;
use crate::error::hinted;
use crate::upstream::{Gate, PassedOver, Upstream};

/// How long after its creation a release may still be published.
///
/// GitHub lists by creation (the date of the commit), we choose by publication or version. What comes
/// further down the listing was created earlier; were it published later than the best so far, it waited
/// for longer than from its creation to that publication. Convex needs half an hour; nobody on our list
/// needs a week. Where versions are sorted by number, a line that is still being patched could push a higher
/// number that far down; `require` in stack.toml names one line for those upstreams.
const LONGEST_WAIT: TimeDelta = TimeDelta::days(7);

/// An end for a server that links its pages in a circle; GitHub's own listings end at 1,000 or 10,000.
const MOST_PAGES: usize = 101;

/// Where a listing is cut off, whatever comes after (docs.github.com does not say; the reply does, with 422).
const LISTED: usize = 1_000;

/// After so many lists of checksums without our files it is not the releases that are at fault.
const MOST_LACKING: usize = 20;

/// How many pages an error may cost beyond those that were read anyway.
const PAGES_FOR_SUGGESTION: usize = 3;

/// The newest release that fits; where the listing has none, the one that upstream promotes.
pub(super) async fn newest(
    up: Upstream<'_>,
    rules: Rules<'_>,
    repo: Repo<'_>,
) -> anyhow::Result<(Chosen, Vec<PassedOver>)> {
    let mut lacking: BTreeMap<Version, String> = BTreeMap::new();
    loop {
        // From the top again: pages are kept, and the best of the rest may be further down than was read.
        let mut seen = Vec::new();
        read(up, repo, |page| {
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
            return promoted(up, rules, repo, &seen).await;
        };
        // Files at an address of their own are complete when their list of checksums says so.
        let Some(refused) = not_in_checksums(up, rules, &best).await? else {
            return Ok(((&best).into(), rules.passed_over(&seen, &best)));
        };
        lacking.insert(best.version, refused);
    }
}

/// Reads pages until `is_enough`, or to the end of the listing.
async fn read(up: Upstream<'_>, repo: Repo<'_>, mut is_enough: impl FnMut(&Page) -> bool) -> Result<(), GithubError> {
    let mut page = up.github.first_page(repo.name).await?;
    let mut read = 0;
    for _ in 0..MOST_PAGES {
        read += page.releases.len();
        if is_enough(&page) || page.releases.is_empty() {
            break;
        }
        let Some(next) = &page.next else { break };
        page = match up.github.page(repo.name, next).await {
            Ok(page) => page,
            Err(GithubError::ListingEnds { .. }) => break,
            // Instead of saying so, GitHub has also failed there.
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
        // Without dates the page's own order is all there is.
        _ => true,
    }
}

/// The release that upstream's version service promotes: a listing that ends at 1,000 may not hold it.
/// Whether GitHub's page calls it a prerelease does not matter then; upstream has spoken.
async fn promoted(
    up: Upstream<'_>,
    rules: Rules<'_>,
    repo: Repo<'_>,
    seen: &[Seen],
) -> anyhow::Result<(Chosen, Vec<PassedOver>)> {
    #[derive(serde::Deserialize)]
    struct Promoted {
        version: String,
    }
    let newest = seen.iter().max_by(|left, right| rules.order(left, right));
    let nothing = || ChooseError::NothingFits {
        repo: repo.name.to_owned(),
        looked: seen.len(),
        first: newest.map(|seen| {
            let reason = seen.refused.as_ref().map_or("complete", |(_, reason)| reason.as_str());
            format!("{}: {reason}", seen.version)
        }),
    };
    let suggested = |error: anyhow::Error| match rules.suggestion(seen) {
        Some(suggestion) => hinted(error, suggestion),
        None => error,
    };
    let Some(service) = repo.promoted else { return Err(suggested(nothing().into())) };
    let found = async {
        let Promoted { version } = up.http.json(service).await?;
        let version = rules.component.scheme.parse(version.strip_prefix(repo.prefix).unwrap_or(&version))?;
        let release = up.github.release(repo.name, &format!("{}{version}", repo.prefix)).await?;
        anyhow::Ok((version, release))
    };
    let (version, release) =
        found.await.map_err(|error| suggested(error.context(nothing()).context(format!("{service} does not help"))))?;
    if let Some(error) = rules.refuse_asked_for(&release, &version) {
        return Err(suggested(anyhow::Error::from(error).context(format!("{service} promotes {version}"))));
    }
    let promoted = Seen { version, release, refused: None };
    if let Some(reason) = rules.too_fresh(&promoted.release)
        && let Some(chosen) = pinned(up, rules, repo).await?
    {
        let (version, published) = (promoted.version.to_string(), promoted.release.published());
        let waits = PassedOver { version, published, gate: Gate::TooFresh, reason };
        return Ok((chosen, vec![waits]));
    }
    Ok(((&promoted).into(), rules.passed_over(seen, &promoted)))
}

/// The release that is pinned, where it is still there.
async fn pinned(up: Upstream<'_>, rules: Rules<'_>, repo: Repo<'_>) -> anyhow::Result<Option<Chosen>> {
    let Some(pin) = up.lock.components.get(rules.name) else { return Ok(None) };
    let version = rules.component.scheme.parse(&pin.version)?;
    match up.github.release(repo.name, pin.tag.as_deref().unwrap_or(&pin.version)).await {
        Ok(release) => Ok(Some(Chosen { version, release })),
        Err(GithubError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a release with files elsewhere (`file.url`) cannot be pinned: its list of checksums lacks one.
async fn not_in_checksums(up: Upstream<'_>, rules: Rules<'_>, seen: &Seen) -> anyhow::Result<Option<String>> {
    let Some(file @ FileSpec { checksums: Some(_), .. }) = &rules.component.file else { return Ok(None) };
    let (tag, version) = (seen.release.tag_name.as_str(), seen.version.as_str());
    match files::checksums(up, file, tag, version).await {
        Ok(list) => {
            let names = files::spellings(rules.component).map(|(_, arch)| file.file_name(tag, version, arch));
            let missing: Vec<String> =
                names.filter(|name| !list.sums.contains_key(name)).map(|name| format!("`{name}`")).collect();
            Ok((!missing.is_empty()).then(|| format!("its list of checksums has no {}", missing.join(", "))))
        }
        // A release is announced before its files are there.
        Err(error) if files::is_gone(&error) => Ok(Some("its list of checksums is not there".to_owned())),
        Err(error) => Err(error),
    }
}

/// Puts the newest complete releases under an error, reading a few pages for them; `but` is the tag of one that
/// only looks complete. Where that fails, the error stays as it is: it is the one to tell.
pub(super) async fn with_newest_complete(
    up: Upstream<'_>,
    rules: Rules<'_>,
    repo: Repo<'_>,
    error: anyhow::Error,
    but: Option<&str>,
) -> anyhow::Error {
    let mut seen = Vec::new();
    let mut pages = 0;
    let result = read(up, repo, |page| {
        pages += 1;
        let others = page.releases.iter().filter(|release| but != Some(release.tag_name.as_str()));
        seen.extend(others.filter_map(|release| rules.judge(release)));
        pages >= PAGES_FOR_SUGGESTION || rules.can_suggest(&seen)
    })
    .await;
    match (result, rules.suggestion(&seen)) {
        // A tag and its repository are both 404; the listing tells which of them is not there.
        (Err(no_repository @ GithubError::NoRepository { .. }), _)
            if matches!(error.downcast_ref(), Some(ChooseError::NoRelease { .. })) =>
        {
            no_repository.into()
        }
        (_, Some(suggestion)) => hinted(error, suggestion),
        _ => error,
    }
}

/// The first page's stable releases, newest first, whatever the form of their tags.
pub(super) async fn stable(up: Upstream<'_>, rules: Rules<'_>, repo: Repo<'_>) -> anyhow::Result<Vec<Release>> {
    let mut stable: Vec<Release> = Vec::new();
    read(up, repo, |page| {
        let fits = |release: &&Release| {
            !release.draft
                && !release.prerelease
                && release.published_at.is_some()
                && version_of(rules.component, repo.prefix, &release.tag_name).is_none()
        };
        stable.extend(page.releases.iter().filter(fits).cloned());
        !stable.is_empty()
    })
    .await?;
    stable.sort_by_key(|release| std::cmp::Reverse(release.published_at));
    Ok(stable)
}
