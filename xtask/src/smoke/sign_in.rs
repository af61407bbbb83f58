//! A stack that is published beyond the loopback: one password opens every port to a browser, a service's own
//! credential opens that service to a program, and nothing else opens any port.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use serde_json::Value;

use super::bad_input;
use super::browser;
use super::inside;
use super::published::{COOKIE, ECHO_PORT, ECHOES, echo, send_form, sign_in, start};
use super::raw::{self, ask};
use super::report::Report;
use super::running::{Bench, DASHBOARD, LLAMA, LLAMA_KEY, PAGE, Running, SITE, ensure_none};
use super::security::leaked;
use crate::domain::service::{AuthScheme, Credential, Endpoint};
use crate::engine::container::{Volume, has_ipv6};

const DEPLOYMENT: &str = "/api/current_deployment";

/// Destinations after the sign-in that are other sites, or not paths.
const ELSEWHERE: &str = "//evil.example/ https://evil.example/ /%5Cevil.example %5C%5Cevil.example /%09/evil.example \
    %20//evil.example javascript:alert(1) /a%0d%0aSet-Cookie:%20a=b evil.example";
/// Paths that must not accept the token of the hooks.
const NO_HOOKS: &str =
    r"/ /hooks /hooksx/a /HOOKS/a /v1/hooks/a /v1?/hooks/a /hooks/../v1 /hooks/%2e%2e/v1 /hooks\..\v1";
/// Cookies that must be refused, and a valid one, made by the image's own code.
const MAKE_COOKIES: &str = r#"
import { Sessions } from "/opt/stack/lib/access/sessions.mjs";
import { secret } from "/opt/stack/lib/settings/read.mjs";
const [own, password] = [secret("ACCESS_SECRET"), secret("ACCESS_PASSWORD")];
const good = new Sessions(own, password).begin();
const [end, id, signature] = good.split(".");
console.log(JSON.stringify({ good, bad: {
  expired: new Sessions(own, password).begin(Date.now() - 8 * 24 * 3600 * 1000),
  "of an older secret": new Sessions("0".repeat(64), password).begin(),
  "of an older password": new Sessions(own, "another password").begin(),
  "with a later end": `${Number(end) + 9}.${id}.${signature}`,
  "with another id": `${end}.${id.toUpperCase()}.${signature}`,
  cut: good.slice(0, -1),
  "without a signature": `${end}.${id}.`,
  "longer than it was": `${good}A`,
  quoted: `"${good}"`,
  empty: "",
} }));
"#;
/// Sends wrong passwords to a port, the given number of times, then the right one. Prints the count of each status, and
/// the last response with its Retry-After.
const GUESS: &str = r#"
import { request } from "node:http";
import { secret } from "/opt/stack/lib/settings/read.mjs";
const [port, times] = process.argv.slice(1).map(Number);
const send = (password) => new Promise((resolve, reject) => {
  const body = `password=${password}`;
  const headers = { Host: `127.0.0.1:${port}`, "Content-Type": "application/x-www-form-urlencoded", "Content-Length": body.length };
  const sent = request({ port, host: "127.0.0.1", path: "/_stack/sign-in", method: "POST", headers }, (answer) => {
    answer.resume().on("end", () => resolve({ status: answer.statusCode, wait: Number(answer.headers["retry-after"]) }));
  });
  sent.on("error", reject).end(body);
});
const count = {};
for (let sent = 0; sent < times; sent += 50) {
  for (const { status } of await Promise.all([...Array(50).keys()].map((it) => send(`guess-${sent + it}`)))) count[status] = (count[status] ?? 0) + 1;
}
console.log(JSON.stringify({ count, right: await send(secret("ACCESS_PASSWORD")) }));
"#;

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>) -> anyhow::Result<()> {
    report.group("sign-in");
    let volume = Volume::create(bench.docker, &[]).await?;
    let starting = start(bench, &volume, &[], None);
    let summary = |it: &Running<'_>| {
        format!("after {:.1} s, with an echo behind {}", it.started.elapsed().as_secs_f64(), ECHOES.join(", "))
    };
    let started = report.check("it starts with published ports", 240, starting, summary).await;
    let Some(mut running) = started else { return Ok(()) };
    let secrets = running.read_secrets();
    let secrets = report.check("its password is printed", 30, secrets, |it| format!("{} secrets", it.len())).await;
    running.secrets = secrets.unwrap_or_default();
    let waiting = bad_input::Waiting::begin(&running).await?;
    report.see("without the password, every port refuses", 30, closed(&running)).await;
    report.see("also from another network with the gateway's address", 60, inside::through_the_gateway(&running)).await;
    if has_ipv6() {
        report.see("also over IPv6", 20, over_ipv6(&running)).await;
    } else {
        report.skip("the same over IPv6", "an IPv6 loopback on this machine");
    }
    report.see("the password opens every port", 30, opened(&running)).await;
    report.see("the session cookie does not reach the services", 20, kept(&running)).await;
    report.see("a program's credential opens its service only", 60, programs(&running)).await;
    report.see("forged cookies are refused", 30, cookies(&running)).await;
    report.see("a signed-in browser's pages get their credentials", 20, owner(&running)).await;
    report.see("sign-in redirects to this host only", 30, destinations(&running)).await;
    report.see("signing out ends the session", 20, sign_out(&running)).await;
    browser::prove_signed_in(report, &running).await;
    report.see("1,000 guesses", 60, guesses(&running)).await;
    bad_input::prove(report, &running, waiting).await;
    report.group("sign-in");
    drop(running);
    for (access, everywhere, wanted) in [("always", false, 401), ("never", true, 200)] {
        let name = format!("ACCESS={access}");
        report.see(&name, 60, with_access(bench, access, everywhere, wanted)).await;
    }
    Ok(())
}

