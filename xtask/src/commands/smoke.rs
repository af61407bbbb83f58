//! `smoke`: starts an image in a fresh volume and checks each of its services.

use std::path::Path;

use super::{Session, checkout};
use crate::cli;
use crate::domain::arch::Arch;
use crate::engine::docker::Docker;
use crate::engine::loaded::Loaded;
use crate::engine::probe;
use crate::error::HintExt as _;
use crate::smoke::{self, Request};

pub(crate) async fn run(session: &Session, args: &cli::Smoke) -> anyhow::Result<()> {
    let docker = Docker::default();
    docker.check().await?;
    let stack = checkout::read_stack(&session.root)?;
    let stack = stack.flavored(args.flavor.name())?;
    let image = image(&docker, session, args.image.as_deref(), &stack.folder("target/image")).await?;
    if !stack.flavor.without.is_empty() {
        // Its layers are those of the first flavor, which has all checks.
        let report = probe::image(&docker, &stack, image.name()).await?;
        return session.print(&report, || report.summary());
    }
    let output = session.path(args.output.as_deref(), "target/smoke")?;
    fs_err::create_dir_all(&output)?;
    let request = Request {
        docker: &docker,
        stack: &stack,
        image: image.name(),
        model: args.model.clone(),
        output: &output,
        only: &args.only,
        quick: args.quick,
        require_browser: args.require_browser,
    };
    let report = smoke::run(&request).await?;
    fs_err::write(output.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    session.print(&report, || report.table())?;
    report.verdict()
}

/// The requested image; a folder is loaded as an OCI layout until the result is dropped.
pub(super) async fn image(
    docker: &Docker,
    session: &Session,
    asked: Option<&str>,
    usual: &str,
) -> anyhow::Result<Loaded> {
    let native = Arch::native()?;
    let folder = session.path(asked.map(Path::new), &format!("{usual}/{native}"))?;
    if folder.join("index.json").is_file() {
        return Loaded::from_layout(docker, &folder).await;
    }
    match asked {
        Some(named) if !Path::new(named).is_absolute() => Ok(Loaded::named(named.to_owned())),
        _ => Err(anyhow::anyhow!("{} is not an OCI layout", folder.display()))
            .hint(|| format!("cargo xtask build --arch {native}")),
    }
}
