//! Requests through llama.cpp: a completion, a turn of OpenClaw and its trace in Mission Control, a session of OpenCode
//! through the Manager.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::convex;
use super::report::Report;
use super::running::{GATEWAY, LLAMA, LLAMA_KEY, MANAGER, OPENCODE, Running, ask, start_of, until};

/// Returns the id of an OpenCode session, which later checks look for.
pub(super) async fn prove(report: &mut Report, running: &Running<'_>, nonce: &str) -> Option<String> {
    report.group("llama.cpp");
    report.see("a completion", 120, completion(running)).await;
    report.group("openclaw");
    report.see("a turn needs the token", 30, closed(running)).await;
    report.see("a turn is answered by llama.cpp", running.bench.turn, turn(running, nonce)).await;
    report.see("the run appears as a task in Mission Control", 30, task(running, nonce)).await;
    report.group("opencode");
    report.see("the server requires its password", 20, password(running)).await;
    report.see("the Manager's sign-up is closed", 20, sign_up(running, nonce)).await;
    let name = "a session through the Manager reaches llama.cpp";
    report.keep(name, running.bench.turn, session(running, nonce)).await
}

/// The number of prompt tokens that llama.cpp has read since its start.
async fn tokens_read(running: &Running<'_>) -> anyhow::Result<f64> {
    let metrics = ask(running.get(LLAMA, "/metrics")?.bearer_auth(running.secret(LLAMA_KEY)?)).await?.expect(200)?.body;
    counter(&metrics, "llamacpp:prompt_tokens_total").context("llama.cpp reports no count of prompt tokens")
}

/// The value of a counter in Prometheus' text format.
fn counter(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

async fn completion(running: &Running<'_>) -> anyhow::Result<String> {
    let body = json!({
        "model": "local",
        "messages": [{ "role": "user", "content": "Are you there?" }],
        "max_tokens": 16,
        "temperature": 0,
    });
    let request = running.post(LLAMA, "/v1/chat/completions", &body)?;
    ask(request.try_clone().context("the request cannot be sent twice")?).await?.expect(401).context("with no key")?;
    let answer = ask(request.bearer_auth(running.secret(LLAMA_KEY)?)).await?.expect(200)?.json()?;
    let text = reply(&answer)?;
    ensure!(answer["usage"]["completion_tokens"].as_u64().unwrap_or_default() > 0, "no token was made");
    Ok(format!("it says {:?}", start_of(text)))
}

/// The text of a chat completion.
fn reply(answer: &Value) -> anyhow::Result<&str> {
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().trim();
    ensure!(!text.is_empty(), "it says nothing: {}", start_of(&answer.to_string()));
    Ok(text)
}

fn turn_of(nonce: &str) -> Value {
    json!({ "model": "openclaw", "messages": [{ "role": "user", "content": format!("{nonce} are you there") }] })
}

async fn closed(running: &Running<'_>) -> anyhow::Result<String> {
    let body = turn_of("refused");
    ask(running.post(GATEWAY, "/v1/chat/completions", &body)?).await?.expect(401).context("with no token")?;
    let wrong = running.post(GATEWAY, "/v1/chat/completions", &body)?.bearer_auth("wrong");
    ask(wrong).await?.expect(401).context("with a wrong token")?;
    Ok("401 without it, and with a wrong one".to_owned())
}

/// One turn through the gateway's own endpoint; the model's text is the result.
pub(super) async fn turn(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let before = tokens_read(running).await?;
    let token = running.secret("OPENCLAW_GATEWAY_TOKEN")?;
    let request = running.post(GATEWAY, "/v1/chat/completions", &turn_of(nonce))?.bearer_auth(token);
    let answer = ask(request.timeout(patience(running))).await?.expect(200)?.json()?;
    read_since(running, before, &start_of(reply(&answer)?)).await
}

/// Fails if llama.cpp has read no token since its count was `before`. Returns a summary.
async fn read_since(running: &Running<'_>, before: f64, text: &str) -> anyhow::Result<String> {
    let read = tokens_read(running).await? - before;
    ensure!(read > 0.0, "it answers {text:?}, but llama.cpp got no request");
    Ok(format!("llama.cpp read {read} tokens; it says {text:?}"))
}

/// None: the timeout of the check ends it.
fn patience(running: &Running<'_>) -> Duration {
    Duration::from_secs(running.bench.turn + 1)
}

/// The id and status of a run's task, if Mission Control has one.
pub(super) async fn find_task(running: &Running<'_>, nonce: &str) -> anyhow::Result<Option<(String, String)>> {
    let tasks = convex::query(running, "queries:listTasks", json!({ "tenantId": "default" })).await?;
    let tasks = tasks.as_array().context("no list of tasks")?;
    let about = |task: &Value| {
        ["title", "description"].iter().any(|field| task[field].as_str().unwrap_or_default().contains(nonce))
    };
    let Some(task) = tasks.iter().find(|task| about(task)) else { return Ok(None) };
    let field = |name: &str| task[name].as_str().map(str::to_owned).with_context(|| format!("the task has no {name}"));
    Ok(Some((field("_id")?, field("status")?)))
}

async fn task(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let (id, status) = until(|| async {
        let found = find_task(running, nonce).await?;
        Ok(found.filter(|(_, status)| status != "in_progress" && status != "inbox"))
    })
    .await?;
    ensure!(matches!(status.as_str(), "done" | "review"), "the task of a run that has ended is {status:?}");
    let messages =
        convex::query(running, "queries:listMessages", json!({ "taskId": id, "tenantId": "default" })).await?;
    let messages = messages.as_array().context("no list of messages")?;
    let errors = messages.iter().filter_map(|it| it["content"].as_str()).find(|it| it.contains("Error"));
    if let Some(error) = errors {
        bail!("the run ended with an error: {}", start_of(error));
    }
    ensure!(messages.len() >= 2, "a run has a start and an end, but the task has {} message(s)", messages.len());
    Ok(format!("{status}, with {} messages", messages.len()))
}

async fn password(running: &Running<'_>) -> anyhow::Result<String> {
    ask(running.get(OPENCODE, "/session")?).await?.expect(401).context("without it")?;
    let secret = running.secret("OPENCODE_SERVER_PASSWORD")?;
    let request = running.get(OPENCODE, "/session")?.basic_auth("opencode", Some(secret));
    ask(request).await?.expect(200).context("with it")?;
    Ok("401 without it, 200 with it".to_owned())
}

async fn sign_up(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let body = json!({ "email": format!("{nonce}@example.com"), "password": "long enough", "name": "Somebody" });
    for path in ["/api/auth/sign-up/email", "/api/auth//sign-up/email", "/api/auth/sign%2Dup/email"] {
        let request = running.post(MANAGER, path, &body)?.header("origin", running.origin(MANAGER)?);
        let answer = ask(request).await?;
        ensure!(answer.status >= 400, "POST {path} gets {}", answer.status);
    }
    ask(running.get(MANAGER, "/api/opencode/session")?).await?.expect(401).context("sessions, with no account")?;
    // A process inside bypasses the front; the Manager's own database refuses.
    let inside = "export $(grep MANAGER_INNER_PORT /run/stack/settings); \
                  curl --silent --output /dev/null --write-out '%{http_code}' --json \"$0\" \
                  http://127.0.0.1:$MANAGER_INNER_PORT/api/auth/sign-up/email";
    let code = running.container.exec(&["bash", "-c", inside, &body.to_string()]).await?;
    ensure!(code.starts_with(['4', '5']), "sign-up behind the front gets {code}");
    Ok("nothing is shown without an account, and the database accepts no other one".to_owned())
}

/// Signs in to the first account, and returns the session's cookies.
pub(super) async fn sign_in(running: &Running<'_>) -> anyhow::Result<String> {
    let setting = running.bench.stack.settings.iter().find(|setting| setting.name == "MANAGER_ADMIN_EMAIL");
    let email = setting.and_then(|setting| setting.default.as_deref()).context("the Manager has no first account")?;
    let body = json!({ "email": email, "password": running.secret("MANAGER_ADMIN_PASSWORD")? });
    let request = running.post(MANAGER, "/api/auth/sign-in/email", &body)?.header("origin", running.origin(MANAGER)?);
    let answer = ask(request).await?.expect(200).context("the generated password")?;
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|it| it.to_str().ok());
    let cookies: Vec<&str> = cookies.filter_map(|it| it.split(';').next()).collect();
    ensure!(!cookies.is_empty(), "signing in sets no cookie");
    Ok(cookies.join("; "))
}