/// Starts a stack of pages only, with that setting.
async fn with_access(bench: &Bench<'_>, access: &str, everywhere: bool, wanted: u16) -> anyhow::Result<String> {
    let volume = Volume::create(bench.docker, &[]).await?;
    let more = [
        ("ACCESS", access),
        ("LLAMACPP_ENABLED", "false"),
        ("MANAGER_ENABLED", "false"),
        ("OPENCODE_ENABLED", "false"),
        ("OPENCLAW_ENABLED", "false"),
        ("CONVEX_ENABLED", "false"),
    ];
    let running = bench.start_with(&volume, &more, |options| options.everywhere = everywhere).await?;
    running.settled().await?;
    let reply = ask(&running, PAGE, "GET /").await?;
    ensure!(reply.status == wanted, "it gets {}", reply.summary());
    let off = ask(&running, LLAMA, "GET /").await?;
    let names_it = off.body().contains("LLAMACPP_ENABLED is false");
    ensure!(off.status == 503 && names_it, "the port of a service that is off: {}", off.summary());
    let output = running.container.exec(&["status"]).await?;
    ensure!(output.contains("ACCESS=never") == (access == "never"), "`status` says {output}");
    Ok(format!("{wanted} without a password"))
}

async fn closed(running: &Running<'_>) -> anyhow::Result<String> {
    let made_up =
        "Origin: http://{HOST}|Sec-Fetch-Site: same-origin|X-Forwarded-For: 127.0.0.1|X-Signed-In: 1|X-Near: 1";
    let socket =
        "Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    for setting in running.settings() {
        let page = ask(running, setting, "GET /a?b=c|Accept: text/html,*/*").await?;
        let to = page.header("location").unwrap_or_default();
        ensure!(page.status == 303 && to == "/_stack/sign-in?to=/a?b=c", "{setting}, a browser: {}", page.summary());
        let form = ask(running, setting, &format!("GET {to}")).await?;
        let is_form = form.status == 200 && form.body().contains("type=\"password\"");
        ensure!(is_form, "{setting}, the form: {}", form.summary());
        for request in [
            "GET /".to_owned(),
            format!("GET {DEPLOYMENT}|{made_up}"),
            format!("POST /hooks/agent|{made_up}|Content-Length: 2||{{}}"),
            format!("GET /api/1.31.7/sync|{socket}"),
            "OPTIONS /".to_owned(),
        ] {
            let reply = ask(running, setting, &request).await?;
            ensure!(reply.status == 401, "{setting} {request:?}: {}", reply.summary());
            ensure!(leaked(running, &reply.text).next().is_none(), "{setting} returns a secret");
        }
    }
    let keys = ask(running, SITE, "GET /.well-known/jwks.json").await?;
    ensure!(keys.status == 200, "the public keys of Mission Control's sessions: {}", keys.summary());
    Ok("303 to the form for a browser, 401 for a program; only the public keys are open".to_owned())
}

