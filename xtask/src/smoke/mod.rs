//! Tests an image: its services work, unauthorized clients get no data, and faults do no harm.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use self::report::Report;
use self::running::{Bench, Running};
use crate::domain::stack::Stack;
use crate::engine::container::Volume;
use crate::engine::docker::Docker;
use crate::engine::probe::Answered;
use crate::io::files;

mod attacks;
mod backups;
mod bad_input;
mod browser;
mod commands;
mod convex;
mod disk;
mod foreign_pages;
mod fronts;
mod inside;
mod kills;
mod model;
mod models;
mod published;
mod raw;
mod refusals;
pub(crate) mod report;
mod running;
mod sandbox;
mod security;
mod sign_in;
mod stops;
mod tls;
mod turns;

/// Seconds until all services are up on a slow machine: the probes have shorter timeouts.
const UP: u64 = 400;

/// Seconds of a turn. With the generated model it is the time to read a long prompt; a real model that writes more than
/// a word takes much longer on CPUs.
const TURN: u64 = 400;
const LONG_TURN: u64 = 1800;
/// Tokens: a small model may not stop by itself.
const LONGEST_ANSWER: &str = "200";

/// The options of a smoke test.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) stack: &'a Stack,
    /// The image's name in the engine.
    pub(crate) image: &'a str,
    /// A model for llama.cpp; without one, a model is generated.
    pub(crate) model: Option<PathBuf>,
    /// The folder for screenshots of the pages.
    pub(crate) output: &'a Path,
    /// The parts to run; all if empty.
    pub(crate) only: &'a [String],
    /// Skips the faults.
    pub(crate) quick: bool,
    /// Whether a missing browser is a failure.
    pub(crate) require_browser: bool,
}

/// The parts that `--only` can select.
const PARTS: &[&str] = &[
    "convex", "fronts", "commands", "turns", "browser", "security", "sandbox", "attacks", "inside", "sign-in", "tls",
    "models", "backups", "refusals", "kills", "stops", "disk",
];
/// The parts that break something, and take longest.
const FAULTS: &[&str] = &["backups", "refusals", "kills", "stops", "disk"];

impl Request<'_> {
    /// Whether a part runs. The stops need what the turns wrote.
    fn wants(&self, part: &str) -> bool {
        if self.only.is_empty() {
            return !(self.quick && FAULTS.contains(&part));
        }
        self.only.iter().any(|asked| asked == part || (part == "turns" && asked == "stops"))
    }

    /// Runs a part if it is wanted.
    async fn part<T>(&self, name: &str, work: impl Future<Output = T>) -> Option<T> {
        // Boxed: a future has its arguments and what it awaits, so it would have the part's size twice.
        if self.wants(name) { Some(Box::pin(work).await) } else { None }
    }

    fn check(&self) -> anyhow::Result<()> {
        for asked in self.only {
            ensure!(PARTS.contains(&asked.as_str()), "no part is called {asked}; there are {}", PARTS.join(", "));
        }
        Ok(())
    }
}

/// Runs all checks. An error means that they could not run; failed checks are in the report.
pub(crate) async fn run(request: &Request<'_>) -> anyhow::Result<Report> {
    request.check()?;
    let scratch = TempDir::with_prefix("mission-control-smoke-").context("cannot make a scratch directory")?;
    // The container's user reads the model through it.
    files::make_executable(scratch.path())?;
    let context = model::CONTEXT.to_string();
    let (model, turn, more) = if let Some(model) = &request.model {
        (fs_err::canonicalize(model)?, LONG_TURN, [("LLAMA_ARG_N_PREDICT", LONGEST_ANSWER)])
    } else {
        let made = scratch.path().join("smoke.gguf");
        model::write(&made)?;
        (made, TURN, [("LLAMACPP_CTX_SIZE", context.as_str())])
    };
    let bench = Bench::new(request, scratch.path(), model, turn)?;
    let mut report = Report::new(request.image);
    let volume = Volume::create(bench.docker, &[]).await?;
    let mut running = bench.start(&volume, &more).await?;
    if !up(&mut report, &mut running).await {
        report.keep_log(&running.container, &request.output.join("container.log")).await;
        return Ok(report);
    }
    let nonce = Bench::nonce();
    request.part("convex", convex::prove(&mut report, &running, &nonce)).await;
    request.part("fronts", fronts::prove(&mut report, &running)).await;
    request.part("commands", commands::prove(&mut report, &running)).await;
    let session = request.part("turns", turns::prove(&mut report, &running, &nonce)).await.flatten();
    let run = request.wants("turns").then_some(nonce.as_str());
    request.part("browser", browser::prove(&mut report, &running, run, request.require_browser)).await;
    request.part("security", security::prove(&mut report, &running)).await;
    request.part("sandbox", sandbox::prove(&mut report, &running)).await;
    request.part("attacks", attacks::prove(&mut report, &running)).await;
    request.part("inside", inside::prove(&mut report, &running)).await;
    // It takes a while until hung services are found; the next groups have containers of their own.
    let frozen = request.part("kills", kills::freeze(&running)).await;
    request.part("sign-in", sign_in::prove(&mut report, &bench)).await.transpose()?;
    request.part("tls", tls::prove(&mut report, &bench)).await.transpose()?;
    request.part("models", models::prove(&mut report, &bench)).await.transpose()?;
    request.part("backups", backups::prove(&mut report, &bench, &running, &nonce)).await;
    request.part("refusals", refusals::prove(&mut report, &bench, &volume)).await;
    if let Some(frozen) = frozen {
        kills::prove(&mut report, &running, frozen, &Bench::nonce()).await;
    }
    request.part("stops", stops::prove(&mut report, &mut running, &volume, &nonce, session)).await;
    report.keep_log(&running.container, &request.output.join("container.log")).await;
    let secrets = std::mem::take(&mut running.secrets);
    // Two at once would be slow because of each other.
    drop(running);
    request.part("disk", disk::prove(&mut report, &bench, &more, &secrets)).await;
    Ok(report)
}

/// The start itself; without it no other check can run.
async fn up(report: &mut Report, running: &mut Running<'_>) -> bool {
    report.group("start");
    let summary = |(answered, healthy): &(Vec<Answered>, f64)| {
        let slowest = answered.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let slowest = slowest.map(|it| format!("{} last, after {:.1} s", it.service, it.seconds)).unwrap_or_default();
        format!("{} ports, {slowest}; healthy after {healthy:.1} s", answered.len())
    };
    let name = "every port answers, and everything is healthy";
    if report.check(name, UP, running.up(), summary).await.is_none() {
        return false;
    }
    let secrets = running.read_secrets();
    let secrets = report.check("its secrets are generated", 30, secrets, |all| format!("{} of them", all.len())).await;
    running.secrets = secrets.unwrap_or_default();
    report.see("stand-ins", 30, running.stand_ins()).await
}
