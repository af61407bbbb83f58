//! What agents can access through the shells and tools of OpenCode and OpenClaw, and that git, npm and scripts still
//! work in the sandbox.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::report::Report;
use super::running::{Answer, GATEWAY, LLAMA, OPENCODE, Running, ask, ensure_none, start_of, until};
use super::security::leaked;

/// What an agent tries, the same in every shell. Without the sandbox all of it succeeds.
const ATTEMPTS: &str = include_str!("attempts.sh");
/// A model that calls tools; the smoke test's own one cannot.
const CALLING_MODEL: &str = include_str!("calling-model.mjs");

const REPOS: &str = "/data/opencode/repos";
const WORKSPACE: &str = "/data/openclaw/workspace";
/// Attempts that succeed in a service itself, but not in its agents' shells.
const OPENCODE_ITSELF: [&str; 4] =
    ["OpenCode's database", "OpenCode's configuration", "OpenCode's temp folder", "its own service's environment"];
const OPENCLAW_ITSELF: [&str; 3] = ["OpenClaw's configuration", "OpenClaw's state", "OpenClaw's temp folder"];
const MANAGER_ITSELF: [&str; 4] =
    ["the Manager's database", "OpenCode's database", "OpenCode's configuration", "OpenCode's temp folder"];
/// Settings of the image that would break an agent's project.
const NOT_AN_AGENTS: [&str; 4] = ["NODE_ENV", "npm_config_fetch", "XDG_", "LLAMACPP_"];

const ONE_TURN: Duration = Duration::from_secs(100);

/// Everyday work in a terminal. Each step prints its name.
const WORK: &str = r#"set -e
cd "$HOME"
rm -rf smoke-work
mkdir smoke-work
cd smoke-work
git init --quiet --bare origin
git clone --quiet origin clone 2>/dev/null
cd clone
git config user.email a@example.com
git config user.name a
echo found >file
git add file
git commit --quiet -m one
git push --quiet origin HEAD
mkdir folder
git mv file folder/moved
mv folder renamed
echo "git $(git log --oneline | wc -l)"
echo "ripgrep $(rg --files-with-matches found)"
printf '#!/bin/bash\necho script run\n' >"$TMPDIR/script"
chmod +x "$TMPDIR/script"
"$TMPDIR/script"
bash -lc 'echo "node $(node --print "process.memoryUsage().rss > 0")"; npm init --yes >/dev/null && echo "npm done"; echo "bun $(bun --print 1+1)"'
ssh -G host | grep --quiet "userknownhostsfile $HOME/.ssh/" && echo "ssh at home"
whoami >/dev/null && echo "user named"
cd ..
rm -rf "$PWD"
"#;
const WORKED: [&str; 8] =
    ["git 1", "ripgrep renamed/moved", "script run", "node true", "npm done", "bun 2", "ssh at home", "user named"];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("sandbox");
    let landlock = running.container.exec(&["cat", "/run/stack/landlock"]).await.unwrap_or_default();
    if landlock.trim().is_empty() {
        report.skip("what agents can access", "this kernel has no Landlock, and `status` says so");
    } else {
        report.see("without the sandbox, all of it is accessible", 60, outside(running)).await;
        report.see("OpenCode's shell can access its workspace only", 60, opencode_shell(running)).await;
        report.see("OpenCode can access its own folders only", 60, opencode_itself(running)).await;
        report.see("OpenClaw's exec can access its workspace, its tools its own folders", 240, openclaw(running)).await;
        for (service, own) in [("openclaw", &OPENCLAW_ITSELF[..]), ("manager", &MANAGER_ITSELF), ("llamacpp", &[])] {
            let name = format!("{service} can access its own folders only");
            report.see(&name, 30, confined(running, service, own)).await;
        }
    }
    report.see("git, npm and scripts work in OpenCode's shell", 120, work(running)).await;
}

