//! `build`: lock → source policy → `docker buildx` → an OCI layout for each architecture.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::Serialize;

use super::Session;
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::lock::Lock;
use crate::domain::size::mebibytes;
use crate::domain::stack::Stack;
use crate::engine::build::{Build, Cache, Progress};
use crate::engine::docker::Docker;
use crate::error::{self, Ended, HintExt as _};
use crate::io;
use crate::io::http::Memory;
use crate::upstream::npm;

mod mismatch;
mod offline;

/// A built image, as it is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    pub(crate) arch: Arch,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) layers: usize,
    pub(crate) layout: PathBuf,
    pub(crate) seconds: u64,
}

pub(crate) async fn run(session: &Session, args: &cli::Build) -> anyhow::Result<()> {
    let (stack, lock) = session.read()?;
    check_rendered(session, &stack, &lock)?;
    let stack = stack.flavored(args.flavor.name())?;
    let docker = Docker::with_builder(args.builder.name()).await;
    docker.check().await?;
    let output = session.path(args.output.as_deref(), &stack.folder("target/image"))?;
    let offline = match session.memory {
        Memory::Alone => Some(offline::session(session, &lock).await?),
        Memory::Shared | Memory::Unused => None,
    };
    let session = offline.as_ref().map_or(session, |(session, _)| session);
    let cache = Cache { none: args.no_cache, from: args.cache_from.as_deref(), to: args.cache_to.as_deref() };
    let target = args.flavor.name();
    let request = Request { docker: &docker, lock: &lock, output: &output, cache, target, logs: None };
    try_builder(session, &request, &args.builder).await?;
    let built = all(session, &request, args.arch).await?;
    let lines = || built.iter().map(Built::line).collect::<Vec<_>>().join("\n");
    session.print(&serde_json::json!({ "images": built }), lines)
}

pub(super) fn check_rendered(session: &Session, stack: &Stack, lock: &Lock) -> anyhow::Result<()> {
    if super::render::drifts(&session.root, stack, lock)?.is_empty() {
        return Ok(());
    }
    Err(Ended::Difference(
        "image/ is out of date; run `cargo xtask render`, review the change, \
         and build again"
            .to_owned(),
    )
    .into())
}

/// A builder that was named may have any version and location: it must prove that it enforces the policy.
pub(super) async fn try_builder(
    session: &Session,
    request: &Request<'_>,
    builder: &cli::Builder,
) -> anyhow::Result<()> {
    let Some(name) = builder.name() else { return Ok(()) };
    let build = inputs(session, request, Progress::Shown).await?;
    build
        .check_refusals()
        .await
        .with_context(|| format!("the builder `{}` does not enforce the pins", name.escape_debug()))
        .hint(|| "use one with BuildKit 0.11 or newer, which supports source policies: docker buildx inspect")?;
    Ok(())
}

impl Built {
    pub(crate) fn line(&self) -> String {
        let layout = self.layout.display();
        let mebibytes = mebibytes(self.size);
        format!("{}  {}  {mebibytes} in {} layers  {} s  {layout}", self.arch, self.digest, self.layers, self.seconds)
    }

    /// For the table of steps.
    pub(crate) fn summary(&self) -> String {
        format!("{}  {} in {} layers", self.digest, mebibytes(self.size), self.layers)
    }
}

/// The options of a run's builds.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) lock: &'a Lock,
    /// Has one folder per architecture.
    pub(crate) output: &'a Path,
    pub(crate) cache: Cache<'a>,
    /// A stage of the Dockerfile; the flavor's name.
    pub(crate) target: Option<&'a str>,
    /// The folder for BuildKit's progress, one file per architecture; stderr if `None`.
    pub(crate) logs: Option<&'a Path>,
}

/// The inputs of [`build`] and the rehearsal: the rendered context of the checkout.
pub(crate) async fn inputs<'a>(
    session: &'a Session,
    request: &Request<'a>,
    progress: Progress<'a>,
) -> anyhow::Result<Build<'a>> {
    Ok(Build {
        docker: request.docker,
        context: session.root.join("image"),
        lock: request.lock,
        mirrors: &session.mirrors,
        npm_registry: npm::registry(&session.mirrors).await?,
        cache: request.cache,
        target: request.target,
        progress,
    })
}

/// Builds images concurrently: shared stages are built once, and one computes while the other waits.
pub(super) async fn all(session: &Session, request: &Request<'_>, arches: cli::Arches) -> anyhow::Result<Vec<Built>> {
    let arches = arches.list();
    let one = async |arch: &Arch| {
        let image = build(session, request, *arch, arches.len() > 1).await?;
        io::ending::begin(format!("{} is new", image.layout.display())).done();
        Ok(image)
    };
    error::all(join_all(arches.iter().map(one)).await)
}

/// Builds the image of one architecture. `marked`: prefix lines on stderr, because another build runs.
pub(crate) async fn build(session: &Session, request: &Request<'_>, arch: Arch, marked: bool) -> anyhow::Result<Built> {
    let started = std::time::Instant::now();
    let log = request.logs.map(|folder| folder.join(format!("build-{arch}.log")));
    let mark = format!("{arch} ");
    let progress = match &log {
        Some(path) => Progress::File(path),
        None if marked => Progress::Marked(&mark),
        None => Progress::Shown,
    };
    let build = inputs(session, request, progress).await?;
    let layout = request.output.join(arch.as_str());
    let image = match build.run(arch, &layout).await {
        Ok(image) => image,
        Err(error) => return Err(mismatch::explained(session, request.lock, error).await),
    };
    Ok(Built {
        arch,
        digest: image.digest.to_string(),
        size: image.size,
        layers: image.layers,
        layout,
        seconds: started.elapsed().as_secs(),
    })
}
