//! Backups while all services run, invalid backups, a restore, and the state of another release.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::report::Report;
use super::running::{Bench, Running, start_of, until};
use super::{UP, convex};
use crate::engine::container::{Ended, Options, Volume};

const FILE: &str = "/tmp/smoke-backup.tar.zst";
/// The number of backups made during writes.
const LIVE: usize = 3;
const WRITES: usize = 40;
/// Unpacks the newest backup and lets `SQLite` check each database in it.
const INTEGRITY: &str = r#"
const { DatabaseSync } = require("node:sqlite"), fs = require("node:fs"), path = require("node:path");
let count = 0;
for (const name of fs.readdirSync(process.argv[1], { recursive: true })) {
  const file = path.join(process.argv[1], name);
  if (!fs.statSync(file).isFile() || fs.readFileSync(file).subarray(0, 15).toString() !== "SQLite format 3") continue;
  const [{ integrity_check: result }] = new DatabaseSync(file).prepare("PRAGMA integrity_check").all();
  if (result !== "ok") throw new Error(`${name}: ${result}`);
  count += 1;
}
console.log(count);
"#;
/// Unpacks the archive `$0` with Node.js and tar only, and verifies its digests.
const UNPACK: &str = r#"set -euo pipefail
rm -rf /tmp/unpacked && mkdir /tmp/unpacked && cd /tmp/unpacked
node -e 'process.stdin.pipe(require("node:zlib").createZstdDecompress()).pipe(process.stdout)' <"$0" | tar -xf -
sha256sum --quiet --check SHA256SUMS
node --no-warnings -e "$1" /tmp/unpacked
rm -rf /tmp/unpacked"#;
/// Writes a state of OpenClaw that version `$0` has opened to a volume.
const FORMER: &str = r#"mkdir -p /data/kept /data/openclaw && echo former >/data/openclaw/note &&
    printf '{"openclaw":"%s"}\n' "$0" >/data/kept/versions.json"#;

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>, running: &Running<'_>, nonce: &str) {
    report.group("backups");
    report.see("backups made during writes are consistent", 120, live(running, nonce)).await;
    report.see("a file that is not a backup changes nothing", 60, foreign(running)).await;
    report.see("a restore brings back state and services", UP, restored(running, nonce)).await;
    report.see("the state of another release is saved, refused, restored", 120, releases(bench)).await;
}

async fn live(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let writing = async {
        for number in 0..WRITES {
            convex::set_variable(running, "SMOKE_BACKUP", &format!("{nonce}-{number}")).await?;
        }
        anyhow::Ok(())
    };
    let backing = async {
        let mut databases = 0;
        for _ in 0..LIVE {
            let made = running.container.try_exec(&["bash", "-c", &format!("backup >{FILE}")]).await?;
            ensure!(made.code == 0, "{}", start_of(&made.output));
            let says_so = made.output.contains("keys and passwords");
            ensure!(says_so, "it does not say what it contains: {}", start_of(&made.output));
            let output = running.container.exec(&["bash", "-c", UNPACK, FILE, INTEGRITY]).await?;
            databases = output.trim().parse::<usize>().with_context(|| start_of(&output))?;
            ensure!(databases >= 3, "it contains {databases} databases");
        }
        Ok(databases)
    };
    let (written, databases) = tokio::join!(writing, backing);
    written?;
    Ok(format!("{LIVE} backups of {} databases, {WRITES} writes meanwhile", databases?))
}

async fn foreign(running: &Running<'_>) -> anyhow::Result<String> {
    let before = running.read_secrets().await?;
    // `$0` is the file with a backup.
    let cases = [
        ("noise", "head -c 9999 /dev/urandom | restore", "it was not made by `backup`"),
        ("the half of one", r#"head -c 50000 "$0" | restore"#, "nothing was changed"),
        (
            "another byte in one",
            r#"(head -c 50000 "$0"; printf x; tail -c +50002 "$0") | restore"#,
            "nothing was changed",
        ),
    ];
    for (what, command, wanted) in cases {
        let Ended { code, output } = running.container.try_exec(&["bash", "-c", command, FILE]).await?;
        ensure!(code == 1 && output.contains(wanted), "{what}: exit code {code}: {}", start_of(&output));
    }
    ensure!(running.read_secrets().await? == before, "a key has changed");
    let left = running.container.try_exec(&["bash", "-c", "ls -d /data/.restore /data/.backup-*"]).await?;
    ensure!(left.code != 0 && !left.output.starts_with("/data"), "it leaves {}", start_of(&left.output));
    Ok(cases.map(|(what, ..)| what).join(", "))
}

async fn restored(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    convex::set_variable(running, "SMOKE_BACKUP", nonce).await?;
    running.container.exec(&["bash", "-c", &format!("backup >{FILE}")]).await?;
    convex::set_variable(running, "SMOKE_BACKUP", "later").await?;
    running.container.exec(&["touch", "/data/openclaw/later"]).await?;
    let started = std::time::Instant::now();
    let ended = running.container.try_exec(&["bash", "-c", &format!("restore <{FILE} && rm {FILE}")]).await?;
    ensure!(ended.code == 0, "{}", start_of(&ended.output));
    running.settled().await?;
    running.ask_ports(started).await?;
    let set = convex::environment(running).await?;
    ensure!(set.get("SMOKE_BACKUP").and_then(Value::as_str) == Some(nonce), "what was written before is not there");
    let later = running.container.try_exec(&["test", "-e", "/data/openclaw/later"]).await?;
    ensure!(later.code != 0, "a file that came after the backup is still there");
    ensure!(running.read_secrets().await? == running.secrets, "a key has changed");
    Ok(format!("all up again after {:.1} s", started.elapsed().as_secs_f64()))
}

async fn releases(bench: &Bench<'_>) -> anyhow::Result<String> {
    let volume = Volume::create(bench.docker, &[]).await?;
    let run = async |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        bench.run(&volume, &Options { command, ..Options::default() }).await
    };
    run(&["bash", "-c", FORMER, "9999.1.1"]).await?;
    let (code, log) = run(&[]).await?;
    let names_it = log.contains("docker compose run --rm stack rollback");
    ensure!(code == 65 && names_it, "exit code {code}: {}", start_of(&log));
    run(&["bash", "-c", FORMER, "2000.1.1"]).await?;
    let container = bench.container(&volume, &Options::default()).await?;
    until(|| async { Ok(container.logs().await?.contains("services are starting").then_some(())) }).await?;
    container.exec(&["bash", "-c", "echo newer >/data/openclaw/note"]).await?;
    container.stop().await?;
    container.remove().await?;
    let (code, log) = run(&["rollback"]).await?;
    ensure!(code == 0 && log.contains("2000.1.1"), "rollback ends with {code}: {}", start_of(&log));
    let (_, note) = run(&["cat", "/data/openclaw/note"]).await?;
    ensure!(note.trim() == "former", "the note is {note:?}");
    Ok("OpenClaw's".to_owned())
}
