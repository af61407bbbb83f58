//! Attacks by a web page or another machine, as raw requests, and the expected responses. The requests are in the form
//! of `raw::request`.

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::raw;
use super::report::Report;
use super::running::{BACKEND, DASHBOARD, GATEWAY, LLAMA, MANAGER, OPENCODE, PAGE, Running, SITE};
use super::security::leaked;

/// The front's statuses of refusal, by reason.
const NAME: &[u16] = &[421];
const MALFORMED: &[u16] = &[400];
const FOREIGN: &[u16] = &[403];
const CLOSED: &[u16] = &[403, 404, 405];
/// Behind the front, each program requires its credential.
const NOBODY: &[u16] = &[401, 403, 404, 405];

/// Host names that are not the stack's: DNS rebinding, and spellings that another program may parse differently.
const NAMES: [(&str, &[u16]); 41] = [
    ("GET / HTTP/1.1|Host: evil.example", NAME),
    ("GET / HTTP/1.1|Host: evil.example:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: 127.0.0.1.evil.example:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: evil.example.127.0.0.1:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: {HOST}.evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}:evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}@evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: evil.example@{HOST}", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}#evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}?evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}/evil.example", MALFORMED),
    ("GET / HTTP/1.1|Host: evil.example/{HOST}", MALFORMED),
    ("GET / HTTP/1.1|Host: {HOST}\\evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}, evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST} evil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: {HOST}\tevil.example", &[400, 421]),
    ("GET / HTTP/1.1|Host: http://{HOST}", &[400, 421]),
    ("GET / HTTP/1.1|Host: 127.0.0.1.:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: localhost.:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: sub.localhost:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: 127.1:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: 2130706433:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: 0x7f.0.0.1:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: 0.0.0.0:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: [::]:{PORT}", NAME),
    ("GET / HTTP/1.1|Host: [::ffff:127.0.0.1]:{PORT}", NAME),
    ("GET / HTTP/1.1|Host:", &[400, 421]),
    ("GET / HTTP/1.1", MALFORMED),
    ("GET / HTTP/1.0", NAME),
    ("GET / HTTP/1.1|Host: evil.example|Host: {HOST}", MALFORMED),
    ("GET / HTTP/1.1|Host: {HOST}|Host: evil.example", MALFORMED),
    ("GET / HTTP/1.1|Host : {HOST}", MALFORMED),
    ("GET / HTTP/1.1|Host: evil.example| {HOST}", MALFORMED),
    ("GET / HTTP/1.1| Host: {HOST}|Host: evil.example", MALFORMED),
    ("GET / HTTP/1.1|Host: evil.example|X-Forwarded-Host: {HOST}", NAME),
    ("GET / HTTP/1.1|Host: evil.example|Forwarded: host={HOST}|X-Host: {HOST}|X-Original-Host: {HOST}", NAME),
    ("GET / HTTP/1.1|Host: evil.example|Connection: Host", NAME),
    ("GET http://evil.example/ HTTP/1.1|Host: {HOST}", NAME),
    ("GET http://{HOST}/ HTTP/1.1|Host: evil.example", NAME),
    ("GET http://{HOST}@evil.example/ HTTP/1.1|Host: {HOST}", &[400, 421]),
    ("GET http://evil.example\\@{HOST}/ HTTP/1.1|Host: {HOST}", &[400, 421]),
];

/// Requests that two programs may split differently (request smuggling), and protocols that would bypass the rules.
const BYTES: [(&str, &[u16]); 19] = [
    ("POST /|Content-Length: 4|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST /|Transfer-Encoding: chunked|Content-Length: 4||0\r\n\r\n", MALFORMED),
    ("POST /|Transfer-Encoding: xchunked||0\r\n\r\n", &[400, 501]),
    ("POST /|Transfer-Encoding: chunked, identity||0\r\n\r\n", &[400, 501]),
    ("POST /|Transfer-Encoding: identity|Transfer-Encoding: chunked||0\r\n\r\n", &[400, 501]),
    ("POST /|Transfer-Encoding : chunked||0\r\n\r\n", MALFORMED),
    ("POST /|Transfer-Encoding: chunked|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.0|Host: {HOST}|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST /|Content-Length: 4|Content-Length: 5||abcde", MALFORMED),
    ("POST /|Content-Length: +4||abcd", MALFORMED),
    ("POST /|Content-Length: -1||", MALFORMED),
    ("GET /|X-A: a\0b", MALFORMED),
    ("GET /\0", MALFORMED),
    ("GET / x HTTP/1.1|Host: {HOST}", MALFORMED),
    ("get /", MALFORMED),
    ("PRI * HTTP/2.0||SM\r\n\r\n", &[400, 505]),
    ("GET / HTTP/2.0|Host: {HOST}", &[400, 505]),
    ("CONNECT evil.example:443", &[400, 405]),
    ("TRACE /", &[405]),
];

