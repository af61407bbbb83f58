//! Tests an image: its services work, unauthorized clients get no data, and faults do no harm.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use self::report::Report;
use self::running::{Bench, Running};
use crate::domain::stack::Stack;
use crate::engine::container::Volume;
use crate::engine::docker::Docker;
use crate::engine::probe;

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
const LONGEST_ANSWER: u32 = 200;

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
    fs_err::set_permissions(scratch.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let mut more = Vec::new();
    let turn = if request.model.is_some() { LONG_TURN } else { TURN };
    let model = if let Some(model) = &request.model {
        more.push(("LLAMA_ARG_N_PREDICT", LONGEST_ANSWER.to_string()));
        fs_err::canonicalize(model)?
    } else {
        let made = scratch.path().join("smoke.gguf");
        model::write(&made)?;
        more.push(("LLAMACPP_CTX_SIZE", model::CONTEXT.to_string()));
        made
    };
    let bench = Bench::new(request, scratch.path(), model, turn)?;
    let mut report = Report::new(request.image);
    let volume = Volume::create(bench.docker, &[]).await?;
    let ports = bench.moved_ports()?;
    let mut running = bench.start(&volume, ports, &more).await?;
    if !up(&mut report, &mut running).await {
        report.keep_log(&running.container, &request.output.join("container.log")).await;
        return Ok(report);
    }
    let nonce = Bench::nonce();
    if request.wants("convex") {
        convex::prove(&mut report, &running, &nonce).await;
    }
    if request.wants("fronts") {
        fronts::prove(&mut report, &running).await;
    }
    if request.wants("commands") {
        commands::prove(&mut report, &running).await;
    }
    let mut left = None;
    if request.wants("turns") {
        left = Some(turns::prove(&mut report, &running, &nonce).await);
    }
    if request.wants("browser") {
        match browser::page::find() {
            Some(program) => {
                let run = left.is_some().then_some(nonce.as_str());
                browser::prove(&mut report, &running, run, request.output, &program).await;
            }
            None if request.require_browser => report.miss("pages in a browser", browser::page::MISSING),
            None => report.skip("pages in a browser", browser::page::MISSING),
        }
    }
    if request.wants("security") {
        security::prove(&mut report, &running).await;
    }
    if request.wants("sandbox") {
        sandbox::prove(&mut report, &running).await;
    }
    if request.wants("attacks") {
        attacks::prove(&mut report, &running).await;
    }
    if request.wants("inside") {
        inside::prove(&mut report, &running).await;
    }
    // It takes a while until hung services are found; the next groups have containers of their own.
    let frozen = if request.wants("kills") { Some(kills::freeze(&running).await) } else { None };
    if request.wants("sign-in") {
        sign_in::prove(&mut report, &bench).await?;
    }
    if request.wants("tls") {
        tls::prove(&mut report, &bench).await?;
    }
    if request.wants("models") {
        models::prove(&mut report, &bench).await?;
    }
    if request.wants("backups") {
        backups::prove(&mut report, &bench, &running, &nonce).await;
    }
    if request.wants("refusals") {
        refusals::prove(&mut report, &bench, &volume).await;
    }
    if let Some(frozen) = frozen {
        kills::prove(&mut report, &running, frozen, &Bench::nonce()).await;
    }
    if let Some(left) = left.filter(|_| request.wants("stops")) {
        stops::prove(&mut report, &mut running, &volume, &nonce, &left).await;
    }
    report.keep_log(&running.container, &request.output.join("container.log")).await;
    let secrets = std::mem::take(&mut running.secrets);
    // Two at once would be slow because of each other.
    drop(running);
    if request.wants("disk") {
        disk::prove(&mut report, &bench, &more, &secrets).await;
    }
    Ok(report)
}

/// The start itself; without it no other check can run.
async fn up(report: &mut Report, running: &mut Running<'_>) -> bool {
    report.group("start");
    let slowest = |answered: &[probe::Answered]| {
        answered
            .iter()
            .max_by(|a, b| a.seconds.total_cmp(&b.seconds))
            .map(|it| format!("{} last, after {:.1} s", it.service, it.seconds))
    };
    let ready = report
        .check("every port answers, and everything is healthy", UP, running.up(), |(answered, healthy)| {
            let slowest = slowest(answered).unwrap_or_default();
            format!("{} ports, {slowest}; healthy after {healthy:.1} s", answered.len())
        })
        .await;
    if ready.is_none() {
        return false;
    }
    let secrets = report
        .check("its secrets are generated", 30, running.read_secrets(), |all| format!("{} of them", all.len()))
        .await;
    running.secrets = secrets.unwrap_or_default();
    report.see("stand-ins", 30, running.stand_ins()).await
}
