//! Convex: the backend, its admin key, and the functions that were pushed to it.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::report::Report;
use super::running::{Answer, BACKEND, PAGE, Running, SITE, ask, ensure_none};

const ADMIN_KEY: &str = "CONVEX_SELF_HOSTED_ADMIN_KEY";
/// The variables that Mission Control's functions read.
const VARIABLES: [&str; 3] = ["JWT_PRIVATE_KEY", "JWKS", "SITE_URL"];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>, nonce: &str) {
    report.group("convex");
    report.see("reports its version", 10, version(running)).await;
    report.see("accepts the admin key and refuses a wrong one", 20, admin(running)).await;
    report.see("Mission Control's functions are deployed", 20, functions(running)).await;
    report.see("keys and site are set for sign-in", 20, variables(running)).await;
    report.see("an account can be created, and its session is valid", 30, account(running, nonce)).await;
}

async fn version(running: &Running<'_>) -> anyhow::Result<String> {
    Ok(ask(running.get(BACKEND, "/version")?).await?.expect(200)?.body)
}

/// Calls a function with that Authorization header; returns its value or its error.
async fn call(
    running: &Running<'_>,
    kind: &str,
    path: &str,
    args: Value,
    header: Option<&str>,
) -> anyhow::Result<Value> {
    let body = json!({ "path": path, "args": args, "format": "json" });
    let mut request = running.post(BACKEND, &format!("/api/{kind}"), &body)?;
    if let Some(header) = header {
        request = request.header("authorization", header);
    }
    let answer = ask(request).await?.expect(200)?.json()?;
    let error = answer["errorMessage"].as_str().unwrap_or("no error message");
    ensure!(answer["status"] == "success", "{path} says: {error}");
    Ok(answer["value"].clone())
}

/// A public query among the pushed functions.
pub(super) async fn query(running: &Running<'_>, path: &str, args: Value) -> anyhow::Result<Value> {
    call(running, "query", path, args, None).await
}

async fn admin(running: &Running<'_>) -> anyhow::Result<String> {
    let key = running.secret(ADMIN_KEY)?;
    let names = environment(running).await?.len();
    // With another last digit, the key has the right form but an invalid seal.
    let (rest, last) = key.split_at(key.len() - 1);
    let wrong = format!("{rest}{}", if last == "0" { "1" } else { "0" });
    for (what, key) in [("a wrong key", Some(wrong.as_str())), ("no key", None)] {
        let status = list(running, key).await?.status;
        ensure!(matches!(status, 401 | 403), "{what} gets {status}");
    }
    Ok(format!("{names} variables are listed for the key; refused without it"))
}

async fn list(running: &Running<'_>, key: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = running.get(BACKEND, "/api/v1/list_environment_variables")?;
    if let Some(key) = key {
        request = request.header("authorization", format!("Convex {key}"));
    }
    ask(request).await
}

/// The deployment's variables, which only the admin key can list.
pub(super) async fn environment(running: &Running<'_>) -> anyhow::Result<serde_json::Map<String, Value>> {
    let listed = list(running, Some(running.secret(ADMIN_KEY)?)).await?.expect(200)?.json()?;
    listed["environmentVariables"].as_object().cloned().context("no variables are listed")
}

/// Sets a variable of the deployment, which a later check looks for.
pub(super) async fn set_variable(running: &Running<'_>, name: &str, value: &str) -> anyhow::Result<()> {
    let body = json!({ "changes": [{ "name": name, "value": value }] });
    let request = running.post(BACKEND, "/api/v1/update_environment_variables", &body)?;
    let request = request.header("authorization", format!("Convex {}", running.secret(ADMIN_KEY)?));
    ask(request).await?.expect(200).map(drop)
}

async fn functions(running: &Running<'_>) -> anyhow::Result<String> {
    let key = format!("Convex {}", running.secret(ADMIN_KEY)?);
    let listed = call(running, "query", "_system/cli/modules:apiSpec", json!({}), Some(&key)).await?;
    let (functions, routes) = spec(&listed);
    ensure!(functions.iter().any(|name| name.contains("listTasks")), "listTasks is not among {functions:?}");
    ensure!(routes.iter().any(|route| route == "POST /openclaw/event"), "the event endpoint is not among {routes:?}");
    Ok(format!("{} functions, {} routes", functions.len(), routes.len()))
}

/// Returns the names of functions, and the methods and paths of HTTP actions, from the backend's list.
fn spec(listed: &Value) -> (Vec<String>, Vec<String>) {
    let all = || listed.as_array().into_iter().flatten();
    let functions = all().filter_map(|one| one["identifier"].as_str()).map(str::to_owned).collect();
    let route = |one: &Value| Some(format!("{} {}", one["method"].as_str()?, one["path"].as_str()?));
    (functions, all().filter_map(route).collect())
}

async fn variables(running: &Running<'_>) -> anyhow::Result<String> {
    let set = environment(running).await?;
    ensure_none("not set: ", ", ", VARIABLES.iter().filter(|name| !set.contains_key(**name)))?;
    let origin = running.origin(PAGE)?;
    ensure!(set["SITE_URL"] == origin.as_str(), "SITE_URL is {}, the page is at {origin}", set["SITE_URL"]);
    // The public keys must have the public half of this stack's key, without the private part.
    let shown = ask(running.get(SITE, "/.well-known/jwks.json")?).await?.expect(200)?.json()?;
    let ours: Value = serde_json::from_str(running.secret("JWKS")?).context("the secret JWKS is not JSON")?;
    ensure!(shown["keys"][0]["n"] == ours["keys"][0]["n"], "the keys shown on the site port are not ours");
    ensure!(shown["keys"][0]["d"].is_null(), "the private key is shown on the site port");
    Ok(format!("{}; SITE_URL is {origin}", VARIABLES.join(", ")))
}

/// Mission Control's own sign-up: its session is signed with the private key, and verified with the public one.
async fn account(running: &Running<'_>, nonce: &str) -> anyhow::Result<String> {
    let params = json!({ "flow": "signUp", "email": format!("{nonce}@example.com"), "password": nonce });
    let args = json!({ "provider": "password", "params": params });
    let made = call(running, "action", "auth:signIn", args, None).await?;
    let token = made["tokens"]["token"].as_str().context("no token was given")?;
    let tasks = json!({ "tenantId": "default" });
    call(running, "query", "queries:listTasks", tasks.clone(), Some(&format!("Bearer {token}"))).await?;
    // The signature's first character; the last one has unused bits.
    let (signed, signature) = token.rsplit_once('.').context("the token is not a JSON web token")?;
    let first = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("Bearer {signed}.{first}{}", signature.get(1..).unwrap_or_default());
    let refused = call(running, "query", "queries:listTasks", tasks, Some(&forged)).await;
    ensure!(refused.is_err(), "a session with a forged signature is accepted too");
    Ok("and one with a forged signature refused".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_routes_are_distinguished() {
        let listed = json!([
            { "identifier": "queries.js:listTasks", "functionType": "Query" },
            { "functionType": "HttpAction", "method": "POST", "path": "/openclaw/event" },
        ]);
        assert_eq!(spec(&listed), (vec!["queries.js:listTasks".to_owned()], vec!["POST /openclaw/event".to_owned()]));
        assert_eq!(spec(&Value::Null), (vec![], vec![]));
    }
}
