//! Conditions under which the image must not start: it prints one message, with what to type.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{Bench, start_of, until};
use crate::engine::container::{Options, Volume};
use crate::io::process;

// Exit codes of sysexits.h that the image uses.
const CONFIG: i32 = 78;
const CANNOT_CREATE: i32 = 73;
const TEMPORARY: i32 = 75;
const NO_PERMISSION: i32 = 77;

/// Invalid settings, all at once.
const WRONG: [(&str, &str); 12] = [
    ("CONVEX_BACKEND_PORT", "70000"),
    ("MANAGER_PORT", "8080"),
    ("OPENCLAW_ENABLED", "perhaps"),
    ("MISSION_CONTROL_ORIGIN", "127.0.0.1:3000/path"),
    ("MANAGER_ADMIN_EMAIL", "nobody"),
    ("LLAMACPP_MODEL_URL", "http://127.0.0.1/model.gguf"),
    ("CONVEX_INSTANCE_SECRET", "not-to-be-shown"),
    ("OPENCLAW_GATEWAY_TOKEN_FILE", "/no/such/file"),
    ("ACCESS", "sometimes"),
    ("ALLOWED_HOSTS", "box.lan:3000"),
    ("TRUSTED_PROXIES", "0.0.0.0/0"),
    ("TLS_KEY_FILE", "/no/such/key"),
];
/// Not empty: Docker gives an empty volume to the image's user again.
const GIVE: &str = r#"mkdir -p /data/convex && chown --recursive "$0" /data"#;
/// Another user's.
const FOREIGN: &str = "12345:12345";

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>, used: &Volume) {
    report.group("refusals");
    report.see("all wrong settings are reported together", 60, wrong_settings(bench)).await;
    report.see("a second container on the volume is refused", 60, second_container(bench, used)).await;
    report.see("a volume of another uid, and the printed fix", 120, foreign_volume(bench)).await;
    report.see("root is refused", 60, root(bench)).await;
}

/// Returns the output of a container that must not start but end with that exit code.
async fn refused(bench: &Bench<'_>, volume: &Volume, options: &Options, wanted: i32) -> anyhow::Result<String> {
    let container = bench.container(volume, options).await?;
    let ended = tokio::time::timeout(Duration::from_secs(30), container.wait()).await;
    let logs = container.logs().await?;
    let code = ended.ok().with_context(|| format!("it does not end; it says {}", start_of(&logs)))??;
    ensure!(code == wanted, "exit code {code} instead of {wanted}: {}", start_of(&logs));
    Ok(logs)
}

async fn wrong_settings(bench: &Bench<'_>) -> anyhow::Result<String> {
    let volume = Volume::create(bench.docker, &[]).await?;
    let environment = WRONG.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let log = refused(bench, &volume, &Options { environment, ..Options::default() }, CONFIG).await?;
    let missing: Vec<&str> = WRONG.iter().map(|(name, _)| *name).filter(|name| !log.contains(name)).collect();
    ensure!(missing.is_empty(), "not reported: {}; it says {}", missing.join(", "), start_of(&log));
    ensure!(!log.contains("not-to-be-shown"), "the value of a secret is printed");
    Ok(format!("exit code {CONFIG}, {} settings named, no secret's value", WRONG.len()))
}

async fn second_container(bench: &Bench<'_>, used: &Volume) -> anyhow::Result<String> {
    let log = refused(bench, used, &Options::default(), TEMPORARY).await?;
    Ok(format!("exit code {TEMPORARY}: {}", start_of(&log)))
}

async fn foreign_volume(bench: &Bench<'_>) -> anyhow::Result<String> {
    let volume = Volume::create(bench.docker, &[]).await?;
    give_to(bench, &volume, FOREIGN).await?;
    let log = refused(bench, &volume, &Options::default(), CANNOT_CREATE).await?;
    let image = &bench.stack.image;
    let owner = format!("{}:{}", image.uid, image.gid);
    let remedy = log.lines().find(|line| line.contains("chown") && line.contains(&owner));
    ensure!(remedy.is_some(), "no chown to {owner} is suggested: {}", start_of(&log));
    ensure!(log.lines().count() <= 4, "it says more than one error: {}", start_of(&log));
    // The suggested chown must suffice.
    give_to(bench, &volume, &owner).await?;
    let container = bench.container(&volume, &Options::default()).await?;
    let started = until(|| async {
        let logs = container.logs().await?;
        ensure!(container.health().await? == "starting", "after the chown it still ends: {}", start_of(&logs));
        Ok(logs.contains("services are starting").then_some(()))
    });
    tokio::time::timeout(Duration::from_secs(60), started).await.context("after the chown it does not start")??;
    Ok(format!("exit code {CANNOT_CREATE}; after the chown it starts"))
}

/// Changes a volume's owner, as the message suggests.
async fn give_to(bench: &Bench<'_>, volume: &Volume, owner: &str) -> anyhow::Result<()> {
    let mut command = bench.docker.command();
    command.args(["run", "--rm", "--user", "0", "--entrypoint", "bash"]);
    command.args(["--volume", &format!("{}:/data", volume.name), bench.image, "-c", GIVE, owner]);
    process::text(&mut command).await.map(drop).context("cannot change the volume's owner")
}

async fn root(bench: &Bench<'_>) -> anyhow::Result<String> {
    let volume = Volume::create(bench.docker, &[]).await?;
    let log = refused(bench, &volume, &Options { user: Some("0"), ..Options::default() }, NO_PERMISSION).await?;
    Ok(format!("exit code {NO_PERMISSION}: {}", start_of(&log)))
}