/// Targets that two programs may resolve differently.
const PATHS: &str = r"
    /a\b \a /\evil.example /a%5cb /a%5Cb http://{HOST}/a\b
    /a/../b /a/./b /a/.. /a/.?b /../a //../a
    /a/%2e%2e/b /a/.%2E/b /a/%2e/b /a/..%2fb /a%2f..%2fb /a%2F%2e%2e%2Fb
    /a/..#b /a#/../b /a#b
    /a/..;/b /a%00b /a%zzb * a
";

/// Origins that a browser sends for other pages: another name, another port of the same name, a file, and origins with
/// only the prefix or suffix of a valid one.
const ORIGINS: [&str; 19] = [
    "http://evil.example",
    "https://evil.example",
    "http://127.0.0.1:{OTHER}",
    "http://127.0.0.1",
    "null",
    "NULL",
    "file://",
    "chrome-extension://abcdefghijklmnop",
    "http://{HOST}.evil.example",
    "http://{HOST}0",
    "http://evil.example/http://{HOST}",
    "http://evil.example?http://{HOST}",
    "http://evil{HOST}",
    "http://evil.example@{HOST}",
    "http://{HOST}@evil.example",
    "http://{HOST}/",
    "http://{HOST} http://evil.example",
    "ftp://{HOST}",
    "{HOST}",
];
/// The heads of requests that carry an Origin.
const ASKS: [&str; 3] = [
    "GET /",
    "POST /|Content-Length: 2",
    "GET /|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
];

/// Fetch metadata that a browser sends for pages of other sites, also in requests without an Origin.
const SITES: [&str; 14] = [
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: image",
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script",
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: cors|Sec-Fetch-Dest: empty",
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe",
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: object",
    "GET /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: websocket",
    "GET /|Sec-Fetch-Site: cross-site",
    "GET /|Sec-Fetch-Site: same-site",
    "GET /|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script",
    "GET /|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe",
    "POST /|Sec-Fetch-Site: same-site|{VISIT}|Content-Length: 0",
    "POST /|Sec-Fetch-Site: cross-site|{VISIT}|Content-Length: 0",
    "POST /|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Content-Type: text/plain|Content-Length: 2||{}",
    "OPTIONS /|Origin: http://evil.example|Access-Control-Request-Method: PUT|Access-Control-Request-Private-Network: true",
];

/// Requests of people and programs, which the front must pass on: any status of the program behind it counts.
const GOOD: [&str; 14] = [
    "GET /",
    "GET / HTTP/1.0|Host: {HOST}",
    "GET / HTTP/1.1|Host: localhost:{PORT}",
    "GET / HTTP/1.1|Host: [::1]:{PORT}",
    "GET / HTTP/1.1|Host: 127.0.0.1",
    "GET http://{HOST}/",
    "GET /|Origin: http://{HOST}|Sec-Fetch-Site: same-origin|Sec-Fetch-Mode: cors",
    "GET / HTTP/1.1|Host: localhost:{PORT}|Origin: http://localhost:{PORT}",
    "GET /|Sec-Fetch-Site: none|{VISIT}",
    "GET /|Sec-Fetch-Site: cross-site|{VISIT}",
    "GET /|Sec-Fetch-Site: same-site|{VISIT}",
    "GET /?a=..%2f..%5c/../\\b",
    "GET /a/.well-known/...b",
    "GET /a%20b/%C3%A4",
];