async fn over_ipv6(running: &Running<'_>) -> anyhow::Result<String> {
    let mut count = 0;
    for setting in running.settings() {
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, running.port(setting)?));
        for (accept, wanted) in [("text/html", 303), ("*/*", 401)] {
            let request = raw::written(&format!("GET /|Accept: {accept}"), &[("HOST", &address.to_string())]);
            let reply = raw::send(address, &request).await?;
            ensure!(reply.status == wanted, "{setting}: {}", reply.summary());
        }
        count += 1;
    }
    Ok(format!("{count} ports of [::1]"))
}

async fn opened(running: &Running<'_>) -> anyhow::Result<String> {
    let wrong = send_form(running, PAGE, "wrong", "/").await?;
    ensure!(wrong.status == 403 && wrong.header("set-cookie").is_none(), "a wrong one: {}", wrong.summary());
    let right = send_form(running, PAGE, running.secret("ACCESS_PASSWORD")?, "/a?b=c").await?;
    ensure!(right.status == 303 && right.header("location") == Some("/a?b=c"), "the right one: {}", right.summary());
    let cookie = right.header("set-cookie").context("no cookie")?;
    for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age="] {
        ensure!(cookie.contains(part), "the cookie has no {part:?}");
    }
    ensure!(!cookie.contains("Domain"), "the cookie names a domain");
    let session = cookie.split(';').next().unwrap_or_default();
    for setting in running.settings() {
        let reply = ask(running, setting, &format!("GET /|Cookie: {session}")).await?;
        ensure!(matches!(reply.status, 200 | 404), "{setting}: {}", reply.summary());
    }
    Ok("403 for a wrong one; a cookie that is HttpOnly, SameSite and expires, for eight ports".to_owned())
}

async fn kept(running: &Running<'_>) -> anyhow::Result<String> {
    let session = format!("{COOKIE}={}", sign_in(running, ECHO_PORT).await?);
    for (sent, wanted) in [
        (session.clone(), Value::Null),
        (format!("a=1; {session}"), "a=1".into()),
        (format!("{session}; b=2"), "b=2".into()),
        (format!("a=1; {session}; b=2"), "a=1; b=2".into()),
        (format!("a=1|Cookie: {session}|Cookie: b=2"), "a=1; b=2".into()),
        (format!("{session}; b=2; {session}"), Value::Null),
    ] {
        let seen = echo(running, &format!("GET /|Cookie: {sent}")).await?;
        ensure!(seen["headers"]["cookie"] == wanted, "of the cookies {sent:?} it sees {}", seen["headers"]["cookie"]);
    }
    let lies = "X-Forwarded-For: 192.0.2.7|X-Forwarded-Host: evil.example|X-Forwarded-Proto: https|X-Real-IP: 192.0.2.7|\
                Forwarded: for=192.0.2.7|Via: 1.1 evil|Upgrade: h2c|Connection: Upgrade, X-Forwarded-For";
    let seen = echo(running, &format!("GET /a|Cookie: {session}|{lies}")).await?;
    let headers = &seen["headers"];
    let host = running.address(ECHO_PORT)?.to_string();
    ensure!(headers["host"] == host && headers["x-forwarded-host"] == host, "it sees {headers}");
    ensure!(headers["x-forwarded-proto"] == "http", "it sees {headers}");
    for name in ["x-forwarded-for", "x-real-ip"] {
        ensure!(headers[name].is_string() && headers[name] != "192.0.2.7", "it sees {headers}");
    }
    for name in ["forwarded", "via", "upgrade"] {
        ensure!(headers[name].is_null(), "it sees {name}: {}", headers[name]);
    }
    Ok("its cookie is taken out, and what a client says of proxies is replaced".to_owned())
}

