//! `rehearse`: bump → render → build both → probe → push → tag, on embedded upstreams, in a scratch directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::release::{self, Plan, Wanted};
use super::{Session, build, bump};
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::mirror::{Mirror, Mirrors};
use crate::domain::stack::{Source, Stack};
use crate::engine::build::Build;
use crate::engine::docker::{Docker, NoEngine};
use crate::engine::loaded::Loaded;
use crate::engine::registry::Repository;
use crate::engine::{compose, podman, probe};
use crate::error::{self, ended};
use crate::io::http::Memory;
use crate::io::steps::Steps;
use crate::io::{self, files};
use crate::rehearsal::artifacts::Workshop;
use crate::rehearsal::provision::{self, Provisioned, Registry};
use crate::rehearsal::repositories::{Contents, Repo, Repositories};
use crate::rehearsal::scratch::Scratch;
use crate::rehearsal::{base, checkout, install, upstream};
use crate::smoke;
use crate::upstream::debian;

/// The tag in stand-in repositories whose versions are tags.
const STAND_IN_TAG: &str = "v0.16.2";
/// What `--with` can replace besides repositories: a program, and a folder of pages.
const PUT_IN: [&str; 2] = ["llamacpp", "convex-dashboard"];
const WITHOUT_ENGINE: &str = "no Docker engine: `cargo xtask rehearse --provision`, as root on Debian or Ubuntu";

pub(crate) async fn run(session: &Session, args: &cli::Rehearse) -> anyhow::Result<()> {
    let scratch = Scratch::new()?;
    let mut steps = Steps::default();
    let result = rehearse(session, args, scratch.path(), &mut steps).await;
    session.print(&serde_json::json!({ "steps": steps }), || steps.table())?;
    if args.keep {
        io::say(&format!("the scratch directory is {}", scratch.keep().display()));
    }
    result?;
    if steps.skipped() {
        io::say("hint: not everything was rehearsed; each step that was skipped says why");
    }
    Ok(())
}

async fn rehearse(session: &Session, args: &cli::Rehearse, scratch: &Path, steps: &mut Steps) -> anyhow::Result<()> {
    let stack = &super::checkout::read_stack(&session.root)?;
    let mut run = Run { session, args, scratch, stack, real: real(stack, args)?, steps };
    match run.engine().await? {
        Some((docker, _provisioned)) => Box::pin(run.with_engine(&docker)).await,
        None => Box::pin(run.without_engine()).await,
    }
}

struct Run<'a> {
    session: &'a Session,
    args: &'a cli::Rehearse,
    scratch: &'a Path,
    stack: &'a Stack,
    /// The replacements of `--with`, by component.
    real: BTreeMap<String, PathBuf>,
    steps: &'a mut Steps,
}

