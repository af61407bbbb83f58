//! `build`: lock → source policy → `docker buildx` → an OCI layout for each architecture.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Session;
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::lock::Lock;
use crate::engine::build::Build;
use crate::engine::docker::Docker;
use crate::error::Ended;
use crate::io;
use crate::upstream::npm;

mod mismatch;

/// One built image, as it is printed.
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
    if !super::render::drifts(&session.root, &stack, &lock)?.is_empty() {
        return Err(Ended::Difference(
            "image/ is not what the lock and the templates say; run `cargo xtask render`, look at the change, \
             and build again"
                .to_owned(),
        )
        .into());
    }
    let docker = Docker::default();
    docker.check().await?;
    let output = session.path(args.output.as_deref(), "target/image")?;
    let request = Request { docker: &docker, lock: &lock, output: &output, no_cache: args.no_cache, logs: None };
    let mut built = Vec::new();
    for arch in args.arch.list() {
        let image = build(session, &request, arch).await?;
        io::ending::begin(format!("{} is new", image.layout.display())).done();
        built.push(image);
    }
    let lines = || built.iter().map(Built::line).collect::<Vec<_>>().join("\n");
    session.print(&serde_json::json!({ "images": built }), lines)
}

impl Built {
    pub(crate) fn line(&self) -> String {
        let layout = self.layout.display();
        let mebibytes = io::progress::mebibytes(self.size);
        format!("{}  {}  {mebibytes} in {} layers  {} s  {layout}", self.arch, self.digest, self.layers, self.seconds)
    }

    /// For a table of steps.
    pub(crate) fn summary(&self) -> String {
        format!("{}  {} in {} layers", self.digest, io::progress::mebibytes(self.size), self.layers)
    }
}

/// How images are built in one run.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) lock: &'a Lock,
    /// Holds one folder an architecture.
    pub(crate) output: &'a Path,
    pub(crate) no_cache: bool,
    /// Where BuildKit's progress is written, one file an architecture; without it, to stderr.
    pub(crate) logs: Option<&'a Path>,
}

/// What [`build`] and the rehearsal build from: the rendered context of the checkout.
pub(crate) async fn inputs<'a>(
    session: &'a Session,
    request: &Request<'a>,
    log: Option<&'a Path>,
) -> anyhow::Result<Build<'a>> {
    Ok(Build {
        docker: request.docker,
        context: session.root.join("image"),
        lock: request.lock,
        mirrors: &session.mirrors,
        npm_registry: npm::registry(&session.mirrors).await?,
        no_cache: request.no_cache,
        log,
    })
}

/// Builds the image of one architecture.
pub(crate) async fn build(session: &Session, request: &Request<'_>, arch: Arch) -> anyhow::Result<Built> {
    let started = std::time::Instant::now();
    let log = request.logs.map(|folder| folder.join(format!("build-{arch}.log")));
    let build = inputs(session, request, log.as_deref()).await?;
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