/// The Authorization header of a program.
fn authorization(running: &Running<'_>, credential: &Credential) -> anyhow::Result<String> {
    let secret = running.secret(&credential.secret)?;
    Ok(match credential.scheme {
        AuthScheme::Bearer => format!("Bearer {secret}"),
        AuthScheme::Convex => format!("Convex {secret}"),
        AuthScheme::Basic => {
            let pair = format!("{}:{secret}", credential.user.as_deref().unwrap_or_default());
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
    })
}

/// Whether the front accepts a program's request; the program's own status does not matter.
async fn passes(running: &Running<'_>, setting: &str, path: &str, authorization: &str) -> anyhow::Result<bool> {
    let address = running.address(setting)?;
    // An admin key contains `|`, which ends a line in tables.
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: {authorization}\r\n\r\n");
    let reply = raw::send(address, request.as_bytes()).await?;
    ensure!(reply.status != 0, "{setting}{path} does not answer");
    Ok(!matches!(reply.status, 400 | 401))
}

async fn programs(running: &Running<'_>) -> anyhow::Result<String> {
    let endpoints = || running.bench.stack.endpoints();
    let all: Vec<&Credential> = endpoints().flat_map(|it| &it.credentials).collect();
    let mut paths = vec!["/".to_owned()];
    paths.extend(all.iter().filter_map(|it| Some(format!("{}a", it.below.as_deref()?))));
    paths.dedup();
    let mut tries = Vec::new();
    for Endpoint { setting, credentials, .. } in endpoints() {
        for path in &paths {
            for credential in &all {
                let secret = &credential.secret;
                let opens = |own: &Credential| {
                    own.secret == *secret && own.below.as_deref().is_none_or(|below| path.starts_with(below))
                };
                let value = authorization(running, credential)?;
                let wanted = credentials.iter().any(opens);
                tries.push((setting, path.as_str(), value, wanted, format!("{secret} at {setting}{path}")));
            }
        }
        for credential in credentials {
            let (secret, value) = (&credential.secret, authorization(running, credential)?);
            for spoilt in [
                value.get(..value.len() - 1).unwrap_or_default(),
                &format!("{value}x"),
                &format!("x{value}"),
                value.split(' ').nth(1).unwrap_or_default(),
                "Bearer",
                "Bearer ",
            ] {
                let path = credential.below.as_deref().unwrap_or("/");
                tries.push((setting, path, spoilt.to_owned(), false, format!("a spoilt {secret} at {setting}")));
            }
            for path in NO_HOOKS.split_whitespace().filter(|_| credential.below.is_some()) {
                tries.push((setting, path, value.clone(), false, format!("{secret} at {setting}{path}")));
            }
        }
    }
    let mut wrong = Vec::new();
    for (setting, path, value, wanted, what) in &tries {
        if passes(running, setting, path, value).await? != *wanted {
            wrong.push(what);
        }
    }
    ensure_none("the front does not decide as the table: ", "; ", wrong)?;
    Ok(format!("{} combinations of {} credentials, ports and paths", tries.len(), all.len()))
}

async fn cookies(running: &Running<'_>) -> anyhow::Result<String> {
    let made = running.node(MAKE_COOKIES, &[]).await?;
    let ask = async |value: &Value| {
        let cookie = value.as_str().unwrap_or_default();
        ask(running, PAGE, &format!("GET /_stack.json|Cookie: {COOKIE}={cookie}")).await
    };
    ensure!(ask(&made["good"]).await?.status == 200, "a good one is refused");
    let bad = made["bad"].as_object().context("no cookies were made")?;
    for (what, value) in bad {
        let reply = ask(value).await?;
        ensure!(reply.status == 401, "one {what} gets {}", reply.summary());
    }
    Ok(format!("{} kinds, each 401", bad.len()))
}

async fn owner(running: &Running<'_>) -> anyhow::Result<String> {
    let session = format!("Cookie: {COOKIE}={}", sign_in(running, DASHBOARD).await?);
    let key = running.secret("CONVEX_SELF_HOSTED_ADMIN_KEY")?;
    let (own, other) = ("Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: same-site");
    for (headers, given) in [
        (format!("{session}|{own}"), true),
        (format!("{session}|{other}"), false),
        (own.to_owned(), false),
        (format!("{session}|Sec-Fetch-Site: cross-site|{{VISIT}}"), false),
    ] {
        let reply = ask(running, DASHBOARD, &format!("GET {DEPLOYMENT}|{headers}")).await?;
        ensure!(reply.text.contains(key) == given, "the dashboard's key, with {headers:?}: {}", reply.status);
    }
    let key = format!("Bearer {}", running.secret(LLAMA_KEY)?);
    for (headers, given) in [
        (format!("{session}|Sec-Fetch-Site: none|{{VISIT}}"), true),
        (format!("{session}|{own}"), true),
        (format!("{session}|Sec-Fetch-Site: cross-site|{{VISIT}}"), false),
        (format!("{session}|{other}|{{VISIT}}"), true),
    ] {
        let seen = echo(running, &format!("GET /|{headers}")).await?;
        ensure!((seen["headers"]["authorization"] == key) == given, "llama.cpp's key, GET with {headers:?}");
    }
    Ok("the dashboard's key and llama.cpp's, for its own page or visit; no other page's".to_owned())
}

async fn destinations(running: &Running<'_>) -> anyhow::Result<String> {
    let password = running.secret("ACCESS_PASSWORD")?;
    for to in ELSEWHERE.split_whitespace() {
        let reply = send_form(running, PAGE, password, to).await?;
        ensure!(reply.status == 303 && reply.header("location") == Some("/"), "to={to}: {}", reply.summary());
        ensure!(reply.text.matches("Set-Cookie").count() == 1, "to={to} sets another cookie");
    }
    let script = "/_stack/sign-in?to=/\"><script>alert(1)</script>";
    let page = ask(running, PAGE, &format!("GET {script}")).await?;
    ensure!(!page.body().contains("<script>"), "the form contains a script");
    let two = ask(running, PAGE, "GET //evil.example/|Accept: text/html").await?;
    let to = two.header("location").unwrap_or_default();
    ensure!(two.status == 303 && to.starts_with("/_stack/sign-in"), "//evil.example/: {}", two.summary());
    for foreign in ["Origin: http://evil.example", "Sec-Fetch-Site: cross-site|{VISIT}"] {
        let head = format!("POST /_stack/sign-in|{foreign}|Content-Length: {{LENGTH}}");
        let reply = ask(running, PAGE, &format!("{head}||password={password}")).await?;
        ensure!(reply.status == 403, "a foreign page's form: {}", reply.summary());
    }
    Ok(format!("{} destinations, and a foreign page's form", ELSEWHERE.split_whitespace().count()))
}

async fn sign_out(running: &Running<'_>) -> anyhow::Result<String> {
    let (session, other) = (sign_in(running, PAGE).await?, sign_in(running, PAGE).await?);
    let status = async |method: &str, path: &str, session: &str| {
        let head = format!("{method} {path}|Cookie: {COOKIE}={session}");
        anyhow::Ok(ask(running, PAGE, &format!("{head}|Content-Length: 0")).await?.status)
    };
    ensure!(matches!(status("GET", "/_stack/sign-out", &session).await?, 404 | 405), "a link signs out");
    ensure!(status("GET", "/_stack.json", &session).await? == 200, "the session is over too soon");
    ensure!(status("POST", "/_stack/sign-out", &session).await? == 303, "signing out fails");
    ensure!(status("GET", "/_stack.json", &session).await? == 401, "the session goes on");
    ensure!(status("GET", "/_stack.json", &other).await? == 200, "another session ended too");
    Ok("401 with its cookie; another session goes on".to_owned())
}

async fn guesses(running: &Running<'_>) -> anyhow::Result<String> {
    let port = running.port(PAGE)?.to_string();
    let result = running.node(GUESS, &[&port, "1000"]).await?;
    let count = |status: &str| result["count"][status].as_u64().unwrap_or_default();
    ensure!((1..=20).contains(&count("403")) && count("403") + count("429") == 1000, "they get {result}");
    let is_refused = result["right"]["status"] == 429 && result["right"]["wait"].is_u64();
    ensure!(is_refused, "then the right one: {result}");
    sign_in(running, PAGE).await.context("from another address")?;
    Ok(format!("{} looked at, the rest 429, also the right one; another address signs in", count("403")))
}
