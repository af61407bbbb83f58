//! The steps of a release. Users see no change before the pushed image was pulled again and has run.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::plan::Plan;
use crate::cli::Until;
use crate::commands::build::{self, Built};
use crate::domain::arch::Arch;
use crate::domain::promise::Promise;
use crate::engine::build::Build;
use crate::engine::cosign::Signer;
use crate::engine::docker::Docker;
use crate::engine::loaded::Loaded;
use crate::engine::{layout, probe};
use crate::error::{self, HintExt as _};
use crate::io::steps::Steps;

impl Plan<'_> {
    pub(crate) async fn execute(&self, docker: &Docker, until: Until, steps: &mut Steps) -> anyhow::Result<Promise> {
        let stack = self.stack;
        if until != Until::Layout && self.promised.is_none() {
            self.check_tagger().await?;
        }
        let signer = match &self.wanted.sign {
            Some(key) => Some(Signer::new(key).await?),
            None => None,
        };
        let layouts = self.layouts();
        if self.wanted.layouts.is_none() && !self.is_built(&layouts) {
            docker.check().await?;
            fs_err::create_dir_all(&layouts)?;
            let target = (!stack.is_first_flavor()).then_some(stack.flavor.name.as_str());
            let build = Build { target, ..build::inputs(self.session, docker, self.lock).await? };
            let builds = Arch::ALL.map(|arch| (format!("build {arch}"), build::logged(&build, arch, &layouts)));
            error::all(steps.together(builds, Built::summary).await)?;
            if self.promised.is_none() {
                let native = Arch::native()?;
                let folder = layouts.join(native.as_str());
                let probe = probe::layout(docker, stack, &folder);
                steps.run(&format!("probe {native}"), probe, probe::Probed::summary).await?;
            }
        }
        let merged = async { self.merge(&layouts) };
        let promise = steps.run("join under one index", merged, |promise| promise.index.to_string()).await?;
        let files = self.write(Some(&promise)).await?;
        if until == Until::Layout {
            return Ok(promise);
        }
        steps.run("tag the commit", self.reserve(&promise), Clone::clone).await?;
        if until == Until::Tag {
            return Ok(promise);
        }
        let by_digest = format!("@{}", promise.index);
        steps.run("push by digest", self.push(&promise, &by_digest), Clone::clone).await?;
        let public = format!(":{}", self.tag);
        if !self.is_at(&public, &promise).await? {
            let probe = self.probe(docker, &by_digest);
            steps.run("probe what was pushed", probe, probe::Probed::summary).await?;
        }
        if let Some(signer) = &signer {
            steps.run("sign", self.sign(signer, &promise), Clone::clone).await?;
        }
        steps.run("push the tag", self.push(&promise, &public), Clone::clone).await?;
        if until == Until::Push {
            return Ok(promise);
        }
        // The tags that move: `latest`, which is of the first flavor, and the flavor's own.
        for name in stack.is_first_flavor().then_some("latest").into_iter().chain([stack.image.flavor.as_str()]) {
            steps.run(&format!("move {name}"), self.move_tag(&promise, name), Clone::clone).await?;
        }
        if until == Until::Move {
            return Ok(promise);
        }
        match &self.wanted.github {
            Some(repository) => {
                let announced = self.announce(repository, &files);
                steps.run("publish at GitHub", announced, Clone::clone).await?;
            }
            None => steps.skip("publish at GitHub", "no --github OWNER/NAME, and GITHUB_REPOSITORY is not set"),
        }
        Ok(promise)
    }

    /// Whether the images with the git tag's digests exist already.
    fn is_built(&self, layouts: &Path) -> bool {
        let Some(promised) = &self.promised else { return false };
        Arch::ALL.into_iter().all(|arch| {
            let image = self.read(&layouts.join(arch.as_str()), arch);
            image.is_ok_and(|image| promised.manifests.get(&arch) == Some(&image.digest))
        })
    }

    /// Reads an image, which must be made from this lock.
    fn read(&self, folder: &Path, arch: Arch) -> anyhow::Result<layout::Image> {
        let stack = self.stack;
        let image = layout::read(folder, arch)?;
        for (what, label, wanted) in [
            ("from this lock", stack.image.lock_label(), format!("sha256:{}", self.lock_digest)),
            ("as this flavor", stack.image.flavor_label(), stack.flavor.name.clone()),
        ] {
            let found = image.labels.get(&label).map_or("missing", String::as_str);
            if found != wanted {
                let why = format!("its label {label} is {found} instead of {wanted}");
                return Err(anyhow::anyhow!("{} was not made {what}: {why}", folder.display()))
                    .hint(|| format!("cargo xtask build --arch {arch} --flavor {}", stack.flavor.name));
            }
        }
        Ok(image)
    }

    /// Joins the images; returns all digests of the release, which must be those of the git tag if there is one.
    pub(super) fn merge(&self, layouts: &Path) -> anyhow::Result<Promise> {
        let folders = Arch::ALL.map(|arch| (arch, layouts.join(arch.as_str())));
        let image = |(arch, folder): &(Arch, PathBuf)| Ok((*arch, self.read(folder, *arch)?.digest));
        let manifests = folders.iter().map(image).collect::<anyhow::Result<_>>()?;
        let index = layout::merge(&folders, self.annotations.clone(), &self.merged())?;
        let builders = folders.iter().filter_map(|(arch, folder)| Some((*arch, layout::builder(folder)?))).collect();
        let promise = Promise { index, manifests, lock: self.lock_digest.clone(), builders };
        if let Some(promised) = &self.promised {
            self.same(promised, &promise)?;
        }
        Ok(promise)
    }

    fn merged(&self) -> PathBuf {
        self.wanted.dist.join("layout")
    }

    /// Pushes the index and its images under a digest or tag, unless it exists.
    async fn push(&self, promise: &Promise, reference: &str) -> anyhow::Result<String> {
        let repository = &self.wanted.repository;
        let shown = format!("{}{reference}", repository.name);
        match repository.digest(reference).await? {
            Some(found) if found == promise.index => return Ok(format!("{shown} is already there")),
            Some(found) => self.registered_otherwise(Some((&found, &promise.index)))?,
            None => {}
        }
        repository.push(&self.merged(), reference).await?;
        Ok(shown)
    }

    /// Whether a tag is the release's.
    async fn is_at(&self, reference: &str, promise: &Promise) -> anyhow::Result<bool> {
        Ok(self.wanted.repository.digest(reference).await?.as_ref() == Some(&promise.index))
    }

    /// Pulls the pushed image and runs it: the registry must return the same image, and it must work.
    async fn probe(&self, docker: &Docker, reference: &str) -> anyhow::Result<probe::Probed> {
        Arch::native().context("what was pushed cannot be probed here")?;
        let image = Loaded::pulled(docker, format!("{}{reference}", self.wanted.repository.name)).await?;
        probe::image(docker, self.stack, image.name()).await
    }

    /// Moves a tag of the newest release: `latest`, or the one of a flavor.
    async fn move_tag(&self, promise: &Promise, name: &str) -> anyhow::Result<String> {
        if !self.is_newest {
            return Ok("not moved: there is a later revision".to_owned());
        }
        let reference = format!(":{name}");
        if self.is_at(&reference, promise).await? {
            return Ok("already moved".to_owned());
        }
        self.wanted.repository.push(&self.merged(), &reference).await?;
        Ok(promise.index.to_string())
    }
}
