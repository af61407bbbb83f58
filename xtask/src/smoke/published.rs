//! A stack that is published beyond the loopback, with an echo server in place of slow programs; and signing in to it.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::raw::{self, Reply};
use super::running::{Bench, Running, until};
use crate::engine::container::Volume;

/// The echo server, which replaces the programs of these services.
const ECHO: &str = include_str!("echo.js");
pub(super) const ECHOES: [&str; 4] = ["llamacpp", "manager", "opencode", "openclaw"];
/// The port of one of them.
pub(super) const ECHO_PORT: &str = "LLAMACPP_PORT";
pub(super) const COOKIE: &str = "mission_control_session";

/// Starts a stack that is published on all addresses, with an echo server in place of slow programs.
pub(super) async fn start<'a>(
    bench: &'a Bench<'_>,
    volume: &Volume,
    more: &[(&str, String)],
    mount: Option<String>,
) -> anyhow::Result<Running<'a>> {
    let file = bench.scratch.join("echo.js");
    fs_err::write(&file, ECHO)?;
    fs_err::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let ports = bench.moved_ports()?;
    let mut options = bench.options(&ports, more);
    options.everywhere = true;
    options.mounts.extend(mount);
    let echo = |name| format!("type=bind,source={},target=/opt/stack/run/{name},readonly", file.display());
    options.mounts.extend(ECHOES.map(echo));
    let running = bench.launch(volume, ports, options).await?;
    wait(&running).await?;
    Ok(running)
}

pub(super) async fn wait(running: &Running<'_>) -> anyhow::Result<()> {
    until(|| async { Ok((running.container.try_exec(&["status", "--check"]).await?.code == 0).then_some(())) }).await
}

pub(super) fn address(running: &Running<'_>, setting: &str) -> anyhow::Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], running.port(setting)?)))
}

/// Sends a request in the form of [`raw::request`].
pub(super) async fn ask(running: &Running<'_>, setting: &str, text: &str) -> anyhow::Result<Reply> {
    let address = address(running, setting)?;
    raw::send(address, &raw::request(text, &[("HOST", &address.to_string())])).await
}

/// Sends the sign-in form.
pub(super) async fn send_form(running: &Running<'_>, setting: &str, password: &str, to: &str) -> anyhow::Result<Reply> {
    let head = "POST /_stack/sign-in HTTP/1.1|Host: {HOST}|Origin: http://{HOST}|Content-Type: application/x-www-form-urlencoded";
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