impl Run<'_> {
    /// The engine, if there is one, and what stops it when it is dropped, if it was provisioned.
    async fn engine(&mut self) -> anyhow::Result<Option<(Docker, Option<Provisioned>)>> {
        if self.args.provision {
            let provisioned = provision::provision(self.scratch);
            let summary = |_: &_| "dockerd of its own".to_owned();
            let provisioned = self.steps.run("provision an engine", provisioned, summary).await?;
            return Ok(Some((provisioned.docker.clone(), Some(provisioned))));
        }
        let docker = Docker::default();
        match docker.check().await {
            Ok(versions) => {
                io::say(&format!("engine {}, buildx {}", versions.engine, versions.buildx));
                Ok(Some((docker, None)))
            }
            Err(error) if error::is::<NoEngine>(&error) => {
                io::say(&format!("note: {error:#}"));
                Ok(None)
            }
            // An unfit engine is an error, a missing one is not.
            Err(error) => Err(error),
        }
    }

    async fn with_engine(&mut self, docker: &Docker) -> anyhow::Result<()> {
        let Self { session, scratch, stack, .. } = *self;
        let registry = self.steps.run("start the registry", Registry::start(scratch), |it| it.address.clone()).await?;
        let (archive, mut mirrors) = debian_archive(session, stack).await?;
        let Source::Oci { image, tag } = &stack.component("base")?.source else {
            anyhow::bail!("the component `base` is not a container image");
        };
        let (host, path) = image.split_once('/').context("the base image names no registry")?;
        let local = format!("{}/{path}", registry.address);
        let made = base::make(docker, scratch, &local, tag, &archive);
        let summary = format!("{image}:{tag}, from Debian's own packages");
        self.steps.run("make the base images", made, |()| summary).await?;

        mirrors.push(Mirror { from: host.to_owned(), to: registry.address.clone() });
        // Its stand-ins serve until it is dropped.
        let rehearsal = self.prepare(mirrors).await?;
        let rehearsed = &rehearsal.session;
        self.bump(rehearsed, Vec::new()).await?;

        let lock = super::checkout::read_lock(&rehearsed.root, stack)?;
        checkout::commit(&rehearsed.root, "Pins of the rehearsal").await?;
        let repository = Repository::new(&format!("{}/mission-control", registry.address))?;
        checkout::publish(&rehearsed.root, &scratch.join("origin.git")).await?;
        let dist = rehearsed.root.join("target/dist");
        let wanted = Wanted { repository, layouts: None, dist, github: None, sign: None, offline: false };
        release::check(rehearsed, stack, &lock).await?;
        let plan = Plan::new(rehearsed, stack, &lock, wanted);
        let plan = self.steps.run("plan the release", plan, |plan| plan.tag.to_string()).await?;
        let build = build::inputs(rehearsed, docker, &lock).await?;
        let refused = build.check_refusals();
        self.steps.run("refuse what is not pinned", refused, |count| format!("{count} builds refused")).await?;
        plan.execute(docker, cli::Until::Move, self.steps).await?;
        // The files beside the image, for inspection.
        files::copy_files(&plan.wanted.dist, &session.root.join("target/rehearsal"))?;
        for flavor in stack.flavors.iter().skip(1).filter(|flavor| flavor.later.is_none()) {
            self.try_flavor(&build, &stack.flavored(Some(&flavor.name))?, &rehearsed.root).await?;
        }
        self.prove(docker, &rehearsed.root).await
    }

    /// Builds another flavor and starts it with what it needs, which checks its layers, too.
    async fn try_flavor(&mut self, build: &Build<'_>, stack: &Stack, root: &Path) -> anyhow::Result<()> {
        let native = Arch::native()?;
        let (name, output) = (&stack.flavor.name, root.join(stack.folder("target/image")));
        let build = Build { target: Some(name), ..build.clone() };
        fs_err::create_dir_all(&output)?;
        let logged = build::logged(&build, native, &output);
        self.steps.run(&format!("build {native} of {name}"), logged, build::Built::summary).await?;
        let layout = output.join(native.as_str());
        let probe = probe::layout(build.docker, stack, &layout);
        self.steps.run(&format!("probe {native} of {name}"), probe, probe::Probed::summary).await?;
        Ok(())
    }

    /// Checks the released image beyond its ports: it starts with compose, and passes the smoke test.
    async fn prove(&mut self, docker: &Docker, root: &Path) -> anyhow::Result<()> {
        let (stack, quick) = (self.stack, self.args.quick);
        let layout = root.join("target/image").join(Arch::native()?.as_str());
        let image = Loaded::from_layout(docker, &layout).await?;
        let image = image.name();
        let context = root.join("image");
        let started = compose::check(docker, &context, stack, image);
        let summary = |ports: &usize| format!("healthy with {ports} ports moved, each answering where it was moved to");
        self.steps.run("docker compose up", started, summary).await?;
        if let Some(why) = podman::missing().await {
            self.steps.skip("podman kube play", &why);
        } else {
            let played = podman::check(&layout, &context, stack, self.scratch);
            self.steps.run("podman kube play", played, String::clone).await?;
        }

        let output = &self.scratch.join("smoke");
        fs_err::create_dir_all(output)?;
        let request =
            smoke::Request { docker, stack, image, model: None, output, only: &[], quick, require_browser: false };
        let proved = async {
            let report = smoke::run(&request).await?;
            report.verdict()?;
            Ok(report)
        };
        self.steps.run("smoke", Box::pin(proved), smoke::report::Report::summary).await?;
        Ok(())
    }

    /// The part that needs no engine: everything is resolved and pinned, except for the base image, which needs a
    /// registry; nothing is built. Debian's packages need a machine whose apt has a Debian archive.
    async fn without_engine(&mut self) -> anyhow::Result<()> {
        let mirror = install::debian_mirror().await.ok().flatten().filter(|_| files::debian_keyring().is_ok());
        let mirrors = mirror.as_ref().map_or_else(|| Ok(Vec::new()), |mirror| debian_mirrors(self.stack, mirror))?;
        let rehearsal = self.prepare(mirrors).await?;
        let can_be_pinned = |source: &Source| match source {
            Source::Oci { .. } => false,
            Source::Debian { .. } => mirror.is_some(),
            Source::Github { .. } | Source::Git { .. } | Source::Npm { .. } => true,
        };
        let (can, cannot): (Vec<_>, Vec<_>) =
            self.stack.components.iter().partition(|(_, component)| can_be_pinned(&component.source));
        let names = can.into_iter().map(|(name, _)| name.clone()).collect();
        self.bump(&rehearsal.session, names).await?;
        for (name, _) in cannot {
            self.steps.skip(&format!("pin {name}"), WITHOUT_ENGINE);
        }
        for step in [
            "make the base images",
            "build x86_64",
            "build aarch64",
            "probe",
            "join under one index",
            "push",
            "docker compose up",
            "podman kube play",
        ] {
            self.steps.skip(step, WITHOUT_ENGINE);
        }
        Ok(())
    }

    /// The scratch checkout, with mirrors to all stand-ins and others.
    async fn prepare(&mut self, others: Vec<Mirror>) -> anyhow::Result<Rehearsal> {
        let Self { session, scratch, stack, .. } = *self;
        let mut real = std::mem::take(&mut self.real);
        let root = scratch.join("checkout");
        let copied = checkout::copy(&session.root, &root);
        self.steps.run("copy the checkout", copied, |()| "without its lock".to_owned()).await?;
        let standins = root.join("xtask/standins");
        let sources = git_sources(stack, &standins, &mut real);
        let workshop = Workshop { standins, folder: scratch.join("artifacts"), programs: real };
        fs_err::create_dir_all(&workshop.folder)?;
        let upstream = upstream::StandIns::start(stack, &workshop);
        let upstream = self.steps.run("start the upstream", upstream, |it| format!("{} archives", it.archives)).await?;
        let repositories = Repositories::serve(scratch, &sources);
        let summary = sources.iter().map(Repo::describe).collect::<Vec<_>>().join(", ");
        let repositories = self.steps.run("serve the sources", repositories, |_| summary).await?;
        let served = sources.iter().map(|Repo { path, .. }| Mirror {
            from: format!("https://github.com/{path}"),
            to: format!("{}/{path}", repositories.url),
        });
        // The first matching mirror counts: the user's own.
        let mirrors = session.mirrors.iter().chain(&upstream.mirrors).cloned().chain(served).chain(others);
        let mirrors = Mirrors::new(mirrors.collect());
        let session = Session { root, mirrors, format: session.format, memory: Memory::Unused };
        Ok(Rehearsal { session, _upstream: upstream, _repositories: repositories })
    }

    /// Bumps the scratch checkout, which also renders it.
    async fn bump(&mut self, session: &Session, names: Vec<String>) -> anyhow::Result<()> {
        let pins = cli::Names { names };
        let args = cli::Bump { pins, to: None, now: true, keep_going: false, dry_run: false };
        self.steps.run("bump and render", bump::bump(session, &args), bump::Bumped::summary).await?;
        Ok(())
    }
}