/// Makes a session and sends a message, which the model answers.
async fn session(running: &Running<'_>, nonce: &str) -> anyhow::Result<(String, String)> {
    let cookies = sign_in(running).await?;
    let origin = running.origin(MANAGER)?;
    let post = |path: &str, body: &Value| {
        let request = running.post(MANAGER, path, body)?.header("cookie", &cookies).header("origin", &origin);
        anyhow::Ok(request.timeout(patience(running)))
    };
    let made = ask(post("/api/opencode/session", &json!({ "title": nonce }))?).await?.expect(200)?.json()?;
    let id = made["id"].as_str().context("the session has no id")?.to_owned();
    let before = tokens_read(running).await?;
    let body = json!({ "parts": [{ "type": "text", "text": "Are you there?" }] });
    let answer = ask(post(&format!("/api/opencode/session/{id}/message"), &body)?).await?.expect(200)?.json()?;
    ensure!(answer["info"]["error"].is_null(), "it says {}", start_of(&answer["info"]["error"].to_string()));
    let texts = answer["parts"].as_array().into_iter().flatten().filter(|it| it["type"] == "text");
    let text = start_of(&texts.filter_map(|it| it["text"].as_str()).collect::<Vec<_>>().join(" "));
    ensure!(!text.is_empty(), "the model's answer is empty: {}", start_of(&answer.to_string()));
    Ok((id, read_since(running, before, &text).await?))
}

/// The title of a session, as the Manager returns it.
pub(super) async fn session_title(running: &Running<'_>, id: &str) -> anyhow::Result<String> {
    let cookies = sign_in(running).await?;
    let request = running.get(MANAGER, &format!("/api/opencode/session/{id}"))?.header("cookie", cookies);
    let answer = ask(request).await?.expect(200)?.json()?;
    answer["title"].as_str().map(str::to_owned).context("the session has no title")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_name() {
        let text = "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total_x 1\n\
                    llamacpp:prompt_tokens_total 8069\n";
        assert_eq!(counter(text, "llamacpp:prompt_tokens_total"), Some(8069.0));
        assert_eq!(counter(text, "llamacpp:prompt"), None);
    }

    #[test]
    fn an_empty_reply_is_none() {
        assert!(reply(&json!({ "choices": [{ "message": { "content": " " } }] })).is_err());
        assert_eq!(reply(&json!({ "choices": [{ "message": { "content": "hi " } }] })).unwrap(), "hi");
    }
}