const SIGN_UP: &str = r#"{"email":"attacker@evil.example","password":"long enough","name":"Attacker"}"#;
const EVENT: &str = r#"{"runId":"attack","action":"start","prompt":"attack","sessionKey":"attack"}"#;
/// Paths of the Manager that accept, or could accept, a sign-up.
const SIGN_UPS: &str = r"
    /api/auth/sign-up/email /api/auth/sign-up/email/ /api/auth/sign-up/email?x=/api/auth/sign-in/email
    /api/auth\sign-up/email /api\auth\sign-up\email /api/auth%5csign-up/email
    /api/auth//sign-up/email //api/auth/sign-up/email
    /api/auth/./sign-up/email /api/auth/sign-in/../sign-up/email
    /api/auth/passkey/../sign-up/email /api/auth/passkey/%2e%2e/sign-up/email
    /api/auth/sign%2Dup/email /api/%61uth/sign-up/email
    /api%2Fauth/sign-up/email /api/auth%2Fsign-up%2Femail
";
/// The endpoints for events of the gateway's plugin, which must refuse all other clients.
const EVENTS: [(&str, &str); 5] = [
    (SITE, "/openclaw/event //openclaw/event /openclaw//event /openclaw/%65vent /openclaw%2fevent"),
    (SITE, "/x/../openclaw/event /.well-known/../openclaw/event"),
    (BACKEND, "/http/openclaw/event /http//openclaw/event /%68ttp/openclaw/event /http/openclaw/event?x"),
    (PAGE, "/http/openclaw/event /api/../http/openclaw/event"),
    (DASHBOARD, r"/http/openclaw/event /api\..\http/openclaw/event"),
];
/// Calls of the mutation behind the events.
const MUTATIONS: [(&str, &str); 5] = [
    ("/api/mutation", "openclaw:receiveAgentEvent"),
    ("/api/mutation", "openclaw.js:receiveAgentEvent"),
    ("/api/function", "openclaw:receiveAgentEvent"),
    ("/api/action", "openclaw:receiveAgentEvent"),
    ("/api/run/openclaw/receiveAgentEvent", ""),
];
const CONVEX_PORTS: [&str; 3] = [BACKEND, PAGE, DASHBOARD];