/// The command for all attempts, on the process that a service's supervisor started and on one of another service.
async fn attempts(running: &Running<'_>, folder: &str, service: &str) -> anyhow::Result<String> {
    let list = "for name in \"$0\" convex; do s6-svstat -o pid \"/run/stack/scan/$name\"; done | paste --serial --delimiters=' '";
    let pids = running.container.exec(&["bash", "-c", list, service]).await?;
    Ok(format!("bash {} {}", put(running, folder, ATTEMPTS).await?, pids.trim()))
}

/// Puts a script where a shell can read it.
async fn put(running: &Running<'_>, folder: &str, script: &str) -> anyhow::Result<String> {
    let path = format!("{folder}/smoke-attempts.sh");
    running.container.exec(&["bash", "-c", "printf %s \"$0\" >\"$1\"", script, &path]).await?;
    Ok(path)
}

/// The attempts that succeeded, by their output.
fn reached(output: &str) -> BTreeSet<&str> {
    output.lines().filter_map(|line| line.strip_prefix("reached: ")).collect()
}

/// Fails unless exactly these attempts succeeded, and all were made.
fn only(output: &str, expected: &[&str]) -> anyhow::Result<()> {
    ensure!(output.lines().any(|line| line.starts_with("PATH=")), "the attempts did not end: {}", start_of(output));
    let (reached, expected) = (reached(output), expected.iter().copied().collect());
    ensure_none("it can access ", ", ", reached.difference(&expected))?;
    ensure_none("it cannot access what it needs: ", ", ", expected.difference(&reached))
}

/// Fails if a shell's environment has a secret or a setting of the image.
fn clean(running: &Running<'_>, output: &str) -> anyhow::Result<()> {
    ensure_none("its environment has ", ", ", leaked(running, output))?;
    let wrong = output.lines().filter(|line| NOT_AN_AGENTS.iter().any(|name| line.starts_with(name)));
    ensure_none("its environment has ", ", ", wrong)
}

/// An attempt that fails everywhere proves nothing.
async fn outside(running: &Running<'_>) -> anyhow::Result<String> {
    let command = attempts(running, REPOS, "opencode").await?;
    let output = running.container.exec(&["bash", "-c", &command]).await?;
    let reached = reached(&output);
    let name = |line: &'static str| line.strip_prefix("try ")?.trim_start_matches('"').split(['"', ' ']).next();
    let all: Vec<&str> = ATTEMPTS.lines().filter_map(name).collect();
    let failed: Vec<&&str> = all.iter().filter(|name| !reached.iter().any(|it| it.starts_with(**name))).collect();
    ensure!(failed.is_empty() && !all.is_empty(), "these fail without the sandbox too: {failed:?}");
    Ok(format!("{} attempts", all.len()))
}

/// Posts to OpenCode with its password.
async fn post(running: &Running<'_>, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let password = running.secret("OPENCODE_SERVER_PASSWORD")?;
    ask(running.post(OPENCODE, path, body)?.basic_auth("opencode", Some(password))).await?.expect(200)
}

/// Runs a command in the shell of a new session.
async fn in_opencode(running: &Running<'_>, command: &str) -> anyhow::Result<String> {
    let session = post(running, "/session", &json!({})).await?.json()?;
    let id = session["id"].as_str().context("a session has no id")?;
    let body = json!({ "agent": "build", "command": command });
    let answer = post(running, &format!("/session/{id}/shell"), &body).await?.json()?;
    let output = answer["parts"][0]["state"]["output"].as_str();
    Ok(output.with_context(|| format!("no output: {}", start_of(&answer.to_string())))?.to_owned())
}

async fn opencode_shell(running: &Running<'_>) -> anyhow::Result<String> {
    let output = in_opencode(running, &attempts(running, REPOS, "opencode").await?).await?;
    only(&output, &[])?;
    clean(running, &output)?;
    Ok("nothing of its service or of another one; no secret in its environment".to_owned())
}

