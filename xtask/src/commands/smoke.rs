//! `smoke`: starts an image in a fresh volume, asks every port, waits for its health, stops it.

use std::path::Path;

use super::Session;
use crate::cli::{self, Format};
use crate::domain::arch::Arch;
use crate::engine::build::local_name;
use crate::engine::container;
use crate::engine::docker::Docker;
use crate::engine::probe;
use crate::error::HintExt as _;
use crate::io::{self, files};

pub(crate) async fn run(session: &Session, args: &cli::Smoke) -> anyhow::Result<()> {
    let docker = Docker::default();
    docker.check().await?;
    let stack = files::read_stack(&session.root)?;
    let image = image(&docker, session, args).await?;
    let report = probe::image(&docker, &stack, &image).await?;
    match session.format {
        Format::Json => io::print(&serde_json::to_string_pretty(&report)?),
        Format::Text => io::print(&report.table()),
    }
    Ok(())
}

/// The name that the engine knows the image by; a folder is loaded as an OCI layout first.
async fn image(docker: &Docker, session: &Session, args: &cli::Smoke) -> anyhow::Result<String> {
    let native = Arch::native()
        .ok_or_else(|| anyhow::anyhow!("this machine runs neither of the image's architectures"))?;
    let named = match &args.image {
        Some(named) => named.clone(),
        None => format!("target/image/{native}"),
    };
    let folder = session.root.join(&named);
    if folder.join("index.json").is_file() {
        container::load(docker, &folder).await?;
        return Ok(local_name(native));
    }
    if Path::new(&named).is_absolute() || args.image.is_none() {
        return Err(anyhow::anyhow!("{} is no OCI layout", folder.display()))
            .hint(|| format!("cargo xtask build --arch {native}"));
    }
    Ok(named)
}
