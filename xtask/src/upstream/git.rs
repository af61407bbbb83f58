//! Git repositories: tags and branch heads by `ls-remote`, dates by fetching a single commit.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::process::Command;

use super::{Asked, Candidate, Checked, Finding, Gate, PassedOver, Resolved, Want};
use crate::domain::digest::CommitId;
use crate::domain::lock::{GitPin, Pin, Pinned, Published};
use crate::domain::stack::{Source, Stated};
use crate::domain::trust::Trust;
use crate::domain::version::{Scheme, Version};
use crate::error::{bump_hint, hinted};
use crate::io::{self, http, process};

/// The time limit for a server.
const PATIENCE: Duration = Duration::from_secs(60);

/// Pauses between tries; the longer one is for throttling servers.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// The allowed transports, after mirrors. Others (`ext::`) can run commands.
const SCHEMES: [&str; 5] = ["https://", "http://", "git://", "ssh://", "file://"];

/// Spares all files, if the server supports that.
const NO_FILES: Option<&str> = Some("--filter=tree:0");

/// Tags, and their commits.
type Tags = BTreeMap<String, CommitId>;

pub(super) async fn candidate(asked: Asked<'_>, want: &Want) -> anyhow::Result<Candidate> {
    let Source::Git { repository, branch } = &asked.component.source else {
        bail!("a source of type {} is not a git repository", asked.component.source.kind())
    };
    let repository = GitRepository { asked, url: repository };
    let scheme = asked.component.scheme;
    match want {
        Want::Exactly(typed) if scheme == Scheme::Commit => repository.at(scheme.parse(typed)?, None, want).await,
        Want::Exactly(typed) => repository.named_tag(typed, want).await,
        Want::Newest if scheme == Scheme::Commit => {
            let branch = branch.as_deref().context("the source follows commits and has no `branch`")?;
            repository.newest_commit(branch).await
        }
        Want::Newest => repository.newest_tag().await,
    }
}

pub(super) fn pin(repository: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let commit = candidate.commit.clone().context("the version has no commit")?;
    Ok(candidate.pin(Pinned::Git(GitPin { repository: repository.parse()?, commit }), Trust::Stated).into())
}

/// Whether upstream still has what is pinned.
pub(super) async fn verify(asked: Asked<'_>, pin: &Pin, git: &GitPin) -> anyhow::Result<Checked> {
    let stated = |findings| Checked::new(findings, Trust::Stated, "the git server, the commit by itself");
    let repository = GitRepository { asked, url: git.repository.as_str() };
    if pin.tag.is_some() {
        return Ok(stated(repository.pinned_tag(&repository.tags().await?)));
    }
    // The branch may have moved on, but the commit must still be available.
    match repository.committed(&git.commit).await {
        Ok(_) => Ok(stated(Vec::new())),
        Err(error) if is_not_there(&error) => Ok(Checked::gone(format!("commit {} of {}", git.commit, repository.url))),
        Err(error) => Err(error),
    }
}

/// Whether a server has no such commit, as opposed to not answering, by git's messages (upload-pack.c, fetch.c).
fn is_not_there(error: &anyhow::Error) -> bool {
    let message = format!("{error:#}");
    ["not our ref", "couldn't find remote ref", "unadvertised object"].iter().any(|words| message.contains(words))
}

/// The repository of a component.
#[derive(Clone, Copy)]
struct GitRepository<'a> {
    asked: Asked<'a>,
    url: &'a str,
}

