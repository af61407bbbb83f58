//! Models as people use them: added to a folder later, incomplete, downloaded by name; and a model server that is down.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::report::Report;
use super::running::{Bench, LLAMA, LLAMA_KEY, MODEL, PAGE, Running, ask, service, start_of, until};
use crate::engine::container::Volume;
use crate::engine::probe;

/// A model of an architecture that llama.cpp does not know.
const FOREIGN: &str = "/data/models/foreign.gguf";
/// A model hub, and a download from it.
const HUB: &str = include_str!("hub.mjs");

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>) -> anyhow::Result<()> {
    report.group("models");
    let volume = Volume::create(bench.docker, &[]).await?;
    let common = [
        ("OPENCODE_ENABLED", "false"),
        ("OPENCLAW_ENABLED", "false"),
        ("CONVEX_ENABLED", "false"),
        ("LLAMACPP_ENABLED", "true"),
        ("MODEL_BASE_URL", "http://127.0.0.1:1/v1"),
        ("MODEL_NAME", "smoke"),
    ];
    let without = [("MISSION_CONTROL_ENABLED", "false"), ("LLAMACPP_MODEL", "")];
    let mut running = bench.start(&volume, &[&common[..], &without].concat()).await?;
    let healthy = async {
        let seconds = probe::wait_healthy(&running.container, running.started).await?;
        Ok(format!("healthy after {seconds:.1} s"))
    };
    if !report.see("it is healthy without a model", 120, healthy).await {
        return Ok(());
    }
    let key = running.container.exec(&["secrets", LLAMA_KEY]).await?;
    running.secrets.insert(LLAMA_KEY.to_owned(), key);
    report.see("status says that there is no model", 60, none_yet(&running)).await;
    report.see("an incomplete file is reported by name", 60, half(&running)).await;
    report.see("a model that is added later answers as `local`", 90, later(&running)).await;
    report.see("a model from a hub, with an interrupted download", 90, by_name(&running)).await;
    report.see("a missing model of another server is reported", 30, other_server(&running)).await;
    running.container.exec(&["bash", "-c", &format!("sed s/llama/llamx/g {MODEL} >{FOREIGN}")]).await?;
    drop(running);
    // With the page: it shows the notices, too.
    let with = [&common[..], &[("LLAMACPP_MODEL", FOREIGN)]].concat();
    let older = older_processor(bench)?;
    let running = bench.start_with(&volume, &with, |options| options.mounts.extend(older.clone())).await?;
    report.see("a model that llama.cpp cannot load is reported by name", 120, unloadable(&running)).await;
    if older.is_some() {
        report.see("a processor without AVX2 is reported", 60, lacks_avx2(&running)).await;
    }
    Ok(())
}

/// The mount of an x86 processor's `/proc/cpuinfo` without AVX2; none on a machine of another kind.
fn older_processor(bench: &Bench<'_>) -> anyhow::Result<Option<String>> {
    let cpuinfo = fs_err::read_to_string("/proc/cpuinfo")?;
    if !cpuinfo.lines().any(|line| line.starts_with("flags")) {
        return Ok(None);
    }
    let file = bench.scratch.join("cpuinfo");
    fs_err::write(&file, cpuinfo.replace(" avx2", ""))?;
    Ok(Some(format!("type=bind,source={},target=/proc/cpuinfo,readonly", file.display())))
}

async fn lacks_avx2(running: &Running<'_>) -> anyhow::Result<String> {
    let message = "this processor lacks AVX2";
    let page = until(|| async {
        let answer = ask(running.get(PAGE, "/_stack")?).await.ok();
        Ok(answer.filter(|answer| answer.status == 200).map(|answer| answer.body))
    });
    let status = running.container.try_exec(&["status"]).await?.output;
    for (place, text) in [("the log", running.container.logs().await?), ("status", status), ("/_stack", page.await?)] {
        ensure!(text.contains(message), "{place} does not tell: {}", start_of(&text));
    }
    Ok("in the log, by status, at /_stack".to_owned())
}

