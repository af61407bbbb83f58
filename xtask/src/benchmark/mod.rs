//! The costs of an image: its times to start and to stop, its memory when idle, its size. Every figure is measured
//! several times, alternating with what it is compared with.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

pub(crate) use self::machine::Machine;
pub(crate) use self::report::{Figures, Measured};
pub(crate) use self::start::Bench;

use self::report::Idle;
use self::start::{Timed, Up, Way};
use crate::io::say;

mod figures;
mod machine;
mod memory;
mod report;
pub(crate) mod size;
mod start;

/// What is measured of an image that is started several times.
#[derive(Debug)]
pub(crate) struct MeasurePlan {
    /// The number of runs of each measurement.
    pub(crate) runs: u32,
    /// Whether to measure all ways of starting, or the idle container only.
    pub(crate) starts: bool,
    pub(crate) idle: bool,
    /// How long a container runs before it counts as idle.
    pub(crate) settle: Duration,
    /// The share of this machine that other processes may use; starts with more are repeated.
    pub(crate) others: Option<f64>,
}

pub(crate) async fn run(bench: &Bench<'_>, plan: &MeasurePlan) -> anyhow::Result<Measured> {
    // It reads the image's files into the page cache, so that all runs find them there.
    say("a first start, which is not counted ...");
    drop(bench.start(&Way::Together).await?);
    let ways = if plan.starts { bench.ways() } else { vec![Way::Together] };
    let mut measured = Measured::default();
    for round in 0..plan.runs {
        // Each round begins with another way, so that changes of the machine affect all ways alike.
        let first = round as usize % ways.len();
        for way in ways[first..].iter().chain(&ways[..first]) {
            let (timed, up) = undisturbed(bench, way, plan.others, &mut measured.repeated).await?;
            say(&format!("round {} of {}  {}", round + 1, plan.runs, report::line(&timed)));
            measured.starts.push(timed);
            if plan.idle && *way == Way::Together {
                tokio::time::sleep(plan.settle).await;
                let memory = memory::read(&up.container).await?;
                let stopping = Instant::now();
                let code = up.container.stop().await?;
                let seconds = stopping.elapsed().as_secs_f64();
                ensure!(code == 0, "stopped after {seconds:.1} s, the container ended with {code}");
                measured.idle.push(Idle { stop_seconds: seconds, memory });
            }
        }
    }
    Ok(measured)
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
