//! `release`: two layouts → one index → git tag → registry → GitHub. Each step checks whether it is already done, so the
//! same command continues an interrupted release, and fails if another one did something else.

mod dist;
mod github;
mod plan;
mod reserve;
mod run;
mod sign;

use super::Session;
use crate::cli;
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
        return plan.rehearse().await;
    }
    let mut steps = Steps::lasting();
    let docker = Docker::with_builder(args.builder.as_deref()).await;
    let until = args.until.unwrap_or(cli::Until::Github);
    let result = plan.execute(&docker, until, &mut steps).await;
    let index = result.as_ref().ok().map(|promise| &promise.index);
    let released = index.map(|index| format!("{}:{}@{index}", plan.wanted.repository.name, plan.tag));
    let document = serde_json::json!({
        "steps": steps, "tag": plan.tag, "digest": index, "released": released, "dist": plan.wanted.dist,
    });
    session.list(&document, std::iter::once(steps.table()).chain(released))?;
    let promise = result?;
    io::github_output("tag", plan.tag.as_str())?;
    io::github_output("digest", promise.index.as_str())?;
    for (arch, digest) in &promise.manifests {
        io::github_output(&format!("digest-{arch}"), digest.as_str())?;
    }
    Ok(())
}
