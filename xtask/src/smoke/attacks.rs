//! Attacks by a web page or another machine, as raw requests, and the expected responses. The requests are in the form
//! of `raw::request`, where `|` ends a line. Placeholders: HOST and PORT of the attacked port, OTHER for the port of
//! another service.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;

use super::raw::{self, Reply};
use super::report::Report;
use super::running::Running;
use super::security::needles;

/// A request and the accepted statuses.
type Attempt = (&'static str, &'static [u16]);
/// The same, for one port.
type Door = (&'static str, &'static str, &'static [u16]);

/// The front's statuses of refusal, by reason.
const NAME: &[u16] = &[421];
const MALFORMED: &[u16] = &[400];
const ODD: &[u16] = &[400];
const FOREIGN: &[u16] = &[403];
const CLOSED: &[u16] = &[403, 404, 405];
/// Behind the front, each program requires its credential.
const NOBODY: &[u16] = &[401, 403, 404, 405];

/// Host names that are not the stack's: DNS rebinding, and spellings that another program may parse differently.
const NAMES: [Attempt; 41] = [
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
const BYTES: [Attempt; 19] = [
    ("POST / HTTP/1.1|Host: {HOST}|Content-Length: 4|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding: chunked|Content-Length: 4||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding: xchunked||0\r\n\r\n", &[400, 501]),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding: chunked, identity||0\r\n\r\n", &[400, 501]),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding: identity|Transfer-Encoding: chunked||0\r\n\r\n", &[400, 501]),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding : chunked||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Transfer-Encoding: chunked|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.0|Host: {HOST}|Transfer-Encoding: chunked||0\r\n\r\n", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Content-Length: 4|Content-Length: 5||abcde", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Content-Length: +4||abcd", MALFORMED),
    ("POST / HTTP/1.1|Host: {HOST}|Content-Length: -1||", MALFORMED),
    ("GET / HTTP/1.1|Host: {HOST}|X-A: a\0b", MALFORMED),
    ("GET /\0 HTTP/1.1|Host: {HOST}", MALFORMED),
    ("GET / x HTTP/1.1|Host: {HOST}", MALFORMED),
    ("get / HTTP/1.1|Host: {HOST}", MALFORMED),
    ("PRI * HTTP/2.0||SM\r\n\r\n", &[400, 505]),
    ("GET / HTTP/2.0|Host: {HOST}", &[400, 505]),
    ("CONNECT evil.example:443 HTTP/1.1|Host: {HOST}", &[400, 405]),
    ("TRACE / HTTP/1.1|Host: {HOST}", &[405]),
];

/// Paths that two programs may resolve differently.
const PATHS: [Attempt; 26] = [
    ("GET /a\\b HTTP/1.1|Host: {HOST}", ODD),
    ("GET \\a HTTP/1.1|Host: {HOST}", ODD),
    ("GET /\\evil.example HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%5cb HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%5Cb HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/../b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/./b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/.. HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/.?b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /../a HTTP/1.1|Host: {HOST}", ODD),
    ("GET //../a HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/%2e%2e/b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/.%2E/b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/%2e/b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/..%2fb HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%2f..%2fb HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%2F%2e%2e%2Fb HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/..#b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a#/../b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a#b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a/..;/b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%00b HTTP/1.1|Host: {HOST}", ODD),
    ("GET /a%zzb HTTP/1.1|Host: {HOST}", ODD),
    ("GET * HTTP/1.1|Host: {HOST}", ODD),
    ("GET a HTTP/1.1|Host: {HOST}", ODD),
    ("GET http://{HOST}/a\\b HTTP/1.1|Host: {HOST}", ODD),
];

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
    "GET / HTTP/1.1|Host: {HOST}",
    "POST / HTTP/1.1|Host: {HOST}|Content-Length: 2",
    "GET / HTTP/1.1|Host: {HOST}|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Version: 13|Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
];

/// Fetch metadata that a browser sends for pages of other sites, also in requests without an Origin.
const SITES: [Attempt; 14] = [
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: image", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: cors|Sec-Fetch-Dest: empty", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: object", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: websocket", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script", FOREIGN),
    ("GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe", FOREIGN),
    (
        "POST / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Content-Length: 0",
        FOREIGN,
    ),
    (
        "POST / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Content-Length: 0",
        FOREIGN,
    ),
    (
        "POST / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: no-cors|Content-Type: text/plain|Content-Length: 2||{}",
        FOREIGN,
    ),
    (
        "OPTIONS / HTTP/1.1|Host: {HOST}|Origin: http://evil.example|Access-Control-Request-Method: PUT|Access-Control-Request-Private-Network: true",
        FOREIGN,
    ),
];