/// A terminal that runs a program instead of the agents' shell is in the service's own sandbox.
async fn opencode_itself(running: &Running<'_>) -> anyhow::Result<String> {
    let result = format!("{REPOS}/smoke-told");
    let attempts = attempts(running, REPOS, "opencode").await?;
    let command = format!("{attempts} >{result}.new 2>&1; mv {result}.new {result}");
    post(running, "/pty", &json!({ "command": "/bin/bash", "args": ["-c", command] })).await?;
    let output = until(|| async {
        let ended = running.container.try_exec(&["cat", &result]).await?;
        Ok((ended.code == 0).then_some(ended.output))
    })
    .await?;
    running.container.exec(&["rm", &result]).await?;
    only(&output, &OPENCODE_ITSELF)?;
    Ok("a terminal opens, and nothing of another service is accessible".to_owned())
}

/// A turn in which the model runs a command, and reads a secret with the gateway's own tool for files.
async fn openclaw(running: &Running<'_>) -> anyhow::Result<String> {
    let command = attempts(running, WORKSPACE, "openclaw").await?;
    let calls = json!({ "exec": { "command": command }, "read": { "path": "/data/secrets/openclaw-hooks-token" } });
    let answer = with_calling_model(running, &calls.to_string()).await?;
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    only(text, &[])?;
    clean(running, text)?;
    ensure!(text.contains("EACCES"), "the tool that reads files does not report EACCES: {}", start_of(text));
    Ok("a whole turn with a command; nothing of its service or of another one".to_owned())
}

/// A turn of OpenClaw while another model listens on llama.cpp's port.
async fn with_calling_model(running: &Running<'_>, calls: &str) -> anyhow::Result<Value> {
    const SERVER: &str = "/run/stack/scan/llamacpp";
    let port = running.inner_port(LLAMA).context("llama.cpp has no inner port")?.to_string();
    running.container.exec(&["s6-svc", "-wD", "-T", "5000", "-d", SERVER]).await?;
    let start = "node --input-type=module --eval \"$0\" -- \"$1\" \"$2\" >/dev/null 2>&1 &";
    running.container.exec(&["bash", "-c", start, CALLING_MODEL, &port, calls]).await?;
    let body = json!({ "model": "openclaw", "messages": [{ "role": "user", "content": "go" }] });
    let request = running.post(GATEWAY, "/v1/chat/completions", &body)?.timeout(ONE_TURN);
    let answer = ask(request.bearer_auth(running.secret("OPENCLAW_GATEWAY_TOKEN")?)).await;
    running.container.try_exec(&["curl", "--silent", &format!("http://127.0.0.1:{port}/end")]).await?;
    running.container.exec(&["s6-svc", "-wU", "-T", "60000", "-u", SERVER]).await?;
    answer?.expect(200)?.json()
}

/// Runs the attempts in the sandbox of a service that has no shell.
async fn confined(running: &Running<'_>, service: &str, own: &[&str]) -> anyhow::Result<String> {
    let confined = ". /opt/stack/lib/service.sh; . /opt/stack/lib/sandbox.sh; service_rules; behind bash -c \"$0\" attempts \"$@\"";
    let service = format!("STACK_SERVICE={service}");
    let output = running.container.exec(&["env", &service, "bash", "-c", confined, ATTEMPTS, "1", "1"]).await?;
    only(&output, own)?;
    Ok(if own.is_empty() { "none of the attempts".to_owned() } else { own.join(", ") })
}

async fn work(running: &Running<'_>) -> anyhow::Result<String> {
    let script = put(running, REPOS, WORK).await?;
    let output = in_opencode(running, &format!("bash {script}")).await?;
    for line in WORKED {
        ensure!(output.lines().any(|it| it == line), "no line {line:?}: {}", start_of(&output));
    }
    Ok(WORKED.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_must_end_and_reach_what_is_expected() {
        assert!(only("PATH=/bin\n", &[]).is_ok());
        assert!(only("reached: secrets\nPATH=/bin\n", &[]).is_err());
        assert!(only("reached: secrets\nPATH=/bin\n", &["secrets"]).is_ok());
        assert!(only("PATH=/bin\n", &["secrets"]).is_err());
        assert!(only("", &[]).is_err());
    }
}