/// The scratch checkout and all stand-ins of upstreams. Dropping it ends them.
struct Rehearsal {
    session: Session,
    _upstream: upstream::StandIns,
    _repositories: Repositories,
}

/// The replacements of `--with`, by component; reports all errors.
fn real(stack: &Stack, args: &cli::Rehearse) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut failures = Vec::new();
    for (name, path) in &args.with {
        match stack.component(name) {
            Err(error) => failures.push(error.into()),
            Ok(component) if matches!(component.source, Source::Git { .. }) || PUT_IN.contains(&name.as_str()) => {}
            Ok(_) => {
                let others = PUT_IN.join(", ");
                failures.push(anyhow::anyhow!("--with takes a component from git, or one of {others}; not `{name}`"));
            }
        }
        if !path.exists() {
            failures.push(anyhow::anyhow!("--with {name}={}: there is no such path", path.display()));
        }
    }
    ended(failures)?;
    Ok(args.with.iter().cloned().collect())
}

/// The repositories of the stack; real ones are removed from `real`.
fn git_sources(stack: &Stack, standins: &Path, real: &mut BTreeMap<String, PathBuf>) -> Vec<Repo> {
    let repositories = stack.components.iter().filter_map(|(name, component)| {
        let Source::Git { repository, branch } = &component.source else { return None };
        let path = repository.trim_start_matches("https://github.com/").to_owned();
        let tag = branch.is_none().then(|| STAND_IN_TAG.to_owned());
        let standin = || Contents::StandIn { sources: standins.join(name), tag };
        let contents = real.remove(name).map_or_else(standin, Contents::Real);
        Some(Repo { path, contents })
    });
    repositories.collect()
}

/// The Debian archive, and the mirrors that redirect to it. This machine's own archive, as of today, replaces Debian's
/// archive of any date. If its apt has none, it is the archive of `stack.toml`, after the user's mirrors.
async fn debian_archive(session: &Session, stack: &Stack) -> anyhow::Result<(String, Vec<Mirror>)> {
    if let Some(address) = install::debian_mirror().await? {
        let mirrors = debian_mirrors(stack, &address)?;
        return Ok((address, mirrors));
    }
    let (archive, _) = debian_at(stack, chrono::Utc::now())?;
    Ok((session.mirrors.rewrite(&archive), Vec::new()))
}

/// A mirror for the archive of today and of tomorrow, because a run may continue past midnight.
fn debian_mirrors(stack: &Stack, mirror: &str) -> anyhow::Result<Vec<Mirror>> {
    let now = chrono::Utc::now();
    let mut mirrors = Vec::new();
    for moment in [now, now + chrono::TimeDelta::days(1)] {
        let (archive, security) = debian_at(stack, moment)?;
        mirrors.push(Mirror { from: archive, to: mirror.to_owned() });
        mirrors.push(Mirror { from: security, to: format!("{mirror}-security") });
    }
    Ok(mirrors)
}

/// The URLs of the archive and its security updates at a date.
fn debian_at(stack: &Stack, moment: chrono::DateTime<chrono::Utc>) -> anyhow::Result<(String, String)> {
    let Source::Debian { archive, security, .. } = &stack.component("debian")?.source else {
        anyhow::bail!("the component `debian` is not a Debian archive");
    };
    let version = debian::newest_moment(moment);
    let fill = |template: &str| template.replace("{version}", &version);
    Ok((fill(archive), fill(security)))
}
