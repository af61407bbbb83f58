//! `repro`: builds an image again without a cache, and compares it with the released one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::{Session, build, checkout, released};
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::engine::build::{Build, Cache};
use crate::engine::difference::{self, Difference};
use crate::engine::docker::Docker;
use crate::engine::layout::{self, Released};
use crate::engine::registry::Repository;
use crate::error::{Ended, HintExt as _};
use crate::io::git;

#[derive(Debug, Serialize)]
struct Compared {
    arch: Arch,
    released: OciDigest,
    built: OciDigest,
    difference: Option<Difference>,
    /// The builder of each, if known.
    released_by: Option<String>,
    built_by: Option<String>,
}

impl Compared {
    fn text(&self) -> String {
        let Self { arch, released, built, difference, .. } = self;
        let Some(difference) = difference else { return format!("same       {arch}: {built}") };
        let reason = match (&self.released_by, &self.built_by) {
            (Some(one), Some(other)) if one != other => {
                format!("\n           a likely reason: {other} built this one, but {one} the released one")
            }
            (None, _) => "\n           the builder of the released one is unknown".to_owned(),
            _ => String::new(),
        };
        format!("different  {arch}: {built} instead of {released}\n           {difference}{reason}")
    }
}

/// What the build is compared with.
enum Wanted {
    /// One folder per architecture.
    Folder(PathBuf),
    Image {
        repository: Repository,
        released: Released,
        builders: BTreeMap<Arch, String>,
    },
}

pub(crate) async fn run(session: &Session, args: &cli::Repro) -> anyhow::Result<()> {
    let wanted = Wanted::find(session, &args.image).await?;
    let built = match &args.layouts {
        Some(layouts) => std::path::absolute(layouts)?,
        None => rebuild(session, args, &wanted).await?,
    };
    let fetched = tempfile::TempDir::with_prefix("xtask-released-")?;
    let mut all = Vec::new();
    for &arch in &args.arch.0 {
        all.push(wanted.compare(arch, &built.join(arch.as_str()), fetched.path()).await?);
    }
    session.list(&serde_json::json!({ "image": args.image, "images": all }), all.iter().map(Compared::text))?;
    let different = all.iter().filter(|compared| compared.difference.is_some()).count();
    let message = format!("{different} of {} images differ from {}", all.len(), args.image);
    ensure!(different == 0, Ended::Difference(message));
    Ok(())
}

/// Builds from the checkout, which must match the image.
async fn rebuild(session: &Session, args: &cli::Repro, wanted: &Wanted) -> anyhow::Result<PathBuf> {
    let (stack, lock) = session.read()?;
    build::check_rendered(session, &stack, &lock)?;
    wanted.check(session, &args.arch, &stack.image.lock_label()).await?;
    let stack = stack.flavored(args.flavor.name())?;
    let docker = Docker::with_builder(args.builder.as_deref()).await;
    docker.check().await?;
    let output = session.path(args.output.as_deref(), &stack.folder("target/repro"))?;
    let cache = Cache { none: true, ..Cache::default() };
    let build = Build { cache, target: args.flavor.name(), ..build::inputs(session, &docker, &lock).await? };
    build::all(&build, &output, &args.arch, args.builder.as_deref()).await?;
    Ok(output)
}

impl Wanted {
    async fn find(session: &Session, image: &str) -> anyhow::Result<Self> {
        if Path::new(image).is_dir() {
            return Ok(Self::Folder(std::path::absolute(image)?));
        }
        let (name, reference) = released::parts(image)
            .hint(|| format!("there is no folder `{image}` either; to build one: cargo xtask build --output DIR"))?;
        let repository = Repository::new(name)?;
        let (_, released) = repository.released(reference).await?;
        // The digests are the registry's; `verify --image` compares them with the git tag.
        let promise = released::promise(&session.root, &released.version).await;
        let builders = promise.map(|(promise, _)| promise.builders).unwrap_or_default();
        Ok(Self::Image { repository, released, builders })
    }

    /// Only the same commit, or at least the same lock, can result in the same image.
    async fn check(&self, session: &Session, arches: &cli::Arches, label: &str) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => {
                let lock = format!("sha256:{}", Sha256::of(checkout::read_lock_text(&session.root)?.as_bytes()));
                for &arch in &arches.0 {
                    let folder = folder.join(arch.as_str());
                    let image = layout::read(&folder, arch)?;
                    let found = image.labels.get(label).map_or("none", String::as_str);
                    ensure!(
                        found == lock,
                        "{} was made from another lock than this checkout's: {found} instead of {lock}",
                        folder.display()
                    );
                }
                Ok(())
            }
            Self::Image { released, .. } => {
                let head = git::commit(&session.root, "HEAD").await?;
                if head == released.revision && git::changes(&session.root).await?.is_empty() {
                    return Ok(());
                }
                let (commit, tag) = (&released.revision, &released.version);
                Err(anyhow::anyhow!("the release is of commit {commit}, and this checkout is not"))
                    .hint(|| format!("git fetch --tags && git worktree add ../released {tag}, and run it there"))
            }
        }
    }

    async fn compare(&self, arch: Arch, built: &Path, fetched: &Path) -> anyhow::Result<Compared> {
        let image = layout::read(built, arch)?;
        let (folder, released, released_by) = match self {
            Self::Folder(folder) => {
                let folder = folder.join(arch.as_str());
                let (released, builder) = (layout::read(&folder, arch)?.digest, layout::builder(&folder));
                (folder, released, builder)
            }
            Self::Image { repository, released, builders } => {
                let folder = fetched.join(arch.as_str());
                let digest = released.manifests.get(&arch).with_context(|| format!("it has no image for {arch}"))?;
                // Fetched only to find the difference.
                if *digest != image.digest {
                    repository.fetch(digest, &folder).await?;
                }
                (folder, digest.clone(), builders.get(&arch).cloned())
            }
        };
        let difference = if released == image.digest { None } else { difference::first(&folder, built)? };
        let built_by = layout::builder(built);
        Ok(Compared { arch, released, built: image.digest, difference, released_by, built_by })
    }
}
