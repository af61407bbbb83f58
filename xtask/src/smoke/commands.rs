//! Commands that people run with `docker exec`: the programs in the environment of their services, and the hints of
//! `status`. Also the endpoints for monitoring: health and metrics.

use anyhow::{Context as _, ensure};

use super::report::Report;
use super::running::{GATEWAY, PAGE, Running, ask, service, start_of, until};

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("commands");
    report.see("each command uses its service's folders and credentials", 120, speak(running)).await;
    report.see("they run in the sandbox of their service", 20, stay(running)).await;
    report.see("status shows versions, and how to fix a stopped service", 60, hints(running)).await;
    report.see("health is public, in one word", 20, health(running)).await;
    report.see("metrics need their token", 20, metrics(running)).await;
    report.see("openclaw doctor --fix runs alone on the state", 240, doctor(running)).await;
}

async fn speak(running: &Running<'_>) -> anyhow::Result<String> {
    let port = running.inner_port(GATEWAY).context("the gateway has no port inside")?;
    let table: [(&[&str], &str); 9] = [
        (&["opencode", "auth", "list"], "/data/opencode/.opencode/state/opencode/auth.json"),
        (&["opencode", "session", "list"], ""),
        (&["opencode", "models", "llamacpp"], "llamacpp/local"),
        (&["openclaw", "config", "get", "gateway.port"], &port.to_string()),
        (&["openclaw", "devices", "list", "--json"], "pending"),
        (&["openclaw", "dashboard"], &format!("{}/#bootstrapToken=", running.origin(GATEWAY)?)),
        (&["convex", "data"], "tasks"),
        (&["convex", "env", "get", "SITE_URL"], &running.origin(PAGE)?),
        (&["llama"], "local"),
    ];
    for (words, wanted) in table {
        let ended = running.container.try_exec(words).await?;
        let command = words.join(" ");
        ensure!(ended.code == 0, "`{command}` ends with {}: {}", ended.code, start_of(&ended.output));
        ensure!(ended.output.contains(wanted), "`{command}` does not mention {wanted:?}: {}", start_of(&ended.output));
    }
    Ok(format!("{} commands of four programs", table.len()))
}

/// Checks which paths a command can read.
async fn stay(running: &Running<'_>) -> anyhow::Result<String> {
    for (service, own) in [("opencode", "/data/opencode"), ("openclaw", "/data/openclaw"), ("llamacpp", "/data/models")]
    {
        let (name, run) = (format!("STACK_COMMAND={service}"), format!("/opt/stack/run/{service}"));
        let read = async |path: &str| {
            let words = ["env", &name, "bash", "-c", SURROUNDED, &run, "ls", path];
            anyhow::Ok(running.container.try_exec(&words).await?.code)
        };
        ensure!(read(own).await? == 0, "a command of {service} cannot read {own}");
        ensure!(read("/data/secrets").await? != 0, "a command of {service} can read /data/secrets");
    }
    let owners = running.container.exec(&["find", "/data", "-not", "-user", "stack", "-printf", "%p "]).await?;
    ensure!(owners.is_empty(), "files of another owner: {}", start_of(&owners));
    Ok("their own folders, and not the secrets".to_owned())
}

/// Runs a program like bin/openclaw does.
const SURROUNDED: &str = r#"set -a; . /run/stack/settings; exec "$0" "$@""#;

async fn hints(running: &Running<'_>) -> anyhow::Result<String> {
    let status = running.container.status().await?;
    for name in ["opencode", "openclaw", "mission-control"] {
        let version = service(&status, name)?["version"].as_str().unwrap_or_default();
        ensure!((1..=20).contains(&version.len()), "{name}'s version is {version:?}");
    }
    for (what, measured) in [
        ("the container's memory", &status["machine"]["memory"]["used"]),
        ("the free disk", &status["machine"]["disk"]["free"]),
        ("OpenCode's memory", &service(&status, "opencode")?["memory"]),
        ("the front's memory", &service(&status, "front")?["memory"]),
    ] {
        ensure!(measured.as_u64().is_some_and(|it| it > 0), "{what} is {measured}");
    }
    ensure!(status["machine"]["devices"].is_array(), "it does not list llama.cpp's devices");
    running.container.exec(&["s6-svc", "-wD", "-d", "/run/stack/scan/manager"]).await?;
    let status = running.container.status().await?;
    let hint = service(&status, "manager")?["hint"].as_str().context("no hint for a stopped Manager")?.to_owned();
    let line = hint.strip_prefix("docker compose exec stack ").with_context(|| hint.clone())?;
    running.container.exec(&line.split(' ').collect::<Vec<_>>()).await?;
    until(|| async { Ok((service(&running.container.status().await?, "manager")?["state"] == "up").then_some(())) })
        .await?;
    Ok(format!("`{line}` brought the Manager back"))
}

async fn doctor(running: &Running<'_>) -> anyhow::Result<String> {
    let ended = running.container.try_exec(&["openclaw", "doctor", "--fix", "--non-interactive"]).await?;
    ensure!(ended.code == 0 && ended.output.contains("Doctor complete"), "{}", start_of(&ended.output));
    until(|| async { Ok((service(&running.container.status().await?, "openclaw")?["state"] == "up").then_some(())) })
        .await?;
    Ok("the gateway was stopped for it, and is up again".to_owned())
}

async fn health(running: &Running<'_>) -> anyhow::Result<String> {
    let stranger = || anyhow::Ok(running.get(PAGE, "/_stack/health")?.header("host", "10.1.2.3:8080"));
    let well = ask(stranger()?).await?.expect(200)?;
    ensure!(well.body == "healthy\n", "it says {:?}", well.body);
    running.container.exec(&["s6-svc", "-wD", "-d", "/run/stack/scan/status"]).await?;
    let ill = ask(stranger()?).await;
    running.container.exec(&["s6-svc", "-wU", "-T", "20000", "-u", "/run/stack/scan/status"]).await?;
    let ill = ill?.expect(503)?;
    ensure!(ill.body == "unhealthy\n", "it says {:?}", ill.body);
    Ok("200 healthy, 503 unhealthy, under any name".to_owned())
}

async fn metrics(running: &Running<'_>) -> anyhow::Result<String> {
    let answer = ask(running.get(PAGE, "/metrics")?).await?.expect(200)?;
    let kind = answer.content_type();
    ensure!(kind.starts_with("text/plain; version=0.0.4"), "its type is {kind}");
    for wanted in
        ["stack_healthy 1\n", "stack_service_up{service=\"openclaw\"} 1\n", "llamacpp:tokens_predicted_total{model="]
    {
        ensure!(answer.body.contains(wanted), "it does not mention {wanted}: {}", start_of(&answer.body));
    }
    // A process in the container is refused without the token, too.
    let address = format!("http://127.0.0.1:{}/metrics", running.port(PAGE)?);
    let code = async |token: &str| running.curl(&["-H", &format!("Authorization: Bearer {token}"), &address]).await;
    ensure!(code("wrong").await? == "401", "a wrong token gets {}", code("wrong").await?);
    ensure!(code(running.secret("METRICS_TOKEN")?).await? == "200", "the token is refused");
    Ok(format!("{} lines", answer.body.lines().count()))
}
