//! Stops under load, starts again, and power cuts: no data may be lost.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::report::Report;
use super::running::{Running, ask};
use super::turns;
use super::{UP, convex};
use crate::domain::service::stop_within;
use crate::engine::container::{Container, Options, Volume};

/// A variable of the deployment that this test sets.
const KEPT: &str = "SMOKE_KEPT";
/// The image's mark of the pushed functions: a push changes it.
const PUSHED: &str = "MISSION_CONTROL_PUSHED";
/// The set-up's message when there is nothing to push.
const NOTHING_TO_PUSH: &str = "Convex has these functions already";
/// The image's message when it had to kill a service.
const KILLED: &str = "not all stopped in time";

/// What a start must find again.
struct Kept<'a> {
    nonce: &'a str,
    /// The id of an OpenCode session.
    session: Option<String>,
    pushed: Value,
}

pub(super) async fn prove(
    report: &mut Report,
    running: &mut Running<'_>,
    volume: &Volume,
    nonce: &str,
    session: Option<String>,
) {
    report.group("stop and start");
    let pushed = report.check("data to be kept is written", 30, put(running, nonce), |_| String::new()).await;
    let kept = Kept { nonce, session, pushed: pushed.unwrap_or_default() };
    report.see("docker stop under load", 60, stop_under_load(running, nonce)).await;
    if report.see("the same container starts again", UP, start_again(running)).await {
        report.see("keys and data are unchanged", 60, same(running, &kept)).await;
    }
    let name = "a power cut, then a new container on the volume";
    if report.see(name, UP, after_power_cut(running, volume)).await {
        report.see("keys and data are still unchanged", 60, same(running, &kept)).await;
    }
    report.see("docker stop when idle", 60, stop(running)).await;
    report.see("docker stop at several moments of a start", 90, stop_starts(running)).await;
}

/// Milliseconds after the start: while settings are checked, at the supervisor's first steps, while services start.
const MOMENTS: [u64; 5] = [0, 150, 400, 1000, 3000];
/// The exit code of a shell for SIGTERM.
const TERMINATED: i32 = 143;

/// A signal before the supervisor runs must stop the container, too.
async fn stop_starts(running: &Running<'_>) -> anyhow::Result<String> {
    let bench = running.bench;
    let volume = Volume::create(bench.docker, &[]).await?;
    let mut times = Vec::new();
    for moment in MOMENTS {
        let container = bench.container(&volume, &Options::default()).await?;
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let (code, seconds) = timed_stop(&container).await?;
        ensure!(
            code == 0 || code == TERMINATED,
            "stopped {moment} ms after its start, it ended with exit code {code} after {seconds:.1} s"
        );
        times.push(format!("{seconds:.1} s"));
    }
    Ok(times.join(", "))
}

/// Stops a container; returns its exit code, and how long that took.
async fn timed_stop(container: &Container) -> anyhow::Result<(i32, f64)> {
    let begun = Instant::now();
    Ok((container.stop().await?, begun.elapsed().as_secs_f64()))
}

async fn put(running: &Running<'_>, nonce: &str) -> anyhow::Result<Value> {
    convex::set_variable(running, KEPT, nonce).await?;
    let set = convex::environment(running).await?;
    set.get(PUSHED).cloned().with_context(|| format!("{PUSHED} is not set"))
}

/// Stops while pages are fetched and a turn runs.
async fn stop_under_load(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let answered = Cell::new(0);
    let fetches = running.settings().map(|setting| fetch_on(running, setting, &answered));
    let load = async {
        // The turn may fail, because the stop interrupts it.
        let _ = tokio::join!(futures_util::future::join_all(fetches), turns::turn(running, nonce));
        bail!("the load ended by itself")
    };
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop(running).await
    };
    let stopped: String = tokio::select! {
        stopped = stopping => stopped?,
        ended = load => ended?,
    };
    ensure!(answered.get() > 0, "there was no load: no request was answered");
    Ok(format!("{stopped}, after {} answers", answered.get()))
}

/// Fetches a port's first page repeatedly.
async fn fetch_on(running: &Running<'_>, setting: &str, answered: &Cell<u32>) {
    loop {
        if let Ok(request) = running.get(setting, "/") {
            let fetched = ask(request.timeout(Duration::from_secs(2))).await;
            answered.set(answered.get() + u32::from(fetched.is_ok()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stop(running: &Running<'_>) -> anyhow::Result<String> {
    let longest = stop_within(&running.bench.stack.services)?;
    let (code, seconds) = timed_stop(&running.container).await?;
    ensure!(code == 0, "it ended with exit code {code} after {seconds:.1} s");
    ensure!(running.container.inspect("{{.State.OOMKilled}}").await? == "false", "it ran out of memory");
    let logs = running.container.logs().await?;
    let killed = logs.lines().find(|line| line.contains(KILLED));
    ensure!(killed.is_none(), "{}", killed.unwrap_or_default());
    ensure!(seconds <= f64::from(longest), "it took {seconds:.1} s, longer than the {longest} s of the table");
    Ok(format!("exit code 0 after {seconds:.1} s, of {longest} s"))
}

async fn start_again(running: &mut Running<'_>) -> anyhow::Result<String> {
    running.started = Instant::now();
    running.container.start_again().await?;
    running.healthy().await
}

async fn after_power_cut(running: &mut Running<'_>, volume: &Volume) -> anyhow::Result<String> {
    running.container.kill().await?;
    running.replace(volume).await?;
    running.healthy().await
}

/// Checks for every key, a variable, a task, an account and a session of before, and that nothing was pushed again.
async fn same(running: &Running<'_>, kept: &Kept<'_>) -> anyhow::Result<String> {
    let now = running.read_secrets().await?;
    for (name, value) in &running.secrets {
        ensure!(now.get(name) == Some(value), "{name} has changed");
    }
    ensure!(now.len() == running.secrets.len(), "there are {} secrets instead of {}", now.len(), running.secrets.len());
    let set = convex::environment(running).await?;
    ensure!(set.get(KEPT).and_then(Value::as_str) == Some(kept.nonce), "the variable {KEPT} is {:?}", set.get(KEPT));
    ensure!(set.get(PUSHED) == Some(&kept.pushed), "the functions were pushed again");
    let logs = running.container.logs().await?;
    ensure!(logs.contains(NOTHING_TO_PUSH), "the set-up does not say that there was nothing to push");
    turns::find_task(running, kept.nonce).await?.context("the task of the first run is gone")?;
    if let Some(id) = &kept.session {
        let title = turns::session_title(running, id).await?;
        ensure!(title == kept.nonce, "the session of OpenCode is called {title:?}");
    }
    Ok(format!("{} keys, a variable, a task, the account, a session", now.len()))
}
