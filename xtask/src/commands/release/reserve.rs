//! The git tag of a release, which is created first, because it reserves the revision.

use anyhow::Context as _;

use super::plan::Plan;
use crate::domain::promise::Promise;
use crate::error::{HintExt as _, hinted};
use crate::io::{git, process};

impl Plan<'_> {
    /// Fails if git has no name for whoever creates the tag, before anything is built for it.
    pub(super) async fn check_tagger(&self) -> anyhow::Result<()> {
        process::run(git::command(&self.session.root).args(["var", "GIT_COMMITTER_IDENT"]))
            .await
            .with_context(|| format!("git cannot create the tag {}", self.tag))
            .hint(|| "set user.name and user.email with `git config`")
    }

    /// Creates and pushes the tag with `promise`, unless it exists. Of two concurrent releases, one fails.
    pub(super) async fn reserve(&self, promise: &Promise) -> anyhow::Result<String> {
        let root = &self.session.root;
        let name = self.tag.as_str();
        if git::local_tags(root).await?.iter().all(|tag| tag.name != name) {
            let message = promise.message(name);
            // Without `--cleanup=verbatim`, lines that start with `#` are dropped.
            let words = ["tag", "--annotate", "--cleanup=verbatim", "--message", &message, name, &self.commit];
            let tagged = process::run(git::command(root).args(words)).await;
            tagged.with_context(|| format!("cannot tag the commit {name}"))?;
        }
        self.compare(promise).await?;
        let Some(remote) = &self.remote else {
            return Ok(format!("{} (this repository has no remote to push it to)", self.commit));
        };
        let there = |tags: Vec<git::Tag>| tags.into_iter().find(|tag| tag.name == name);
        let ours = there(git::local_tags(root).await?).context("the tag was deleted meanwhile")?;
        if there(git::remote_tags(root, remote).await?).is_some_and(|theirs| theirs.object == ours.object) {
            return Ok(format!("{} is already tagged", self.commit));
        }
        match self.push_tag(remote).await {
            Ok(()) => Ok(self.commit.clone()),
            Err(error) => self.lost(remote, promise, error).await,
        }
    }

    /// Pushes the tag and a reference for the flavor's revision, both or neither, and only if the remote has none of them.
    async fn push_tag(&self, remote: &str) -> anyhow::Result<()> {
        let tag = format!("refs/tags/{}", self.tag);
        let revision = format!("refs/revisions/{}/{}", self.stack.image.flavor, self.revision);
        let mut command = git::command(&self.session.root);
        command.args(["push", "--quiet", "--atomic", "--no-follow-tags"]);
        for reference in [&tag, &revision] {
            command.arg(format!("--force-with-lease={reference}:"));
        }
        process::run(command.arg("--").arg(remote).args([format!("{tag}:{tag}"), format!("{tag}:{revision}")]))
            .await
            .with_context(|| format!("cannot push the tag {} to `{remote}`", self.tag))
    }

    /// After a refused push: succeeds if another run made the same release meanwhile.
    async fn lost(&self, remote: &str, promise: &Promise, error: anyhow::Error) -> anyhow::Result<String> {
        let root = &self.session.root;
        let name = self.tag.as_str();
        // The remote's tag takes precedence over the local one.
        let theirs = git::remote_tags(root, remote).await?;
        process::run(git::command(root).args(["tag", "--delete", name])).await?;
        match theirs.into_iter().find(|tag| tag.name == name) {
            Some(theirs) if theirs.commit == self.commit => {
                git::fetch_tag(root, remote, name).await?;
                self.compare(promise).await?;
                Ok(format!("{} was tagged by another run, with the same digests", self.commit))
            }
            Some(theirs) => Err(hinted(
                error.context(format!("another release has {name} meanwhile: commit {}", theirs.commit)),
                "run the same command again: it takes the next revision",
            )),
            None => Err(error).hint(|| {
                format!(
                    "if another release has revision {} meanwhile, run the same command again; otherwise check that you \
                     may push tags and `refs/revisions`",
                    self.revision
                )
            }),
        }
    }

    /// Compares with the promise in the git tag.
    async fn compare(&self, made: &Promise) -> anyhow::Result<()> {
        let message = git::tag_message(&self.session.root, self.tag.as_str()).await?;
        let promised = Promise::parse(&message);
        let promised = promised.with_context(|| format!("the git tag {} has no digests", self.tag))?;
        self.same(&promised, made)
    }

    pub(super) fn same(&self, promised: &Promise, made: &Promise) -> anyhow::Result<()> {
        let differences = promised.differences(made);
        if differences.is_empty() {
            return Ok(());
        }
        let differences = differences.join("\n    ");
        Err(anyhow::anyhow!("this is not the release of the git tag {}:\n    {differences}", self.tag)).hint(|| {
            "builds of a commit are reproducible: `cargo xtask build --arch all --no-cache` in a fresh clone shows which \
             side is wrong; use other layouts with --layouts, or release another commit"
        })
    }
}