/// Requests of people and programs, which the front must pass on: any status of the program behind it counts.
const GOOD: [&str; 14] = [
    "GET / HTTP/1.1|Host: {HOST}",
    "GET / HTTP/1.0|Host: {HOST}",
    "GET / HTTP/1.1|Host: localhost:{PORT}",
    "GET / HTTP/1.1|Host: [::1]:{PORT}",
    "GET / HTTP/1.1|Host: 127.0.0.1",
    "GET http://{HOST}/ HTTP/1.1|Host: {HOST}",
    "GET / HTTP/1.1|Host: {HOST}|Origin: http://{HOST}|Sec-Fetch-Site: same-origin|Sec-Fetch-Mode: cors",
    "GET / HTTP/1.1|Host: localhost:{PORT}|Origin: http://localhost:{PORT}",
    "GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: none|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
    "GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
    "GET / HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
    "GET /?a=..%2f..%5c/../\\b HTTP/1.1|Host: {HOST}",
    "GET /a/.well-known/...b HTTP/1.1|Host: {HOST}",
    "GET /a%20b/%C3%A4 HTTP/1.1|Host: {HOST}",
];

const SIGN_UP: &str = r#"{"email":"attacker@evil.example","password":"long enough","name":"Attacker"}"#;
const EVENT: &str = r#"{"runId":"attack","action":"start","prompt":"attack","sessionKey":"attack"}"#;
/// Paths of the Manager that accept, or could accept, a sign-up.
const SIGN_UPS: [&str; 16] = [
    "/api/auth/sign-up/email",
    "/api/auth\\sign-up/email",
    "/api\\auth\\sign-up\\email",
    "/api/auth%5csign-up/email",
    "/api/auth//sign-up/email",
    "//api/auth/sign-up/email",
    "/api/auth/./sign-up/email",
    "/api/auth/sign-in/../sign-up/email",
    "/api/auth/passkey/../sign-up/email",
    "/api/auth/passkey/%2e%2e/sign-up/email",
    "/api/auth/sign%2Dup/email",
    "/api/%61uth/sign-up/email",
    "/api%2Fauth/sign-up/email",
    "/api/auth%2Fsign-up%2Femail",
    "/api/auth/sign-up/email/",
    "/api/auth/sign-up/email?x=/api/auth/sign-in/email",
];
/// The endpoints for events of the gateway's plugin, which must refuse all other clients.
const EVENTS: [(&str, &str); 15] = [
    ("CONVEX_SITE_PORT", "/openclaw/event"),
    ("CONVEX_SITE_PORT", "//openclaw/event"),
    ("CONVEX_SITE_PORT", "/openclaw//event"),
    ("CONVEX_SITE_PORT", "/openclaw/%65vent"),
    ("CONVEX_SITE_PORT", "/openclaw%2fevent"),
    ("CONVEX_SITE_PORT", "/x/../openclaw/event"),
    ("CONVEX_SITE_PORT", "/.well-known/../openclaw/event"),
    ("CONVEX_BACKEND_PORT", "/http/openclaw/event"),
    ("CONVEX_BACKEND_PORT", "/http//openclaw/event"),
    ("CONVEX_BACKEND_PORT", "/%68ttp/openclaw/event"),
    ("CONVEX_BACKEND_PORT", "/http/openclaw/event?x"),
    ("MISSION_CONTROL_PORT", "/http/openclaw/event"),
    ("MISSION_CONTROL_PORT", "/api/../http/openclaw/event"),
    ("CONVEX_DASHBOARD_PORT", "/http/openclaw/event"),
    ("CONVEX_DASHBOARD_PORT", "/api\\..\\http/openclaw/event"),
];
/// Calls of the mutation behind the events.
const MUTATIONS: [(&str, &str); 5] = [
    ("/api/mutation", "openclaw:receiveAgentEvent"),
    ("/api/mutation", "openclaw.js:receiveAgentEvent"),
    ("/api/function", "openclaw:receiveAgentEvent"),
    ("/api/action", "openclaw:receiveAgentEvent"),
    ("/api/run/openclaw/receiveAgentEvent", ""),
];
const CONVEX_PORTS: [&str; 3] = ["CONVEX_BACKEND_PORT", "MISSION_CONTROL_PORT", "CONVEX_DASHBOARD_PORT"];

