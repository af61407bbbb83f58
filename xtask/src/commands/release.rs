//! `release`: plan → build → probe → push by digest → one index under one tag → git tag.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chrono::Utc;
use serde::Serialize;

use super::Session;
use super::build::{self, Built};
use crate::cli::{self, Format};
use crate::domain::arch::Arch;
use crate::domain::digest::OciDigest;
use crate::domain::image_tag::ImageTag;
use crate::domain::lock::Lock;
use crate::domain::rules;
use crate::domain::stack::Stack;
use crate::engine::docker::Docker;
use crate::engine::registry::Repository;
use crate::engine::{layout, probe};
use crate::error::{Failures, HintExt as _};
use crate::io::steps::Steps;
use crate::io::{self, files, git, process};

pub(crate) async fn run(session: &Session, args: &cli::Release) -> anyhow::Result<()> {
    let repository = Repository::new(&args.registry)?;
    let stack = files::read_stack(&session.root)?;
    let lock = files::read_lock(&session.root, &stack)?;
    let plan = Plan::new(session, &stack, &lock, repository, args.layouts.clone()).await?;
    if args.dry_run {
        return plan.print(session.format);
    }
    let docker = Docker::default();
    docker.check().await?;
    let mut steps = Steps::lasting();
    let result = plan.execute(session, &docker, &stack, &lock, &mut steps).await;
    let released = result.as_ref().ok().map(|index| format!("{}:{}@{index}", plan.repository.name, plan.tag));
    match session.format {
        Format::Json => io::document(&serde_json::json!({
            "steps": steps, "tag": plan.tag.as_str(), "digest": result.as_ref().ok(), "released": released,
        }))?,
        Format::Text => {
            io::print(&steps.table());
            if let Some(released) = &released {
                io::print(released);
            }
        }
    }
    let index = result?;
    io::github_output("tag", plan.tag.as_str())?;
    io::github_output("digest", index.as_str())?;
    Ok(())
}

/// What a release will do, checked before anything is built.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tag: ImageTag,
    pub(crate) repository: Repository,
    /// Built before, one folder an architecture.
    layouts: Option<PathBuf>,
    commit: String,
}

#[derive(Debug, Serialize)]
struct Printed<'a> {
    tag: &'a str,
    repository: &'a str,
    commit: &'a str,
    arches: [Arch; 2],
    layouts: Option<&'a Path>,
}

impl Plan {
    pub(crate) async fn new(
        session: &Session,
        stack: &Stack,
        lock: &Lock,
        repository: Repository,
        layouts: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let violations = rules::check(stack, lock).violations;
        if !violations.is_empty() {
            let errors = violations.into_iter().map(|violation| anyhow::anyhow!(violation.message));
            return Err(Failures(errors.collect()).into());
        }
        if !super::render::drifts(&session.root, stack, lock)?.is_empty() {
            return Err(anyhow::anyhow!("image/ is not what the lock and the templates say"))
                .hint(|| "run `cargo xtask render` and commit what it writes".to_owned());
        }
        let dirty = git::changes(&session.root).await?;
        if !dirty.is_empty() {
            return Err(anyhow::anyhow!(
                "the checkout has uncommitted changes:\n    {}",
                dirty.replace('\n', "\n    ")
            ))
            .hint(|| "commit them: a release is made from a commit that its tag names".to_owned());
        }
        let commit = git::head(&session.root).await?;
        let tag = super::tag::next(&session.root, stack, lock, Utc::now().date_naive()).await?;
        if let Some(digest) = repository.tag(tag.as_str()).await? {
            return Err(anyhow::anyhow!("{}:{tag} exists ({digest}); a released tag is never moved", repository.name))
                .hint(|| "fetch the git tags (`git fetch --tags`): the revision continues from them".to_owned());
        }
        Ok(Self { tag, repository, layouts, commit })
    }

    fn print(&self, format: Format) -> anyhow::Result<()> {
        let printed = Printed {
            tag: self.tag.as_str(),
            repository: &self.repository.name,
            commit: &self.commit,
            arches: Arch::ALL,
            layouts: self.layouts.as_deref(),
        };
        if format == Format::Json {
            return io::document(&printed);
        }
        io::print(&format!("tag         {}", printed.tag));
        io::print(&format!("repository  {}", printed.repository));
        io::print(&format!("commit      {}", printed.commit));
        let how = match printed.layouts {
            Some(folder) => format!("taken from {}", folder.display()),
            None => "built here".to_owned(),
        };
        io::print(&format!("images      x86_64 and aarch64, {how}"));
        io::print("then        probe the native one, push both by digest, join them under the tag, tag the commit");
        Ok(())
    }

    /// Does it. Nothing that users see changes before the last two steps: images pushed by digest have no name.
    pub(crate) async fn execute(
        &self,
        session: &Session,
        docker: &Docker,
        stack: &Stack,
        lock: &Lock,
        steps: &mut Steps,
    ) -> anyhow::Result<OciDigest> {
        let output = self.layouts.clone().unwrap_or_else(|| session.root.join("target/image"));
        let mut images = Vec::new();
        for arch in Arch::ALL {
            let folder = output.join(arch.as_str());
            if self.layouts.is_none() {
                let request = build::Request { docker, lock, output: &output, no_cache: false, logs: Some(&output) };
                fs_err::create_dir_all(&output)?;
                let name = format!("build {arch}");
                steps.run(&name, build::build(session, &request, arch), Built::summary).await?;
            }
            images.push((folder.clone(), layout::read(&folder, arch)?.digest));
        }
        self.probe(docker, stack, &output, steps).await?;
        for ((folder, digest), arch) in images.iter().zip(Arch::ALL) {
            let name = format!("push {arch}");
            steps.run(&name, self.repository.push(folder, digest), |()| digest.to_string()).await?;
        }
        let digests: Vec<OciDigest> = images.into_iter().map(|(_, digest)| digest).collect();
        let join = self.repository.join(docker, &digests, self.tag.as_str());
        let index = steps.run("join under one tag", join, |index| format!("{} {index}", self.tag)).await?;
        steps.run("tag the commit", self.tag_commit(session), |()| self.commit.clone()).await?;
        Ok(index)
    }

    async fn probe(&self, docker: &Docker, stack: &Stack, output: &Path, steps: &mut Steps) -> anyhow::Result<()> {
        let Some(native) = Arch::native() else {
            bail!("this machine runs neither of the image's architectures, so that none can be probed");
        };
        let folder = output.join(native.as_str());
        let probe = probe::layout(docker, stack, &folder);
        steps.run(&format!("probe {native}"), probe, probe::Report::summary).await?;
        Ok(())
    }

    async fn tag_commit(&self, session: &Session) -> anyhow::Result<()> {
        let message = format!("Release {}", self.tag);
        process::output(git::command(&session.root).args([
            "tag",
            "--annotate",
            "--message",
            &message,
            self.tag.as_str(),
            &self.commit,
        ]))
        .await
        .with_context(|| format!("the image is released, but its commit could not be tagged {}", self.tag))
        .hint(|| format!("git tag --annotate --message {message:?} {} {}", self.tag, self.commit))?;
        Ok(())
    }
}
