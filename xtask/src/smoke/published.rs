//! A stack that is published beyond the loopback, with an echo server in place of slow programs; and signing in to it.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::raw::{Reply, ask};
use super::running::{Bench, LLAMA, Running};
use crate::engine::container::{Options, Volume};
use crate::io::files;

/// The echo server, which replaces the programs of these services.
const ECHO: &str = include_str!("echo.js");
pub(super) const ECHOES: [&str; 4] = ["llamacpp", "manager", "opencode", "openclaw"];
/// The port of one of them.
pub(super) const ECHO_PORT: &str = LLAMA;
pub(super) const COOKIE: &str = "mission_control_session";

/// Starts a stack that is published on all addresses, with an echo server in place of slow programs.
pub(super) async fn start<'a>(
    bench: &'a Bench<'_>,
    volume: &Volume,
    more: &[(&str, &str)],
    mount: Option<String>,
) -> anyhow::Result<Running<'a>> {
    let file = bench.scratch.join("echo.js");
    fs_err::write(&file, ECHO)?;
    files::make_executable(&file)?;
    let echo = |name| format!("type=bind,source={},target=/opt/stack/run/{name},readonly", file.display());
    let change = |options: &mut Options| {
        options.everywhere = true;
        options.mounts.extend(mount.into_iter().chain(ECHOES.map(echo)));
    };
    let running = bench.start_with(volume, more, change).await?;
    running.settled().await?;
    Ok(running)
}

pub(super) async fn send_form(running: &Running<'_>, setting: &str, password: &str, to: &str) -> anyhow::Result<Reply> {
    let head = "POST /_stack/sign-in|Origin: http://{HOST}|Content-Type: application/x-www-form-urlencoded";
    ask(running, setting, &format!("{head}|Content-Length: {{LENGTH}}||password={password}&to={to}")).await
}

/// Signs in, and returns the value of the session's cookie.
pub(super) async fn sign_in(running: &Running<'_>, setting: &str) -> anyhow::Result<String> {
    let reply = send_form(running, setting, running.secret("ACCESS_PASSWORD")?, "/").await?;
    ensure!(reply.status == 303, "the password gets {}", reply.summary());
    let set = reply.header("set-cookie").context("it sets no cookie")?;
    let value = set.strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('=')?.split(';').next());
    value.map(str::to_owned).with_context(|| format!("another cookie: {set}"))
}

/// The request as the program behind the front got it.
pub(super) async fn echo(running: &Running<'_>, text: &str) -> anyhow::Result<Value> {
    let reply = ask(running, ECHO_PORT, text).await?;
    ensure!(reply.status == 200, "{text:?}: {}", reply.summary());
    serde_json::from_str(reply.body()).with_context(|| format!("no echo: {}", reply.summary()))
}