/// Requests that single ports must refuse, from programs without a credential and from other pages.
const DOORS: [Door; 31] = [
    (
        "MANAGER_PORT",
        "POST /api/auth/sign-in/email HTTP/1.1|Host: {HOST}|Origin: http://{HOST}|X-Original-URL: /api/auth/sign-up/email|X-Rewrite-URL: /api/auth/sign-up/email|Content-Type: application/json|Content-Length: {LENGTH}||{\"email\":\"attacker@evil.example\",\"password\":\"long enough\",\"name\":\"A\"}",
        &[400, 401, 403],
    ),
    (
        "MANAGER_PORT",
        "PUT /api/auth/sign-in/email HTTP/1.1|Host: {HOST}|X-HTTP-Method-Override: POST|Content-Length: 0",
        NOBODY,
    ),
    ("MANAGER_PORT", "GET /api/repos HTTP/1.1|Host: {HOST}|X-Original-URL: /api/health|X-Signed-In: 1", NOBODY),
    ("MANAGER_PORT", "GET /api/auth/admin/list-users HTTP/1.1|Host: {HOST}", CLOSED),
    ("MANAGER_PORT", "POST /api/auth/reset-password HTTP/1.1|Host: {HOST}|Content-Length: 0", CLOSED),
    ("OPENCODE_PORT", "GET /session HTTP/1.1|Host: {HOST}", &[401]),
    ("OPENCODE_PORT", "POST /pty HTTP/1.1|Host: {HOST}|Content-Length: 2||{}", &[401]),
    (
        "OPENCODE_PORT",
        "POST /pty HTTP/1.1|Host: {HOST}|Origin: http://127.0.0.1:{OTHER}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Content-Length: 2||{}",
        FOREIGN,
    ),
    (
        "OPENCODE_PORT",
        "POST /pty HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Content-Length: 2||{}",
        NOBODY,
    ),
    (
        "OPENCODE_PORT",
        "GET /session HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script",
        NOBODY,
    ),
    (
        "OPENCODE_PORT",
        "GET /session HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: iframe",
        NOBODY,
    ),
    (
        "OPENCODE_PORT",
        "GET /session HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document",
        NOBODY,
    ),
    ("OPENCODE_PORT", "GET /session HTTP/1.1|Host: {HOST}|Referer: http://{HOST}/", NOBODY),
    ("OPENCODE_PORT", "GET /session HTTP/1.1|Host: {HOST}|X-Signed-In: 1|X-Near: 1|Cookie: signed_in=1", NOBODY),
    ("LLAMACPP_PORT", "GET /slots HTTP/1.1|Host: {HOST}", &[401, 501]),
    ("LLAMACPP_PORT", "POST /v1/chat/completions HTTP/1.1|Host: {HOST}|Content-Length: 2||{}", &[401]),
    (
        "LLAMACPP_PORT",
        "POST /v1/chat/completions HTTP/1.1|Host: {HOST}|Sec-Fetch-Site: cross-site|Sec-Fetch-Mode: navigate|Sec-Fetch-Dest: document|Content-Length: 2||{}",
        FOREIGN,
    ),
    ("OPENCLAW_PORT", "POST /v1/chat/completions HTTP/1.1|Host: {HOST}|Content-Length: 2||{}", NOBODY),
    ("OPENCLAW_PORT", "POST /hooks/agent HTTP/1.1|Host: {HOST}|Content-Length: 2||{}", &[401]),
    (
        "MISSION_CONTROL_PORT",
        "POST /hooks/agent HTTP/1.1|Host: {HOST}|Authorization: Bearer |Content-Type: application/json|Content-Length: 2||{}",
        &[401],
    ),
    (
        "MISSION_CONTROL_PORT",
        "POST /hooks/agent HTTP/1.1|Host: {HOST}|Authorization: Bearer |Origin: http://{HOST}|Content-Length: 2||{}",
        &[401],
    ),
    (
        "MISSION_CONTROL_PORT",
        "POST /hooks/agent HTTP/1.1|Host: {HOST}|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-site|Content-Length: 2||{}",
        FOREIGN,
    ),
    (
        "MISSION_CONTROL_PORT",
        "POST /hooks/agent HTTP/1.1|Host: {HOST}|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-origin|Via: 1.1 proxy|Content-Length: 2||{}",
        &[401],
    ),
    (
        "MISSION_CONTROL_PORT",
        "POST /hooks/agent HTTP/1.1|Host: {HOST}|Authorization: Bearer |Origin: http://{HOST}|Sec-Fetch-Site: same-origin|X-Forwarded-For: 127.0.0.1|Content-Length: 2||{}",
        &[401],
    ),
    ("MISSION_CONTROL_PORT", "GET /_stack/access HTTP/1.1|Host: {HOST}|X-Near: 1", &[404]),
    ("CONVEX_DASHBOARD_PORT", "GET /api/current_deployment HTTP/1.1|Host: {HOST}", &[404]),
    ("CONVEX_DASHBOARD_PORT", "GET /api//current_deployment HTTP/1.1|Host: {HOST}|X-Signed-In: 1", &[404]),
    ("CONVEX_DASHBOARD_PORT", "GET /api/%63urrent_deployment HTTP/1.1|Host: {HOST}|Referer: http://{HOST}/", &[404]),
    (
        "CONVEX_DASHBOARD_PORT",
        "GET /api/current_deployment HTTP/1.1|Host: {HOST}|Referer: http://127.0.0.1:{OTHER}/|Sec-Fetch-Site: same-site|Sec-Fetch-Mode: no-cors|Sec-Fetch-Dest: script",
        FOREIGN,
    ),
    (
        "CONVEX_DASHBOARD_PORT",
        "GET /api/current_deployment HTTP/1.1|Host: {HOST}|Referer: http://{HOST}/|Sec-Fetch-Site: same-origin|X-Real-IP: 127.0.0.1",
        &[401],
    ),
    (
        "CONVEX_BACKEND_PORT",
        "GET /api/check_admin_key HTTP/1.1|Host: {HOST}|Authorization: Convex made-up",
        &[400, 401, 403, 404],
    ),
];
/// Where to request a WebSocket.
const SOCKETS: [(&str, &str); 6] = [
    ("MISSION_CONTROL_PORT", "/api/1.31.7/sync"),
    ("CONVEX_BACKEND_PORT", "/api/1.31.7/sync"),
    ("CONVEX_DASHBOARD_PORT", "/api/1.31.7/sync"),
    ("OPENCLAW_PORT", "/"),
    ("OPENCODE_PORT", "/pty/pty_1/connect"),
    ("MANAGER_PORT", "/api/terminal"),
];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>) {
    report.group("attacks");
    report.see("legitimate requests pass on every port", 60, legitimate(running)).await;
    report.see("a foreign Host is refused", 60, everywhere(running, &NAMES)).await;
    report.see("malformed requests are refused", 60, everywhere(running, &BYTES)).await;
    report.see("ambiguous paths are refused", 60, everywhere(running, &PATHS)).await;
    report.see("requests of other origins are refused", 60, origins(running)).await;
    report.see("requests of other sites are refused", 60, everywhere(running, &SITES)).await;
    report.see("WebSockets of other origins are refused", 60, sockets(running)).await;
    report.see("what single ports refuse", 60, doors(running)).await;
    report.see("the Manager's sign-up is closed in every spelling", 60, sign_ups(running)).await;
    report.see("events from others than the gateway are refused", 60, events(running)).await;
}

