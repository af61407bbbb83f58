//! `build`: lock → source policy → `docker buildx` → an OCI layout for each architecture.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::Serialize;

use super::Session;
use crate::cli::{self, Arches};
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
    let docker = Docker::with_builder(args.builder.as_deref()).await;
    docker.check().await?;
    let output = session.path(args.output.as_deref(), &stack.folder("target/image"))?;
    let offline = match session.memory {
        Memory::Alone => Some(offline::session(session, &lock).await?),
        Memory::Shared | Memory::Unused => None,
    };
    let session = offline.as_ref().map_or(session, |(session, _)| session);
    let cache = Cache { none: args.no_cache, from: args.cache_from.as_deref(), to: args.cache_to.as_deref() };
    let build = Build { cache, target: args.flavor.name(), ..inputs(session, &docker, &lock).await? };
    let images = all(&build, &output, &args.arch, args.builder.as_deref()).await?;
    session.list(&serde_json::json!({ "images": images }), images.iter().map(Built::line))
}

pub(super) fn check_rendered(session: &Session, stack: &Stack, lock: &Lock) -> anyhow::Result<()> {
    if super::render::drifts(&session.root, stack, lock)?.is_empty() {
        return Ok(());
    }
    let message = "image/ is out of date; run `cargo xtask render`, review the change, and build again";
    Err(Ended::Difference(message.to_owned()).into())
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

/// The inputs of builds: the rendered context of the checkout.
pub(crate) async fn inputs<'a>(session: &'a Session, docker: &'a Docker, lock: &'a Lock) -> anyhow::Result<Build<'a>> {
    Ok(Build {
        docker,
        context: session.root.join("image"),
        lock,
        mirrors: &session.mirrors,
        npm_registry: npm::registry(&session.mirrors).await?,
        cache: Cache::default(),
        target: None,
        progress: Progress::Shown,
    })
}

/// Builds images concurrently: shared stages are built once, and one computes while the other waits. A builder that was
/// named may have any version and location: it must prove first that it enforces the policy.
pub(super) async fn all(
    build: &Build<'_>,
    output: &Path,
    Arches(arches): &Arches,
    builder: Option<&str>,
) -> anyhow::Result<Vec<Built>> {
    if let Some(name) = builder {
        build
            .check_refusals()
            .await
            .with_context(|| format!("the builder `{}` does not enforce the pins", name.escape_debug()))
            .hint(|| "use one with BuildKit 0.11 or newer, which supports source policies: docker buildx inspect")?;
    }
    let one = async |arch: &Arch| {
        let mark = format!("{arch} ");
        let progress = if arches.len() > 1 { Progress::Marked(&mark) } else { Progress::Shown };
        let made = image(&Build { progress, ..build.clone() }, *arch, output).await?;
        io::ending::begin(format!("{} is new", made.layout.display())).done();
        Ok(made)
    };
    error::all(join_all(arches.iter().map(one)).await)
}

/// Builds the image of one architecture in its folder below `output`, with BuildKit's progress in a file beside it.
pub(crate) async fn logged(build: &Build<'_>, arch: Arch, output: &Path) -> anyhow::Result<Built> {
    let log = output.join(format!("build-{arch}.log"));
    image(&Build { progress: Progress::File(&log), ..build.clone() }, arch, output).await
}

async fn image(build: &Build<'_>, arch: Arch, output: &Path) -> anyhow::Result<Built> {
    let started = std::time::Instant::now();
    let layout = output.join(arch.as_str());
    let image = match build.run(arch, &layout).await {
        Ok(image) => image,
        Err(error) => return Err(mismatch::explained(build, error).await),
    };
    let (digest, seconds) = (image.digest.to_string(), started.elapsed().as_secs());
    Ok(Built { arch, digest, size: image.size, layers: image.layers, layout, seconds })
}
