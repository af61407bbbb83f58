//! `benchmark`: measures start and stop times, memory and size of an image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{Session, checkout};
use crate::benchmark::size::{self, Artifacts, Sizes};
use crate::benchmark::{self, Bench, Figures, Machine, MeasurePlan, Measured};
use crate::cli::{self, Part};
use crate::domain::arch::Arch;
use crate::domain::lock::{FilePin, Pin, Pinned, file_for};
use crate::domain::stack::{Component, Source, Stack};
use crate::engine::docker::Docker;
use crate::engine::layout;
use crate::io::http::Http;
use crate::io::say;
use crate::upstream::npm;

pub(crate) async fn run(session: &Session, args: &cli::Benchmark) -> anyhow::Result<()> {
    let stack = checkout::read_stack(&session.root)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let others = args.others.map(|percent| f64::from(percent) / 100.0);
    let (starts, idle) = (wanted(Part::Start), wanted(Part::Memory) || wanted(Part::Stop));
    let plan = MeasurePlan { runs: args.runs, starts, idle, settle: Duration::from_secs(args.settle), others };
    let sizes = if wanted(Part::Size) { Some(sizes(session, &stack, &layout(session, args)?).await?) } else { None };
    let docker = Docker::default();
    let model = args.model.as_deref().map(fs_err::canonicalize).transpose()?;
    let report = if starts || idle {
        let machine = Machine::this(docker.check().await?.engine);
        let image = super::smoke::image(&docker, session, args.image.as_deref(), "target/image").await?;
        let (image, model, cores) = (image.name(), model.as_deref(), machine.cores);
        let measured = benchmark::run(&Bench { docker: &docker, stack: &stack, image, model, cores }, &plan).await?;
        Figures::new(&stack, Some((machine, image.to_owned())), sizes, measured)
    } else {
        Figures::new(&stack, None, sizes, Measured::default())
    };
    session.print(&report, || report.table())
}

/// The layout to measure: the given one, or the build for this machine.
fn layout(session: &Session, args: &cli::Benchmark) -> anyhow::Result<PathBuf> {
    if let Some(layout) = &args.layout {
        return Ok(layout.clone());
    }
    if let Some(folder) = args.image.as_ref().map(PathBuf::from).filter(|folder| folder.join("index.json").is_file()) {
        return Ok(folder);
    }
    Ok(session.root.join("target/image").join(Arch::native()?.as_str()))
}

async fn sizes(session: &Session, stack: &Stack, folder: &Path) -> anyhow::Result<Sizes> {
    let image =
        layout::layers(folder).context("no OCI layout to measure; name one with --layout, or build it first")?;
    let lock = checkout::read_lock(&session.root, stack)?;
    let dockerfile = fs_err::read_to_string(session.root.join("image/Dockerfile"))?;
    let base = stack.components.iter().find(|(_, component)| matches!(component.source, Source::Oci { .. }));
    let (base, _) = base.context("stack.toml has no base image")?;
    let components: Vec<&str> = stack.components.keys().map(String::as_str).collect();
    let weights = size::weigh(&image, &dockerfile, base, &components)?;
    let mut known = BTreeMap::new();
    for name in weights.iter().filter_map(|(owner, _)| owner.as_ref()) {
        let pin = lock.components.get(name).with_context(|| format!("versions.lock does not pin `{name}`"))?;
        let component = stack.component(name)?;
        known.insert(name.clone(), artifacts(session, name, component, pin, image.arch).await?);
    }
    Ok(Sizes::new(&image, weights, &known))
}

/// The size of a component's downloads.
async fn artifacts(
    session: &Session,
    name: &str,
    component: &Component,
    pin: &Pin,
    arch: Arch,
) -> anyhow::Result<Artifacts> {
    let of_the_lock = |size| Artifacts::Known { size, how: "versions.lock".to_owned() };
    Ok(match (&pin.pinned, &component.source) {
        (Pinned::Image(_), _) => Artifacts::TheLayer,
        (Pinned::Packages(lists), _) => {
            let packages = lists.get(&arch).map(Vec::as_slice).unwrap_or_default();
            of_the_lock(packages.iter().map(|package| package.size).sum())
        }
        (Pinned::Files(files), _) => match file_for(files, arch) {
            Some(FilePin { size: Some(size), .. }) => of_the_lock(*size),
            Some(file) => downloaded(session, name, file).await?,
            None => Artifacts::Unknown(format!("no file is pinned for {arch}")),
        },
        (Pinned::Npm(_), Source::Npm { directory, .. }) => {
            say(&format!("installing the npm packages of `{name}` to measure their download ..."));
            let registry = npm::registry(&session.mirrors).await?;
            let folder = session.root.join("image").join(directory);
            let npm::Tarballs { packages, size } = npm::tarballs(&registry, &folder, arch).await?;
            Artifacts::Known { size, how: format!("{packages} tarballs, as `npm ci` downloads them") }
        }
        (Pinned::Git(_) | Pinned::Npm(_), _) => Artifacts::None("built here, from its source".to_owned()),
    })
}

/// The size of a file, by downloading and verifying it.
async fn downloaded(session: &Session, name: &str, file: &FilePin) -> anyhow::Result<Artifacts> {
    let url = file.url.as_str();
    let hashed = Http::new(session.mirrors.clone())?.hash(url, name).await;
    Ok(match hashed {
        Ok((sha256, size)) if sha256 == file.sha256 => Artifacts::Known { size, how: "downloaded".to_owned() },
        Ok(_) => bail!("{url} is not the file that is pinned for `{name}`; see `cargo xtask verify {name}`"),
        Err(error) => {
            say(&format!("note: the size of {url} is not in the lock, and it cannot be downloaded: {error}"));
            Artifacts::Unknown("not in the lock, and cannot be downloaded".to_owned())
        }
    })
}