/// A request that is ready to send, and its expected end.
struct Shot {
    address: SocketAddr,
    port: String,
    bytes: Vec<u8>,
    wanted: Wanted,
}

/// The accepted responses.
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

fn shot(running: &Running<'_>, setting: &str, text: &str, wanted: Wanted) -> anyhow::Result<Shot> {
    let port = running.port(setting)?;
    let other = running.settings().find(|it| *it != setting).context("there is one port only")?;
    let (host, number, other) = (format!("127.0.0.1:{port}"), port.to_string(), running.port(other)?.to_string());
    let bytes = raw::request(text, &[("HOST", &host), ("PORT", &number), ("OTHER", &other)]);
    Ok(Shot { address: SocketAddr::from(([127, 0, 0, 1], port)), port: setting.to_owned(), bytes, wanted })
}

/// Sends all requests, several at once, and fails with those that got another response.
async fn fire(running: &Running<'_>, shots: Vec<Shot>) -> anyhow::Result<usize> {
    let count = shots.len();
    let replies = futures_util::stream::iter(shots).map(|shot| async move {
        let reply = raw::send(shot.address, &shot.bytes).await;
        (shot, reply)
    });
    let replies: Vec<_> = replies.buffer_unordered(16).collect().await;
    let mut wrong = Vec::new();
    for (shot, reply) in replies {
        let reply: Reply = reply?;
        let leaked = needles(&running.secrets).into_iter().find(|(_, value)| reply.text.contains(value));
        if leaked.is_some() || !shot.wanted.fits(reply.status) {
            let asked = String::from_utf8_lossy(&shot.bytes).trim_end().replace("\r\n", " | ");
            let what = leaked.map_or_else(|| reply.summary(), |(name, _)| format!("{name} in it"));
            wrong.push(format!("{} {asked:?}: {} {what}", shot.port, reply.status));
        }
    }
    ensure!(wrong.is_empty(), "{} of {count}: {}", wrong.len(), wrong.join("; "));
    Ok(count)
}