/// Requests that single ports must refuse, from programs without a credential and from other pages.
const DOORS: [(&str, &str, &[u16]); 31] = [
    (
        MANAGER,
        "POST /api/auth/sign-in/email|Origin: http://{HOST}|X-Original-URL: /api/auth/sign-up/email|X-Rewrite-URL: /api/auth/sign-up/email|Content-Type: application/json|Content-Length: {LENGTH}||{\"email\":\"attacker@evil.example\",\"password\":\"long enough\",\"name\":\"A\"}",
        &[400, 401, 403],
    ),
    (MANAGER, "PUT /api/auth/sign-in/email|X-HTTP-Method-Override: POST|Content-Length: 0", NOBODY),
    (MANAGER, "GET /api/repos|X-Original-URL: /api/health|X-Signed-In: 1", NOBODY),
    (MANAGER, "GET /api/auth/admin/list-users", CLOSED),
    (MANAGER, "POST /api/auth/reset-password|Content-Length: 0", CLOSED),
    (OPENCODE, "GET /session", &[401]),
    (OPENCODE, "POST /pty|Content-Length: 2||{}", &[401]),
    (
        OPENCODE,
        "POST /pty|Origin: http://127.0.0.1:{OTHER}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Content-Length: 2||{}",
        FOREIGN,
    ),
    (OPENCODE, "POST /pty|Sec-Fetch-Site: same-site|{VISIT}|Content-Length: 2||{}", NOBODY),
    (OPENCODE, "GET /session|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script", NOBODY),
    (OPENCODE, "GET /session|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe", NOBODY),
    (OPENCODE, "GET /session|Sec-Fetch-Site: cross-site|{VISIT}", NOBODY),
    (OPENCODE, "GET /session|Referer: http://{HOST}/", NOBODY),
    (OPENCODE, "GET /session|X-Signed-In: 1|X-Near: 1|Cookie: signed_in=1", NOBODY),
    (LLAMA, "GET /slots", &[401, 501]),
    (LLAMA, "POST /v1/chat/completions|Content-Length: 2||{}", &[401]),
    (LLAMA, "POST /v1/chat/completions|Sec-Fetch-Site: cross-site|{VISIT}|Content-Length: 2||{}", FOREIGN),
    (GATEWAY, "POST /v1/chat/completions|Content-Length: 2||{}", NOBODY),
    (GATEWAY, "POST /hooks/agent|Content-Length: 2||{}", &[401]),
    (PAGE, "POST /hooks/agent|Authorization: Bearer |Content-Type: application/json|Content-Length: 2||{}", &[401]),
    (PAGE, "POST /hooks/agent|Authorization: Bearer |Origin: http://{HOST}|Content-Length: 2||{}", &[401]),
    (
        PAGE,
        "POST /hooks/agent|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-site|Content-Length: 2||{}",
        FOREIGN,
    ),
    (
        PAGE,
        "POST /hooks/agent|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-origin|Via: 1.1 proxy|Content-Length: 2||{}",
        &[401],
    ),
    (
        PAGE,
        "POST /hooks/agent|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-origin|X-Forwarded-For: 127.0.0.1|Content-Length: 2||{}",
        &[401],
    ),
    (PAGE, "GET /_stack/access|X-Near: 1", &[404]),
    (DASHBOARD, "GET /api/current_deployment", &[404]),
    (DASHBOARD, "GET /api//current_deployment|X-Signed-In: 1", &[404]),
    (DASHBOARD, "GET /api/%63urrent_deployment|Referer: http://{HOST}/", &[404]),
    (
        DASHBOARD,
        "GET /api/current_deployment|Referer: http://127.0.0.1:{OTHER}/|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script",
        FOREIGN,
    ),
    (
        DASHBOARD,
        "GET /api/current_deployment|Referer: http://{HOST}/|Sec-Fetch-Site: same-origin|X-Real-IP: 127.0.0.1",
        &[401],
    ),
    (BACKEND, "GET /api/check_admin_key|Authorization: Convex made-up", &[400, 401, 403, 404]),
];
/// Where to request a WebSocket.
const SOCKETS: [(&str, &str); 6] = [
    (PAGE, "/api/1.31.7/sync"),
    (BACKEND, "/api/1.31.7/sync"),
    (DASHBOARD, "/api/1.31.7/sync"),
    (GATEWAY, "/"),
    (OPENCODE, "/pty/pty_1/connect"),
    (MANAGER, "/api/terminal"),
];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("attacks");
    report.see("legitimate requests pass on every port", 60, legitimate(running)).await;
    report.see("a foreign Host is refused", 60, everywhere(running, NAMES)).await;
    report.see("malformed requests are refused", 60, everywhere(running, BYTES)).await;
    let paths = PATHS.split_whitespace().map(|path| (format!("GET {path}"), MALFORMED));
    report.see("ambiguous paths are refused", 60, everywhere(running, paths)).await;
    report.see("requests of other origins are refused", 60, origins(running)).await;
    let sites = SITES.map(|text| (text, FOREIGN));
    report.see("requests of other sites are refused", 60, everywhere(running, sites)).await;
    report.see("WebSockets of other origins are refused", 60, sockets(running)).await;
    report.see("what single ports refuse", 60, doors(running)).await;
    report.see("the Manager's sign-up is closed in every spelling", 60, sign_ups(running)).await;
    report.see("events from others than the gateway are refused", 60, events(running)).await;
}

/// A port, a request to it, and the accepted responses.
type Shot<'a> = (&'a str, String, Wanted);

