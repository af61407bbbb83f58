//! The steps of a release. Users see no change before the pushed image was pulled again and has run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::plan::Plan;
use crate::cli::Until;
use crate::commands::Session;
use crate::commands::build::{self, Built};
use crate::domain::arch::Arch;
use crate::domain::lock::Lock;
use crate::domain::promise::Promise;
use crate::domain::stack::Stack;
use crate::engine::build::Cache;
use crate::engine::cosign::Signer;
use crate::engine::docker::Docker;
use crate::engine::loaded::Loaded;
use crate::engine::{layout, probe};
use crate::error::HintExt as _;
use crate::io::steps::Steps;

impl Plan {
    pub(crate) async fn execute(
        &self,
        session: &Session,
        docker: &Docker,
        stack: &Stack,
        lock: &Lock,
        until: Until,
        steps: &mut Steps,
    ) -> anyhow::Result<Promise> {
        if until != Until::Layout && self.promised.is_none() {
            self.check_tagger(session).await?;
        }
        let signer = match &self.sign {
            Some(key) => Some(Signer::new(key).await?),
            None => None,
        };
        let layouts = self.layouts();
        if self.layouts.is_none() && !self.is_built(&layouts, stack) {
            docker.check().await?;
            fs_err::create_dir_all(&layouts)?;
            let request = build::Request {
                docker,
                lock,
                output: &layouts,
                cache: Cache::default(),
                target: self.target.as_deref(),
                logs: Some(&layouts),
            };
            let builds = Arch::ALL.map(|arch| (format!("build {arch}"), build::build(session, &request, arch, false)));
            steps.together(builds, Built::summary).await?;
            if self.promised.is_none() {
                let native = Arch::native()?;
                let folder = layouts.join(native.as_str());
                let probe = probe::layout(docker, stack, &folder);
                steps.run(&format!("probe {native}"), probe, probe::Probed::summary).await?;
            }
        }
        let merged = async { self.merge(&layouts, stack) };
        let promise = steps.run("join under one index", merged, |promise| promise.index.to_string()).await?;
        let files = self.write(session, stack, lock, Some(&promise)).await?;
        if until == Until::Layout {
            return Ok(promise);
        }
        steps.run("tag the commit", self.reserve(session, &promise), Clone::clone).await?;
        if until == Until::Tag {
            return Ok(promise);
        }
        let by_digest = format!("@{}", promise.index);
        steps.run("push by digest", self.push(&promise, &by_digest), Clone::clone).await?;
        let is_public = self.is_public(&promise).await?;
        if !is_public {
            let probe = self.probe(docker, stack, &by_digest);
            steps.run("probe what was pushed", probe, probe::Probed::summary).await?;
        }
        if let Some(signer) = &signer {
            steps.run("sign", self.sign(signer, &promise), Clone::clone).await?;
        }
        steps.run("push the tag", self.push(&promise, &format!(":{}", self.tag)), Clone::clone).await?;
        if until == Until::Push {
            return Ok(promise);
        }
        let moving = ["latest"].into_iter().filter(|_| self.is_first).chain([self.flavor.as_str()]);
        for name in moving {
            steps.run(&format!("move {name}"), self.move_tag(&promise, name), Clone::clone).await?;
        }
        if until == Until::Move {
            return Ok(promise);
        }
        match &self.github {
            Some(repository) => {
                let announced = self.announce(session, repository, &files);
                steps.run("publish at GitHub", announced, Clone::clone).await?;
            }
            None => steps.skip("publish at GitHub", "no --github OWNER/NAME, and GITHUB_REPOSITORY is not set"),
        }
        Ok(promise)
    }

    /// Whether the images with the git tag's digests exist already.
    fn is_built(&self, layouts: &Path, stack: &Stack) -> bool {
        let Some(promised) = &self.promised else { return false };
        Arch::ALL.into_iter().all(|arch| {
            let image = self.read(&layouts.join(arch.as_str()), arch, stack);
            image.is_ok_and(|image| promised.manifests.get(&arch) == Some(&image.digest))
        })
    }

    /// Reads an image, which must be made from this lock.
    fn read(&self, folder: &Path, arch: Arch, stack: &Stack) -> anyhow::Result<layout::Image> {
        let image = layout::read(folder, arch)?;
        for (what, label, wanted) in [
            ("from this lock", stack.image.lock_label(), format!("sha256:{}", self.lock)),
            ("as this flavor", stack.image.flavor_label(), stack.flavor.name.clone()),
        ] {
            let found = image.labels.get(&label).map_or("missing", String::as_str);
            if found != wanted {
                return Err(anyhow::anyhow!(
                    "{} was not made {what}: its label {label} is {found} instead of {wanted}",
                    folder.display()
                ))
                .hint(|| format!("cargo xtask build --arch {arch} --flavor {}", stack.flavor.name));
            }
        }
        Ok(image)
    }

    /// Joins the images; returns all digests of the release, which must be those of the git tag if there is one.
    pub(super) fn merge(&self, layouts: &Path, stack: &Stack) -> anyhow::Result<Promise> {
        let folders = Arch::ALL.map(|arch| (arch, layouts.join(arch.as_str())));
        let image = |(arch, folder): &(Arch, PathBuf)| Ok((*arch, self.read(folder, *arch, stack)?.digest));
        let manifests = folders.iter().map(image).collect::<anyhow::Result<_>>()?;
        let index = layout::merge(&folders, self.annotations.clone(), &self.merged())?;
        let builders = folders.iter().filter_map(|(arch, folder)| Some((*arch, layout::builder(folder)?))).collect();
        let promise = Promise { index, manifests, lock: self.lock.clone(), builders };
        if let Some(promised) = &self.promised {
            self.same(promised, &promise)?;
        }
        Ok(promise)
    }

    pub(super) fn merged(&self) -> PathBuf {
        self.dist.join("layout")
    }

    /// Pushes the index and its images under a digest or tag, unless it exists.
    pub(super) async fn push(&self, promise: &Promise, reference: &str) -> anyhow::Result<String> {
        let shown = format!("{}{reference}", self.repository.name);
        match self.repository.digest(reference).await? {
            Some(found) if found == promise.index => return Ok(format!("{shown} is already there")),
            Some(found) => self.registered_otherwise(Some((&found, &promise.index)))?,
            None => {}
        }
        self.repository.push(&self.merged(), reference).await?;
        Ok(shown)
    }

    async fn is_public(&self, promise: &Promise) -> anyhow::Result<bool> {
        Ok(self.repository.digest(&format!(":{}", self.tag)).await?.as_ref() == Some(&promise.index))
    }

    /// Pulls the pushed image and runs it: the registry must return the same image, and it must work.
    async fn probe(&self, docker: &Docker, stack: &Stack, reference: &str) -> anyhow::Result<probe::Probed> {
        Arch::native().context("what was pushed cannot be probed here")?;
        let image = Loaded::pulled(docker, format!("{}{reference}", self.repository.name)).await?;
        probe::image(docker, stack, image.name()).await
    }
}
