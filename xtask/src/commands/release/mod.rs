//! `release`: two layouts → one index → git tag → registry → GitHub. Each step checks whether it is already done, so the
//! same command continues an interrupted release, and fails if another one did something else.

mod dist;
mod github;
mod moving;
mod plan;
mod reserve;
mod run;
mod sign;

use std::path::PathBuf;

use super::Session;
use crate::cli::{self, Format};
use crate::engine::docker::Docker;
use crate::engine::registry::Repository;
use crate::io;
use crate::io::steps::Steps;
pub(crate) use plan::{Plan, Wanted, check};

pub(crate) async fn run(session: &Session, args: &cli::Release) -> anyhow::Result<()> {
    let (whole, lock) = session.read()?;
    let stack = whole.flavored(args.flavor.name())?;
    let wanted = Wanted {
        repository: Repository::new(&args.registry)?,
        layouts: args.layouts.as_deref().map(std::path::absolute).transpose()?,
        dist: session.path(args.dist.as_deref(), &stack.folder("dist"))?,
        github: args.github.clone(),
        sign: args.sign.clone(),
        offline: args.dry_run,
    };
    check(session, &whole, &lock).await?;
    let plan = Plan::new(session, &stack, &lock, wanted).await?;
    if args.dry_run {
        return plan.rehearse(session, &stack, &lock).await;
    }
    let mut steps = Steps::lasting();
    let docker = Docker::with_builder(args.builder.name()).await;
    let until = args.until.unwrap_or(cli::Until::Github);
    let result = plan.execute(session, &docker, &stack, &lock, until, &mut steps).await;
    let index = result.as_ref().ok().map(|promise| &promise.index);
    let released = index.map(|index| format!("{}:{}@{index}", plan.repository.name, plan.tag));
    match session.format {
        Format::Json => io::document(&serde_json::json!({
            "steps": steps, "tag": plan.tag.as_str(), "digest": index, "released": released, "dist": plan.dist,
        }))?,
        Format::Text => {
            io::print(&steps.table());
            if let Some(released) = &released {
                io::print(released);
            }
        }
    }
    let promise = result?;
    io::github_output("tag", plan.tag.as_str())?;
    io::github_output("digest", promise.index.as_str())?;
    for (arch, digest) in &promise.manifests {
        io::github_output(&format!("digest-{arch}"), digest.as_str())?;
    }
    Ok(())
}

/// The files of a release besides the image.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) notes: PathBuf,
    /// Attached to the release on GitHub.
    pub(crate) attached: Vec<PathBuf>,
}
