//! The git tag of a release: made first, because it reserves the revision for everybody.

use anyhow::Context as _;

use super::plan::Plan;
use crate::commands::Session;
use crate::domain::promise::Promise;
use crate::error::{HintExt as _, hinted};
use crate::io::{git, process};

impl Plan {
    /// Makes and pushes the tag that holds `promise`, unless it is there. Of two releases that do so at once, the
    /// remote takes one, and the other stops.
    pub(super) async fn reserve(&self, session: &Session, promise: &Promise) -> anyhow::Result<String> {
        let root = &session.root;
        let name = self.tag.as_str();
        if git::local_tags(root).await?.iter().all(|tag| tag.name != name) {
            let message = promise.message(name);
            process::output(git::command(root).args([
                "tag",
                "--annotate",
                // Without, lines that begin with `#` would be dropped.
                "--cleanup=verbatim",
                "--message",
                &message,
                name,
                &self.commit,
            ]))
            .await
            .with_context(|| format!("cannot tag the commit {name}"))
            .hint(|| "git wants to know who tags: set user.name and user.email")?;
        }
        self.compare(session, promise).await?;
        let Some(remote) = &self.remote else {
            return Ok(format!("{} (this repository has no remote to push it to)", self.commit));
        };
        let there = |tags: Vec<git::Tag>| tags.into_iter().find(|tag| tag.name == name);
        let ours = there(git::local_tags(root).await?).context("the tag is gone again")?;
        if there(git::remote_tags(root, remote).await?).is_some_and(|theirs| theirs.object == ours.object) {
            return Ok(format!("{} is tagged already", self.commit));
        }
        if let Err(error) = self.push_tag(session, remote).await {
            return self.lost(session, remote, promise, error).await;
        }
        Ok(self.commit.clone())
    }

    /// Takes the tag's name and the flavor's revision at the remote, both or neither, and only where nobody has them.
    async fn push_tag(&self, session: &Session, remote: &str) -> anyhow::Result<()> {
        let tag = format!("refs/tags/{}", self.tag);
        let revision = format!("refs/revisions/{}/{}", self.flavor, self.revision);
        let mut command = git::command(&session.root);
        command.args(["push", "--quiet", "--atomic", "--no-follow-tags"]);
        for reference in [&tag, &revision] {
            command.arg(format!("--force-with-lease={reference}:"));
        }
        process::output(command.arg("--").arg(remote).args([format!("{tag}:{tag}"), format!("{tag}:{revision}")]))
            .await
            .with_context(|| format!("cannot push the tag {} to `{remote}`", self.tag))?;
        Ok(())
    }

    /// The push was refused: another run may have made the same release meanwhile, which is as good.
    async fn lost(
        &self,
        session: &Session,
        remote: &str,
        promise: &Promise,
        error: anyhow::Error,
    ) -> anyhow::Result<String> {
        let root = &session.root;
        let name = self.tag.as_str();
        // The local tag was made by this run or one before, and is in the way of what everybody sees.
        let theirs = git::remote_tags(root, remote).await?;
        process::output(git::command(root).args(["tag", "--delete", name])).await?;
        match theirs.into_iter().find(|tag| tag.name == name) {
            Some(theirs) if theirs.commit == self.commit => {
                git::fetch_tag(root, remote, name).await?;
                self.compare(session, promise).await?;
                Ok(format!("{} was tagged by another run, with the same digests", self.commit))
            }
            Some(theirs) => Err(hinted(
                error.context(format!("another release took {name} meanwhile: commit {}", theirs.commit)),
                "run the same command again: it takes the next revision".to_owned(),
            )),
            None => Err(error).hint(|| {
                format!(
                    "where another release took revision {} meanwhile, run the same command again; otherwise look \
                     whether you may push tags and `refs/revisions`",
                    self.revision
                )
            }),
        }
    }

    /// Holds what was made against what the tag says.
    async fn compare(&self, session: &Session, made: &Promise) -> anyhow::Result<()> {
        let message = git::tag_message(&session.root, self.tag.as_str()).await?;
        let promised = Promise::parse(&message);
        let promised = promised.with_context(|| format!("the git tag {} says nothing of digests", self.tag))?;
        self.same(&promised, made)
    }

    pub(super) fn same(&self, promised: &Promise, made: &Promise) -> anyhow::Result<()> {
        let differences = promised.differences(made);
        if differences.is_empty() {
            return Ok(());
        }
        Err(anyhow::anyhow!(
            "this is not the release that the git tag {} promises:\n    {}",
            self.tag,
            differences.join("\n    ")
        ))
        .hint(|| {
            "the same commit makes the same bytes: `cargo xtask build --arch all --no-cache` from a fresh clone tells \
             which side is wrong; name other layouts with --layouts, or release another commit"
        })
    }
}