/// State and detail of llama.cpp.
async fn llamacpp(running: &Running<'_>) -> anyhow::Result<(String, String)> {
    let status = running.container.status().await?;
    let service = service(&status, "llamacpp")?;
    let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("detail")))
}

async fn complete(running: &Running<'_>) -> anyhow::Result<u16> {
    let body = json!({ "model": "local", "messages": [{ "role": "user", "content": "there?" }], "max_tokens": 4 });
    let request = running.post(LLAMA, "/v1/chat/completions", &body)?;
    Ok(ask(request.bearer_auth(running.secret(LLAMA_KEY)?)).await?.status)
}

async fn none_yet(running: &Running<'_>) -> anyhow::Result<String> {
    let (state, detail) = llamacpp(running).await?;
    ensure!(state == "not configured" && detail.contains("no model yet"), "{state}: {detail}");
    let answer = complete(running).await?;
    ensure!(answer == 400, "but `local` answers {answer}");
    Ok(start_of(&detail))
}

async fn half(running: &Running<'_>) -> anyhow::Result<String> {
    let copy = format!("head --bytes 9000 {MODEL} >/data/models/half.gguf");
    running.container.exec(&["bash", "-c", &copy]).await?;
    let detail = until(|| async {
        let (state, detail) = llamacpp(running).await?;
        Ok((state == "not configured" && detail.contains("half.gguf is not complete")).then_some(detail))
    })
    .await?;
    Ok(start_of(&detail))
}

async fn later(running: &Running<'_>) -> anyhow::Result<String> {
    let copy = format!("mkdir -p /data/models/some/where && cp {MODEL} /data/models/some/where/late.gguf");
    running.container.exec(&["bash", "-c", &copy]).await?;
    let copied = Instant::now();
    let detail = until(|| async {
        let (state, detail) = llamacpp(running).await?;
        Ok((state == "up").then_some(detail))
    })
    .await?;
    let seconds = copied.elapsed().as_secs_f64();
    let answer = complete(running).await?;
    ensure!(answer == 200, "llama.cpp is up, but `local` answers {answer}");
    ensure!(detail.contains("half.gguf"), "the incomplete file is not reported any more: {detail:?}");
    Ok(format!("up {seconds:.1} s after it was copied"))
}

async fn by_name(running: &Running<'_>) -> anyhow::Result<String> {
    let output = running.container.exec(&["node", "--input-type=module", "--eval", HUB, MODEL]).await?;
    let came: Value = serde_json::from_str(&output).with_context(|| format!("it says {}", start_of(&output)))?;
    ensure!(came["code"] == 0 && came["right"] == true, "{}", start_of(&output));
    // The interrupted request, a range, and the whole file again.
    ensure!(came["asked"] == 3, "{} requests", came["asked"]);
    Ok("downloaded again, and complete".to_owned())
}

/// The status must stay the same while the service restarts.
async fn unloadable(running: &Running<'_>) -> anyhow::Result<String> {
    let wanted = format!("llama.cpp could not load {FOREIGN}");
    let (detail, hint) = until(|| async {
        let status = running.container.status().await.unwrap_or_default();
        let service = service(&status, "llamacpp").unwrap_or(&Value::Null);
        let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
        let (detail, hint) = (text("detail"), text("hint"));
        Ok(detail.contains(&wanted).then_some((detail, hint)))
    })
    .await?;
    ensure!(hint.contains("docker compose up -d"), "the hint is {hint:?}");
    Ok(start_of(&detail))
}

async fn other_server(running: &Running<'_>) -> anyhow::Result<String> {
    let output = running.container.try_exec(&["status"]).await?.output;
    let line = output.lines().find(|line| line.contains("MODEL_BASE_URL=")).context("`status` does not report it")?;
    ensure!(line.contains("does not answer"), "{line}");
    Ok(start_of(line))
}
