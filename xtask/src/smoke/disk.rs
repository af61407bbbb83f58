//! A full disk: before the first start, while all services run, and at a start. The container must report it, lose no
//! data, and recover when there is space.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::report::Report;
use super::running::{Bench, Running, ensure_none, start_of};
use super::{UP, convex};
use crate::engine::container::{Container, Options, Volume};

/// Makes a backup, and lists the files that it left.
const BACKUP: &str = "backup --keep; code=$?; find /data/backups /data/.backup-* -type f >&2; exit $code";
/// Enough for all that a first start writes.
const SIZE: &str = "size=768m";
/// The C library's message for a full disk.
const FULL: &str = "No space left on device";
/// How long the disk stays full while all services run.
const WHILE_FULL: Duration = Duration::from_secs(20);

/// `others` are the secrets of another volume.
pub(super) async fn prove(
    report: &mut Report,
    bench: &Bench<'_>,
    more: &[(&str, &str)],
    others: &BTreeMap<String, String>,
) {
    report.group("full disk");
    let prepared = report.check("a small disk", 60, Disk::create(bench), |_| SIZE.to_owned()).await;
    let Some(disk) = prepared else { return };
    report.see("before the first start", 90, before_first_start(bench, &disk)).await;
    let started = report.keep("with free space it starts", UP, start(bench, &disk, more)).await;
    let Some(mut running) = started else { return };
    report.see("while the services run", 200, while_running(&running, &disk)).await;
    report.see("its keys are its own", 30, async { own_keys(&running, others) }).await;
    report.see("at a start", 300, at_start(&mut running, &disk)).await;
    report.keep_log(&running.container, &bench.output.join("full-disk.log")).await;
}

/// A volume of limited size, in memory, and a container that keeps it mounted and writes beside the stack.
struct Disk {
    holder: Container,
    volume: Volume,
}

impl Disk {
    async fn create(bench: &Bench<'_>) -> anyhow::Result<Self> {
        let image = &bench.stack.image;
        let options = format!("o={SIZE},uid={},gid={},mode=0700", image.uid, image.gid);
        let volume = Volume::create(bench.docker, &["type=tmpfs", "device=tmpfs", &options]).await?;
        let command = vec!["sleep".to_owned(), "infinity".to_owned()];
        let options = Options { command, ..Options::default() };
        let holder = bench.container(&volume, &options).await?;
        Ok(Self { holder, volume })
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let filled = self.holder.try_exec(&["bash", "-c", "cat /dev/zero >/data/filler"]).await?;
        ensure!(filled.output.contains(FULL), "it could not be filled: {}", start_of(&filled.output));
        Ok(())
    }

    async fn make_room(&self) -> anyhow::Result<()> {
        self.holder.exec(&["rm", "/data/filler"]).await.map(drop)
    }

    /// Returns the sizes and names of the secrets.
    async fn secrets(&self) -> anyhow::Result<String> {
        let list = "shopt -s nullglob dotglob; for file in /data/secrets/*; do stat --format '%s %n' \"$file\"; done";
        self.holder.exec(&["bash", "-c", list]).await
    }
}

async fn before_first_start(bench: &Bench<'_>, disk: &Disk) -> anyhow::Result<String> {
    disk.fill().await?;
    let (code, log) = bench.run(&disk.volume, &Options::default()).await?;
    let secrets = disk.secrets().await;
    disk.make_room().await?;
    ensure!(code != 0, "it ends with exit code 0");
    ensure!(log.contains(FULL), "it does not say that the disk is full: {}", start_of(&log));
    let secrets = secrets?;
    let half = secrets.lines().find(|line| line.starts_with("0 ") || line.contains("/.new."));
    ensure!(half.is_none(), "a half secret is left: {}", half.unwrap_or_default());
    Ok(format!("exit code {code}: {}", start_of(log.lines().last().unwrap_or_default())))
}

/// Starts the image; returns a summary, too.
async fn start<'a>(bench: &'a Bench<'a>, disk: &Disk, more: &[(&str, &str)]) -> anyhow::Result<(Running<'a>, String)> {
    let mut running = bench.start(&disk.volume, more).await?;
    let healthy = running.healthy().await?;
    running.secrets = running.read_secrets().await?;
    Ok((running, healthy))
}

/// The image contains no key: each volume has its own.
fn own_keys(running: &Running<'_>, others: &BTreeMap<String, String>) -> anyhow::Result<String> {
    ensure!(!others.is_empty(), "there is no other volume to compare with");
    let same = others.iter().filter(|(name, value)| running.secrets.get(*name) == Some(value));
    ensure_none("the same on two volumes: ", ", ", same.map(|(name, _)| name))?;
    Ok(format!("{} differ from those of the other volume", others.len()))
}

/// Checks that all works again: health, ports, keys, and a write that is kept.
async fn well(running: &Running<'_>, nonce: &str) -> anyhow::Result<()> {
    running.settled().await?;
    running.ask_ports(Instant::now()).await?;
    ensure!(running.read_secrets().await? == running.secrets, "a key has changed");
    convex::set_variable(running, "SMOKE_DISK", nonce).await?;
    let set = convex::environment(running).await?;
    ensure!(set.get("SMOKE_DISK").and_then(|it| it.as_str()) == Some(nonce), "what was written is not there");
    Ok(())
}

async fn while_running(running: &Running<'_>, disk: &Disk) -> anyhow::Result<String> {
    disk.fill().await?;
    let written = convex::set_variable(running, "SMOKE_DISK", &"x".repeat(4000)).await;
    let backup = running.container.try_exec(&["bash", "-c", BACKUP]).await?;
    tokio::time::sleep(WHILE_FULL).await;
    let health = running.container.health().await?;
    let status = running.container.try_exec(&["status", "--check"]).await?.output;
    disk.make_room().await?;
    let refused = backup.code == 1 && backup.output.contains("disk is full") && !backup.output.contains(".zst");
    ensure!(refused, "a backup ended with {}: {}", backup.code, start_of(&backup.output));
    ensure!(health != "exited", "the container has ended: {}", start_of(&running.container.logs().await?));
    let room = Instant::now();
    well(running, "with space again").await?;
    let wrote = if written.is_ok() { "Convex still wrote" } else { "Convex refused a write" };
    let seconds = room.elapsed().as_secs_f64();
    Ok(format!("{wrote}; status said {:?}; well {seconds:.1} s after there was space", start_of(&status)))
}

async fn at_start(running: &mut Running<'_>, disk: &Disk) -> anyhow::Result<String> {
    running.container.stop().await?;
    disk.fill().await?;
    running.started = Instant::now();
    running.container.start_again().await?;
    tokio::time::sleep(WHILE_FULL).await;
    let health = running.container.health().await?;
    let logs = running.container.logs().await?;
    disk.make_room().await?;
    if health == "exited" {
        ensure!(logs.contains(FULL), "it ended without saying that the disk is full: {}", start_of(&logs));
        running.container.start_again().await?;
    }
    let room = Instant::now();
    well(running, "with space").await?;
    Ok(format!("it was {health}; well {:.1} s after there was space", room.elapsed().as_secs_f64()))
}