enum Wanted {
    One(&'static [u16]),
    None(&'static [u16]),
}

impl Wanted {
    fn fits(&self, status: u16) -> bool {
        match self {
            Self::One(statuses) => statuses.contains(&status),
            Self::None(statuses) => status != 0 && !statuses.contains(&status),
        }
    }
}

/// Sends all requests, several at once, and fails with those that got another response.
async fn fire(running: &Running<'_>, shots: Vec<Shot<'_>>) -> anyhow::Result<usize> {
    let count = shots.len();
    let replies = futures_util::stream::iter(shots).map(|(setting, text, wanted)| async move {
        let bytes = raw::request(running, setting, &text)?;
        let reply = raw::send(running.address(setting)?, &bytes).await?;
        let leaked = leaked(running, &reply.text).next();
        if leaked.is_none() && wanted.fits(reply.status) {
            return Ok(None);
        }
        let asked = String::from_utf8_lossy(&bytes).trim_end().replace("\r\n", " | ");
        let what = leaked.map_or_else(|| reply.summary(), |name| format!("{name} in it"));
        anyhow::Ok(Some(format!("{setting} {asked:?}: {} {what}", reply.status)))
    });
    let wrong: Vec<Option<String>> = replies.buffer_unordered(16).try_collect().await?;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    ensure!(wrong.is_empty(), "{} of {count}: {}", wrong.len(), wrong.join("; "));
    Ok(count)
}

/// Sends requests to every port.
async fn everywhere<T: ToString>(
    running: &Running<'_>,
    attempts: impl IntoIterator<Item = (T, &'static [u16])> + Clone,
) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        let attempts = attempts.clone().into_iter();
        shots.extend(attempts.map(|(text, wanted)| (setting, text.to_string(), Wanted::One(wanted))));
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn legitimate(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        shots.extend(GOOD.map(|text| (setting, text.to_owned(), Wanted::None(&[400, 403, 421, 502]))));
    }
    Ok(format!("{} requests", fire(running, shots).await?))
}

async fn origins(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        for head in ASKS {
            let body = if head.starts_with("POST") { "||{}" } else { "" };
            let ask = |origin| format!("{head}|Origin: {origin}{body}");
            shots.extend(ORIGINS.map(|origin| (setting, ask(origin), Wanted::One(FOREIGN))));
        }
        let two = format!("{}|Origin: http://{{HOST}}|Origin: http://evil.example", ASKS[0]);
        shots.push((setting, two, Wanted::One(FOREIGN)));
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn sockets(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for (setting, path) in SOCKETS {
        let head = ASKS[2].replacen("GET /", &format!("GET {path}"), 1);
        shots.extend(ORIGINS.map(|origin| (setting, format!("{head}|Origin: {origin}"), Wanted::One(FOREIGN))));
        if path.ends_with("/sync") {
            shots.push((setting, format!("{head}|Origin: http://{{HOST}}"), Wanted::One(&[101])));
            // Another protocol to upgrade to.
            let other = head.replacen("Upgrade: websocket", "Upgrade: h2c|HTTP2-Settings: AAMAAABkAAQAAP__", 1);
            shots.push((setting, other, Wanted::None(&[101])));
            shots.push((setting, head, Wanted::One(&[101])));
        }
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn doors(running: &Running<'_>) -> anyhow::Result<String> {
    let shots = DOORS.map(|(setting, text, wanted)| (setting, text.to_owned(), Wanted::One(wanted)));
    Ok(format!("{} attempts", fire(running, shots.into()).await?))
}

fn post(path: &str, body: &str, more: &str) -> String {
    format!("POST {path}|Content-Type: application/json|Content-Length: {{LENGTH}}{more}||{body}")
}

async fn sign_ups(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for more in ["", "|Origin: http://{HOST}", "|X-Forwarded-For: 127.0.0.1|X-Real-IP: 127.0.0.1"] {
        let all = SIGN_UPS.split_whitespace();
        shots.extend(all.map(|path| (MANAGER, post(path, SIGN_UP, more), Wanted::One(&[400, 403, 404]))));
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn events(running: &Running<'_>) -> anyhow::Result<String> {
    let token = format!("|Authorization: Bearer {}", running.secret("MISSION_CONTROL_EVENT_TOKEN")?);
    let mut shots = Vec::new();
    for (setting, paths) in EVENTS {
        // Refused even with the token: only processes inside the container may send events.
        for more in ["", token.as_str()] {
            let all = paths.split_whitespace();
            shots.extend(all.map(|path| (setting, post(path, EVENT, more), Wanted::One(&[400, 403, 404, 405]))));
        }
    }
    let count = fire(running, shots).await?;
    for setting in CONVEX_PORTS {
        for (path, function) in MUTATIONS {
            let body = format!(r#"{{"path":"{function}","args":{EVENT},"format":"json"}}"#);
            let reply = raw::ask(running, setting, &post(path, &body, "")).await?;
            ensure!(reply.status != 0, "{setting} does not answer to {path}");
            ensure!(!reply.text.contains("success"), "{setting} {path} {function}: {}", reply.summary());
        }
    }
    // A public function succeeds, so the refusals above are not due to the form of the request.
    let query = post("/api/query", r#"{"path":"queries:listTasks","args":{"tenantId":"default"},"format":"json"}"#, "");
    let reply = raw::ask(running, CONVEX_PORTS[0], &query).await?;
    ensure!(reply.body().contains("success"), "a public function gets {}", reply.summary());
    Ok(format!("{} attempts", count + CONVEX_PORTS.len() * MUTATIONS.len()))
}
