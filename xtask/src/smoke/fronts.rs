//! The pages for browsers: the dashboard, Mission Control's page without a browser, and the status page.

use anyhow::{Context as _, ensure};
use reqwest::RequestBuilder;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::report::Report;
use super::running::{Answer, DASHBOARD, GATEWAY, PAGE, Running, ask, ensure_none, services};

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("dashboard");
    report.see("its pages have clean URLs", 20, dashboard(running)).await;
    report.see("only its own page gets the admin key", 20, deployment(running)).await;
    report.group("mission control");
    report.see("page, assets and client-side routes", 20, page(running)).await;
    report.see("/hooks accepts requests of the page only", 60, hooks(running)).await;
    report.group("status");
    report.see("/_stack.json and the status command agree", 20, stack(running)).await;
    report.see("/_stack shows every service", 20, stack_page(running)).await;
}

fn is_page(answer: &Answer) -> bool {
    answer.content_type().starts_with("text/html")
}

async fn dashboard(running: &Running<'_>) -> anyhow::Result<String> {
    let home = ask(running.get(DASHBOARD, "/")?).await?.expect(200)?;
    for path in ["/data", "/functions", "/settings/environment-variables"] {
        let answer = ask(running.get(DASHBOARD, path)?).await?.expect(200).with_context(|| path.to_owned())?;
        ensure!(is_page(&answer), "{path} is not a page");
    }
    ask(running.get(DASHBOARD, "/no/such/page")?).await?.expect(404).context("a page that is not there")?;
    let asset = first_asset(&home.body, "/_next/static/").context("the page names no file of its own")?;
    ask(running.get(DASHBOARD, asset)?).await?.expect(200).with_context(|| asset.to_owned())?;
    Ok("/data, /functions, /settings/environment-variables, and 404 for what is not there".to_owned())
}

/// The path of a page's first file below `folder`.
fn first_asset<'a>(page: &'a str, folder: &str) -> Option<&'a str> {
    let start = page.find(folder)?;
    let rest = &page[start..];
    Some(&rest[..rest.find(['"', '\'', ' ', '>'])?])
}

/// The request with a browser's headers when a page of that port requests from its own server.
fn from_page(running: &Running<'_>, setting: &str, request: RequestBuilder) -> anyhow::Result<RequestBuilder> {
    let origin = running.origin(setting)?;
    let request = request.header("sec-fetch-site", "same-origin").header("referer", format!("{origin}/"));
    Ok(request.header("origin", origin))
}

async fn deployment(running: &Running<'_>) -> anyhow::Result<String> {
    let path = "/api/current_deployment";
    let port = running.port(DASHBOARD)?;
    let get = || from_page(running, DASHBOARD, running.get(DASHBOARD, path)?);
    let given = ask(get()?).await?.expect(200)?.json()?;
    ensure!(given["adminKey"] == running.secret("CONVEX_SELF_HOSTED_ADMIN_KEY")?, "another key is given");
    let own = running.origin(DASHBOARD)?;
    ensure!(given["url"] == own.as_str(), "{} is given as the backend, not the page's own {own}", given["url"]);
    for (name, value) in [
        ("host", format!("evil.example:{port}").as_str()),
        ("host", "evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7"),
    ] {
        let changed = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value)?)]);
        // Unlike `header`, `headers` replaces one of the same name.
        let Answer { status, body, .. } = ask(get()?.headers(changed)).await?;
        ensure!(status >= 400 && !body.contains("adminKey"), "with `{name}: {value}` it answers {status}");
    }
    let plain = ask(running.get(DASHBOARD, path)?).await?;
    ensure!(plain.status == 404, "a request that is not of a page gets {}", plain.status);
    Ok("refused to any other page, to a program, for a foreign Host, and behind a proxy".to_owned())
}

async fn page(running: &Running<'_>) -> anyhow::Result<String> {
    let home = ask(running.get(PAGE, "/")?).await?.expect(200)?;
    let asset = first_asset(&home.body, "/assets/").context("the page names no file of its own")?;
    let script = ask(running.get(PAGE, asset)?).await?.expect(200)?;
    ensure!(script.body.contains("location.origin"), "{asset} does not look for Convex where it comes from");
    ensure!(!script.body.contains("placeholder.invalid"), "{asset} still contains the placeholder");
    let version = ask(running.get(PAGE, "/api/1.31.7/no-such-thing")?).await?;
    ensure!(!is_page(&version), "/api/ is not passed on to Convex");
    let route = ask(running.get(PAGE, "/any/route?of=it")?).await?.expect(200)?;
    ensure!(route.body == home.body, "a route of the page returns another page");
    ask(running.get(PAGE, "/assets/gone.js")?).await?.expect(404).context("a file that is not there")?;
    let policy = home.headers.get("content-security-policy").context("the page has no security policy")?;
    ensure!(!policy.to_str()?.contains("connect-src"), "its security policy lets it speak to others");
    Ok(format!("{asset} speaks to Convex through this port"))
}

/// The page sends an empty `Bearer `; the front sets the token for the owner's own page.
async fn hooks(running: &Running<'_>) -> anyhow::Result<String> {
    // It requests a run without a session: the gateway's status shows whether it accepted the token.
    let body = json!({ "name": "Smoke test" });
    let send = || anyhow::Ok(running.post(PAGE, "/hooks/agent", &body)?.header("authorization", "Bearer "));
    let known = ask(from_page(running, PAGE, send()?)?).await?;
    ensure!(known.status == 400, "the page's request without a message gets {}: {}", known.status, known.body);
    let program = ask(send()?).await?;
    ensure!(program.status == 401, "a program's gets {}: {}", program.status, program.body);
    let foreign = ask(send()?.header("host", "evil.example")).await?;
    ensure!(foreign.status == 421, "a foreign one gets {}: {}", foreign.status, foreign.body);
    let direct = ask(running.post(GATEWAY, "/hooks/agent", &body)?).await?;
    ensure!(direct.status == 401, "one without a token gets {} from the gateway itself", direct.status);
    Ok("the gateway knows the first; a program without a token gets 401, a foreign name 421".to_owned())
}

async fn stack(running: &Running<'_>) -> anyhow::Result<String> {
    let shown = ask(running.get(PAGE, "/_stack.json")?).await?.expect(200)?.json()?;
    let printed = running.container.status().await?;
    let states = |status: &Value| -> Vec<String> {
        services(status).iter().map(|it| format!("{} {}", it["name"], it["state"])).collect()
    };
    let (shown, printed) = (states(&shown), states(&printed));
    ensure!(shown == printed, "the page says {shown:?}, the command {printed:?}");
    ensure!(printed.len() == running.bench.stack.services.len(), "only {} services are listed", printed.len());
    Ok(format!("{} services", printed.len()))
}

async fn stack_page(running: &Running<'_>) -> anyhow::Result<String> {
    let page = ask(running.get(PAGE, "/_stack")?).await?.expect(200)?;
    ensure!(is_page(&page), "it is not a page");
    let names = running.bench.stack.services.iter().map(|service| &service.name);
    ensure_none("not shown: ", ", ", names.filter(|name| !page.body.contains(&format!("<small>{name}</small>"))))?;
    Ok("each with state, version and link".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_its_files() {
        let page = r#"<script type="module" src="/assets/index-1a.js"></script><link href='/assets/x.css'>"#;
        assert_eq!(first_asset(page, "/assets/"), Some("/assets/index-1a.js"));
        assert_eq!(first_asset(page, "/_next/static/"), None);
        assert_eq!(first_asset("<script src=/assets/a.js>", "/assets/"), Some("/assets/a.js"));
    }
}
