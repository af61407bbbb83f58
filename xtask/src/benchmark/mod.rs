//! The costs of an image: its times to start and to stop, its memory when idle, its size. Every figure is measured
//! several times, alternating with what it is compared with.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use self::machine::Machine;
use self::report::{Figures, Idle, Measured};
use self::size::Sizes;
use self::start::{Bench, Timed, Up, Way};
use crate::domain::stack::Stack;
use crate::engine::docker::Docker;
use crate::io::say;

mod figures;
mod machine;
mod memory;
mod report;
pub(crate) mod size;
mod start;

/// The options of a benchmark.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) stack: &'a Stack,
    /// The number of runs of each measurement.
    pub(crate) runs: u32,
    /// How long a container runs before it counts as idle.
    pub(crate) settle: Duration,
    /// What to start; `None` to measure the size only.
    pub(crate) running: Option<Running<'a>>,
    pub(crate) sizes: Option<Sizes>,
}

/// An image to start several times.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) engine: String,
    /// The image's name in the engine.
    pub(crate) image: &'a str,
    pub(crate) model: Option<&'a Path>,
    /// Whether to measure all ways of starting, or the idle container only.
    pub(crate) starts: bool,
    pub(crate) idle: bool,
    /// The share of this machine that other processes may use; starts with more are repeated.
    pub(crate) others: Option<f64>,
}

pub(crate) async fn run(request: Request<'_>) -> anyhow::Result<Figures> {
    let Some(running) = request.running else {
        return Ok(Figures::new(request.stack, None, request.sizes, Measured::default()));
    };
    let machine = Machine::this(running.engine.clone());
    let bench = Bench {
        docker: running.docker,
        stack: request.stack,
        image: running.image,
        model: running.model,
        cores: machine.cores,
    };
    // It reads the image's files into the page cache, so that all runs find them there.
    say("a first start, which is not counted ...");
    drop(bench.start(&Way::Together).await?);
    let ways = if running.starts { bench.ways() } else { vec![Way::Together] };
    let mut measured = Measured::default();
    for round in 0..request.runs {
        // Each round begins with another way, so that changes of the machine affect all ways alike.
        let first = round as usize % ways.len();
        for way in ways[first..].iter().chain(&ways[..first]) {
            let (timed, up) = undisturbed(&bench, way, running.others, &mut measured.repeated).await?;
            say(&format!("round {} of {}  {}", round + 1, request.runs, report::line(&timed)));
            measured.starts.push(timed);
            if running.idle && *way == Way::Together {
                tokio::time::sleep(request.settle).await;
                let memory = memory::read(&up.container).await?;
                let stopping = Instant::now();
                let code = up.container.stop().await?;
                let seconds = stopping.elapsed().as_secs_f64();
                ensure!(code == 0, "stopped after {seconds:.1} s, the container ended with {code}");
                measured.idle.push(Idle { stop_seconds: seconds, memory });
            }
        }
    }
    Ok(Figures::new(request.stack, Some((machine, running.image.to_owned())), request.sizes, measured))
}

/// Repeats a start until other processes used little enough of the machine. The measured time does not influence this.
async fn undisturbed(
    bench: &Bench<'_>,
    way: &Way,
    others: Option<f64>,
    repeated: &mut u32,
) -> anyhow::Result<(Timed, Up)> {
    let Some(limit) = others else { return bench.start(way).await };
    loop {
        machine::wait_until_quiet(limit).await?;
        let (timed, up) = bench.start(way).await?;
        let others = timed.others.context("the container's processor time cannot be read: measure without --others")?;
        if !machine::is_disturbed(others, limit, timed.seconds, bench.cores) {
            return Ok((timed, up));
        }
        say(&format!("disturbed, and repeated  {}", report::line(&timed)));
        *repeated += 1;
    }
}