async fn everywhere(running: &Running<'_>, attempts: &[Attempt]) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        for (text, wanted) in attempts {
            shots.push(shot(running, setting, text, Wanted::One(wanted))?);
        }
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn legitimate(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        for text in GOOD {
            shots.push(shot(running, setting, text, Wanted::None(&[400, 403, 421, 502]))?);
        }
    }
    Ok(format!("{} requests", fire(running, shots).await?))
}

async fn origins(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for setting in running.settings() {
        for origin in ORIGINS {
            for head in ASKS {
                let body = if head.starts_with("POST") { "||{}" } else { "" };
                shots.push(shot(running, setting, &format!("{head}|Origin: {origin}{body}"), Wanted::One(FOREIGN))?);
            }
        }
        let two = format!("{}|Origin: http://{{HOST}}|Origin: http://evil.example", ASKS[0]);
        shots.push(shot(running, setting, &two, Wanted::One(FOREIGN))?);
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn sockets(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for (setting, path) in SOCKETS {
        let head = ASKS[2].replacen("GET / ", &format!("GET {path} "), 1);
        for origin in ORIGINS {
            shots.push(shot(running, setting, &format!("{head}|Origin: {origin}"), Wanted::One(FOREIGN))?);
        }
        if path.ends_with("/sync") {
            shots.push(shot(running, setting, &format!("{head}|Origin: http://{{HOST}}"), Wanted::One(&[101]))?);
            shots.push(shot(running, setting, &head, Wanted::One(&[101]))?);
            // Another protocol to upgrade to.
            let other = head.replacen("Upgrade: websocket", "Upgrade: h2c|HTTP2-Settings: AAMAAABkAAQAAP__", 1);
            shots.push(shot(running, setting, &other, Wanted::None(&[101]))?);
        }
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn doors(running: &Running<'_>) -> anyhow::Result<String> {
    let shots: Result<Vec<Shot>, _> =
        DOORS.iter().map(|(setting, text, wanted)| shot(running, setting, text, Wanted::One(wanted))).collect();
    Ok(format!("{} attempts", fire(running, shots?).await?))
}

fn post(path: &str, body: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1|Host: {{HOST}}|Content-Type: application/json|Content-Length: {{LENGTH}}{more}||{body}"
    )
}

async fn sign_ups(running: &Running<'_>) -> anyhow::Result<String> {
    let mut shots = Vec::new();
    for path in SIGN_UPS {
        for more in ["", "|Origin: http://{HOST}", "|X-Forwarded-For: 127.0.0.1|X-Real-IP: 127.0.0.1"] {
            shots.push(shot(running, "MANAGER_PORT", &post(path, SIGN_UP, more), Wanted::One(&[400, 403, 404]))?);
        }
    }
    Ok(format!("{} attempts", fire(running, shots).await?))
}

async fn events(running: &Running<'_>) -> anyhow::Result<String> {
    let token = format!("|Authorization: Bearer {}", running.secret("MISSION_CONTROL_EVENT_TOKEN")?);
    let mut shots = Vec::new();
    for (setting, path) in EVENTS {
        // Refused even with the token: only processes inside the container may send events.
        for more in ["", token.as_str()] {
            shots.push(shot(running, setting, &post(path, EVENT, more), Wanted::One(&[400, 403, 404, 405]))?);
        }
    }
    let count = fire(running, shots).await?;
    for setting in CONVEX_PORTS {
        for (path, function) in MUTATIONS {
            let body = format!(r#"{{"path":"{function}","args":{EVENT},"format":"json"}}"#);
            let shot = shot(running, setting, &post(path, &body, ""), Wanted::One(&[]))?;
            let reply = raw::send(shot.address, &shot.bytes).await?;
            ensure!(reply.status != 0, "{setting} does not answer to {path}");
            ensure!(!reply.text.contains("success"), "{setting} {path} {function}: {}", reply.summary());
        }
    }
    // A public function succeeds, so the refusals above are not due to the form of the request.
    let query = post("/api/query", r#"{"path":"queries:listTasks","args":{"tenantId":"default"},"format":"json"}"#, "");
    let query = shot(running, CONVEX_PORTS[0], &query, Wanted::One(&[200]))?;
    let reply = raw::send(query.address, &query.bytes).await?;
    ensure!(reply.body().contains("success"), "a public function gets {}", reply.summary());
    Ok(format!("{} attempts", count + CONVEX_PORTS.len() * MUTATIONS.len()))
}