impl GitRepository<'_> {
    /// The tags that are versions of the component, newest first. Others (`nightly`) are not.
    fn versions(self, tags: &Tags) -> Vec<(Version, &String, &CommitId)> {
        let version = |tag: &str| self.asked.component.scheme.parse(tag).ok();
        let mut versions: Vec<_> = tags.iter().filter_map(|(tag, commit)| Some((version(tag)?, tag, commit))).collect();
        versions.sort();
        versions.reverse();
        versions
    }

    /// The tag of a requested version.
    async fn named_tag(self, typed: &str, want: &Want) -> anyhow::Result<Candidate> {
        let Self { asked, url } = self;
        let wanted = asked.component.scheme.parse(typed)?;
        let tags = self.tags().await?;
        let versions = self.versions(&tags);
        let found = versions.iter().find(|(_, tag, _)| *tag == typed);
        // `0.9.04` for `v0.9.04`: some upstreams use `v` in some tags only.
        let same_but_v = |tag: &str| tag.trim_start_matches('v') == wanted.as_str().trim_start_matches('v');
        let Some((version, tag, commit)) = found.or_else(|| versions.iter().find(|(_, tag, _)| same_but_v(tag))) else {
            let error = anyhow::anyhow!("{url} has no tag `{typed}`");
            let newest: Vec<&str> = versions.iter().take(3).map(|(_, tag, _)| tag.as_str()).collect();
            let Some(first) = newest.first() else { return Err(error) };
            let why = format!("newest tags are {}", newest.join(", "));
            return Err(hinted(error, bump_hint(&why, asked.name, first)));
        };
        asked.check_allowed(version)?;
        if asked.pin().is_none_or(|pin| pin.version != version.as_str())
            && let Some(reason) = self.does_not_fit(version, commit).await?
        {
            bail!("{version} {reason}");
        }
        self.at(version.clone(), Some((tag, commit)), want).await
    }

    /// The newest tag by its scheme.
    async fn newest_tag(self) -> anyhow::Result<Candidate> {
        let Self { asked, url } = self;
        let tags = self.tags().await?;
        let versions = self.versions(&tags);
        let pinned = asked.pinned();
        let findings = self.pinned_tag(&tags);
        let mut passed_over = Vec::new();
        let mut seen = BTreeMap::new();
        for (version, tag, commit) in &versions {
            let reason = if version.is_prerelease() {
                Some((Gate::Prerelease, "a prerelease".to_owned()))
            } else if let Some(reason) = asked.not_allowed(version) {
                Some((Gate::Constraint, reason))
            } else if pinned.as_ref().is_none_or(|pinned| version <= pinned) {
                None
            } else if let Some(reason) = asked.first_seen(commit.as_str(), &mut seen) {
                // A commit's date can be forged.
                Some((Gate::TooFresh, reason))
            } else {
                self.does_not_fit(version, commit).await?.map(|reason| (Gate::Constraint, reason))
            };
            let Some((gate, reason)) = reason else {
                let candidate = self.at(version.clone(), Some((tag, commit)), &Want::Newest).await?;
                return Ok(Candidate { passed_over, seen, findings, ..candidate });
            };
            passed_over.push(PassedOver { version: version.to_string(), published: None, gate, reason });
        }
        // If the pinned tag was deleted and all newer ones wait, the pin stays; both are reported.
        if let (Some(version), Some(Pin { tag: Some(tag), published, pinned: Pinned::Git(git), .. }), false) =
            (pinned, asked.pin(), seen.is_empty())
        {
            let (tag, commit, published) = (Some(tag.clone()), Some(git.commit.clone()), published.clone());
            let candidate = Candidate::new(version, &Want::Newest);
            return Ok(Candidate { tag, commit, published, passed_over, seen, findings, ..candidate });
        }
        bail!("none of the {} versions among the tags of {url} can be taken", versions.len())
    }

    /// Why a version does not fit the other pins, by its own files.
    async fn does_not_fit(self, version: &Version, commit: &CommitId) -> anyhow::Result<Option<String>> {
        for (other, stated) in &self.asked.component.states {
            let Stated::File { file, pattern, at_least } = stated else { continue };
            let scratch = self.fetched_commit(commit, None).await?;
            let text = io::git::show(scratch.path(), commit.as_str(), file).await.ok().flatten();
            let Some(stated) = text.as_deref().and_then(|text| pattern.find(text)) else {
                self.asked.up.notes.add(format!(
                    "note: {file} of {version} does not state which `{other}` it needs: find out where it does, and \
                     change `states` in stack.toml"
                ));
                continue;
            };
            let range = if *at_least { format!(">={stated}") } else { stated.to_owned() };
            if let Some(reason) = self.asked.does_not_go_with(other, &range) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Whether the pinned tag was moved or deleted.
    fn pinned_tag(self, tags: &Tags) -> Vec<Finding> {
        let Some(Pin { tag: Some(tag), pinned: Pinned::Git(git), .. }) = self.asked.pin() else { return Vec::new() };
        let what = format!("tag {tag} of {}", self.url);
        match tags.get(tag) {
            Some(commit) if *commit == git.commit => Vec::new(),
            Some(commit) => {
                vec![Finding::Replaced { what, pinned: git.commit.to_string(), found: commit.to_string() }]
            }
            None => vec![Finding::Deleted { what }],
        }
    }

    /// The newest commit of a branch that is old enough. On a busy branch the head is always too new, so an earlier one
    /// is taken that a former run has seen and that is still part of the branch.
    async fn newest_commit(self, branch: &str) -> anyhow::Result<Candidate> {
        let asked = self.asked;
        let head = self.head(branch).await?;
        let at = async |commit: &CommitId| {
            self.at(asked.component.scheme.parse(commit.as_str())?, None, &Want::Newest).await
        };
        let pin = asked.pin();
        let Some(pinned) = pin.and_then(|pin| pin.commit.as_ref()).filter(|pinned| **pinned != head) else {
            return at(&head).await;
        };
        let mut seen = BTreeMap::new();
        let Some(reason) = asked.first_seen(head.as_str(), &mut seen) else { return at(&head).await };
        let waits = PassedOver { version: head.to_string(), published: None, gate: Gate::TooFresh, reason };
        let mut earlier: Vec<(&Published, CommitId)> = pin
            .iter()
            .flat_map(|pin| &pin.seen)
            .filter_map(|(commit, since)| Some((since, commit.parse::<CommitId>().ok()?)))
            .filter(|(_, commit)| *commit != head)
            .collect();
        earlier.sort_by_key(|(since, _)| since.moment());
        let mut taken = pinned.clone();
        for (since, commit) in earlier.into_iter().rev() {
            if asked.up.clock.too_new_here(asked.component, since.moment()).is_some() {
                seen.insert(commit.to_string(), since.clone());
            } else if self.is_on_branch(branch, &commit).await? {
                taken = commit;
                break;
            }
        }
        Ok(Candidate { passed_over: vec![waits], seen, ..at(&taken).await? })
    }

    /// Whether a branch contains a commit: it may have been removed since it was seen.
    async fn is_on_branch(self, branch: &str, commit: &CommitId) -> anyhow::Result<bool> {
        let fetched = self.fetched(&format!("refs/heads/{branch}"), &[], NO_FILES).await;
        let scratch = fetched.with_context(|| self.unreadable())?;
        let mut is_ancestor = io::git::command(scratch.path());
        Ok(run(is_ancestor.args(["merge-base", "--is-ancestor", commit.as_str(), "FETCH_HEAD"])).await.is_ok())
    }

    /// A candidate at a commit, with the commit's date, which is only fetched if this commit is not pinned.
    async fn at(self, version: Version, tag: Option<(&String, &CommitId)>, want: &Want) -> anyhow::Result<Candidate> {
        let commit = match tag {
            Some((_, commit)) => commit.clone(),
            None => version.as_str().parse()?,
        };
        let pinned = self.asked.pin().filter(|pin| pin.commit.as_ref() == Some(&commit));
        let published = match pinned.and_then(|pin| pin.published.clone()) {
            Some(published) => Some(published),
            None => self.committed(&commit).await?,
        };
        let tag = tag.map(|(tag, _)| tag.clone());
        Ok(Candidate { tag, commit: Some(commit), published, ..Candidate::new(version, want) })
    }

    async fn tags(self) -> anyhow::Result<Tags> {
        let text = self.ls_remote(&["HEAD", "refs/tags/*"]).await?;
        // git treats a proxy's HTML page as an empty repository.
        if !text.lines().any(|line| line.ends_with("\tHEAD")) {
            bail!(
                "{} is not a git repository that has commits: is the address right, or does a proxy answer instead?",
                self.url
            );
        }
        let commit = |tag: io::git::Tag| Some((tag.name, tag.commit.parse().ok()?));
        Ok(io::git::parse_tags(&text).into_iter().filter_map(commit).collect())
    }

    async fn head(self, branch: &str) -> anyhow::Result<CommitId> {
        let text = self.ls_remote(&[&format!("refs/heads/{branch}")]).await?;
        let name = format!("\trefs/heads/{branch}");
        let head = text.lines().find_map(|line| line.strip_suffix(&name)?.parse().ok());
        head.with_context(|| format!("{} has no branch `{branch}`", self.url))
    }

    async fn ls_remote(self, patterns: &[&str]) -> anyhow::Result<String> {
        let address = self.address()?;
        let list = || {
            let mut command = git();
            command.args(["ls-remote", "--", &address]).args(patterns);
            command
        };
        ask(list).await.with_context(|| self.unreadable())
    }

    fn unreadable(self) -> String {
        format!("cannot read the git repository {}", self.url)
    }

    /// The committer date of a commit. Only the commit is fetched.
    async fn committed(self, commit: &CommitId) -> anyhow::Result<Option<Published>> {
        let scratch = self.fetched_commit(commit, NO_FILES).await?;
        Ok(Published::at(io::git::commit_moment(scratch.path(), commit.as_str()).await?))
    }

    async fn fetched_commit(self, commit: &CommitId, filter: Option<&str>) -> anyhow::Result<TempDir> {
        let fetched = self.fetched(commit.as_str(), &["--depth=1"], filter).await;
        fetched.with_context(|| format!("cannot fetch commit {commit} of {}", self.url))
    }

    /// Fetches a reference into a scratch repository, with the filter if that works.
    async fn fetched(self, reference: &str, options: &[&str], filter: Option<&str>) -> anyhow::Result<TempDir> {
        let (address, scratch) = (self.address()?, TempDir::with_prefix("xtask-git-")?);
        run(git().args(["init", "--quiet", "--bare", "--"]).arg(scratch.path())).await?;
        let fetch = |filter: Option<&str>| {
            let mut command = git();
            command.arg("-C").arg(scratch.path()).args(["fetch", "--quiet", "--no-tags"]).args(options).args(filter);
            command.args(["--", &address, reference]);
            command
        };
        if filter.is_none() || ask(|| fetch(filter)).await.is_err() {
            ask(|| fetch(None)).await?;
        }
        Ok(scratch)
    }

    /// The address after mirrors.
    fn address(self) -> anyhow::Result<String> {
        let http = self.asked.up.http;
        if http.is_offline() {
            bail!("git cannot read {} with --offline", self.url);
        }
        let address = http.mirrors().rewrite(self.url);
        if !SCHEMES.iter().any(|scheme| address.starts_with(scheme)) {
            bail!("{address} is not an allowed git address (https, http, git, ssh or file)");
        }
        Ok(address)
    }
}

/// git with a time limit for stalled transfers, and without prompts.
fn git() -> Command {
    let slow = format!("http.lowSpeedTime={}", http::timeout());
    let mut command = io::git::git();
    command.args(["-c", "http.lowSpeedLimit=1", "-c", &slow]).env("GIT_ASKPASS", "true");
    command
}

/// Runs a command for a server, and again after temporary failures.
async fn ask(command: impl Fn() -> Command) -> anyhow::Result<String> {
    let pause = |error: &anyhow::Error, failed: u32, _| {
        PAUSES.get(failed as usize - 1).copied().filter(|_| may_pass(&format!("{error:#}")))
    };
    let asked = http::again(|| async { run(&mut command()).await }, pause).await;
    asked.map_err(|error| {
        if format!("{error:#}").contains("error: 429") {
            hinted(error, "the server limits requests: wait and run it again")
        } else {
            error
        }
    })
}

/// Whether a failure is temporary, by the messages of git and its HTTP client.
fn may_pass(message: &str) -> bool {
    let words = ["error: 429", "error: 5", "RPC failed", "early EOF", "disconnect", "Connection reset", "Empty reply"];
    words.iter().any(|words| message.contains(words))
}

async fn run(command: &mut Command) -> anyhow::Result<String> {
    match tokio::time::timeout(PATIENCE, process::text(command)).await {
        Ok(result) => result,
        Err(_) => bail!("git did not answer within {} seconds", PATIENCE.as_secs()),
    }
}
