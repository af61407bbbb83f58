//! Services that hang, and `kill -9` of every service in turn: each must restart, and leave no process behind.

use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{Running, ensure_none, until};
use super::security::processes;
use super::turns;
use crate::domain::service::Service;

/// One that is checked by a port, one by a socket whose worker hangs with it, and the one that watches them.
const FROZEN: [&str; 3] = ["llamacpp", "front", "status"];
/// Seconds until they are restarted: `status` first, then a minute for those that it watches.
const THAWED: u64 = 240;

/// Services that were stopped with SIGSTOP, each with its process id.
#[derive(Debug)]
pub(super) struct Frozen {
    services: Vec<(&'static str, u32)>,
    since: Instant,
}

/// Stops services with SIGSTOP, as if they hung. Restarting them takes minutes; other checks can run meanwhile.
pub(super) async fn freeze(running: &Running<'_>) -> anyhow::Result<Frozen> {
    let mut services = Vec::new();
    for name in FROZEN {
        let main = ready_process(running, name).await?.with_context(|| format!("{name} is not ready"))?;
        let stop = r#"kill -STOP "$0" $(pgrep --parent "$0")"#;
        running.container.exec(&["bash", "-c", stop, &main.to_string()]).await?;
        services.push((name, main));
    }
    Ok(Frozen { services, since: Instant::now() })
}

/// Each must have been restarted for its hang, and `status` must say so.
async fn thawed(running: &Running<'_>, frozen: anyhow::Result<Frozen>) -> anyhow::Result<String> {
    let frozen = frozen?;
    let mut restarts = Vec::new();
    for (name, old) in frozen.services {
        until(|| async { Ok(ready_process(running, name).await?.filter(|now| *now != old)) }).await?;
        let last = running.container.exec(&["cat", &format!("/run/stack/state/{name}/last")]).await?;
        ensure!(last.contains("answer") && last.contains("for "), "{name} was not restarted for its hang: it {last}");
        restarts.push(format!("{name} {last}"));
    }
    Ok(format!("all are back after {} s; {}", frozen.since.elapsed().as_secs(), restarts.join("; ")))
}

pub(super) async fn prove(report: &mut Report, running: &Running<'_>, frozen: anyhow::Result<Frozen>, nonce: &str) {
    report.group("hangs");
    report.see("hung services are restarted", THAWED, thawed(running, frozen)).await;
    report.group("kill -9");
    for service in running.bench.stack.services.iter().filter(|service| !service.is_site()) {
        let limit = u64::from(service.ready_within).min(240);
        report.see(&service.name, limit, kill(running, service)).await;
    }
    report.see("everything is healthy afterwards", 120, healthy(running)).await;
    report.see("a turn works again", running.bench.turn, turns::turn(running, nonce)).await;
}

/// The process id of a service, by its supervisor, once it is ready.
async fn ready_process(running: &Running<'_>, service: &str) -> anyhow::Result<Option<u32>> {
    let folder = format!("/run/stack/scan/{service}");
    let output = running.container.exec(&["s6-svstat", "-o", "pid,ready", &folder]).await?;
    parse_state(&output).with_context(|| format!("unexpected output of s6-svstat: {output:?}"))
}

/// The service is down at `-1 false`.
fn parse_state(output: &str) -> anyhow::Result<Option<u32>> {
    let (pid, ready) = output.trim().split_once(' ').context("not two fields")?;
    Ok(if ready == "true" { Some(pid.parse()?) } else { None })
}

/// Kills the process of a service, and waits until the service is ready again.
async fn kill(running: &Running<'_>, service: &Service) -> anyhow::Result<String> {
    let main = ready_process(running, &service.name).await?.context("it is not ready")?;
    // Some processes do not have the service's name any more: nginx overwrites its environment with its title.
    let mut before = processes(running).await?;
    before.retain(|process| process.session == main || process.service() == service.name);
    running.container.exec(&["bash", "-c", r#"kill -KILL "$0""#, &main.to_string()]).await?;
    let killed = Instant::now();
    until(|| async { Ok(ready_process(running, &service.name).await?.filter(|now| *now != main)) }).await?;
    let ready = killed.elapsed().as_secs_f64();
    let after = processes(running).await?;
    let left = after.iter().filter(|process| before.contains(process)).map(|process| &process.words);
    ensure_none("of the killed one there is still: ", "; ", left)?;
    Ok(format!("ready again after {ready:.1} s; of {} old processes none is left", before.len()))
}

async fn healthy(running: &Running<'_>) -> anyhow::Result<String> {
    running.settled().await?;
    let answered = running.ask_ports(Instant::now()).await?;
    Ok(format!("{} ports answer", answered.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_process_counts() {
        assert_eq!(parse_state("123 true\n").unwrap(), Some(123));
        assert_eq!(parse_state("123 false").unwrap(), None);
        assert_eq!(parse_state("-1 false").unwrap(), None);
        assert!(parse_state("what").is_err());
    }
}
