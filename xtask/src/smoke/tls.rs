//! TLS on every port, a trusted proxy, and a certificate that is renewed while all services run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use reqwest::{Client, StatusCode};

use super::browser;
use super::published::{self, ask};
use super::report::Report;
use super::running::{Bench, PAGE, Running, until};
use crate::engine::container::Volume;

/// Two certificates and keys for the loopback, made for this test.
const FIRST: [&str; 2] =
    [include_str!("../../testdata/tls/first.cert.pem"), include_str!("../../testdata/tls/first.key.pem")];
const SECOND: [&str; 2] =
    [include_str!("../../testdata/tls/second.cert.pem"), include_str!("../../testdata/tls/second.key.pem")];
const NAME: &str = "mc.example.org";
const SIGN_IN: &str = "/_stack/sign-in";

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>) -> anyhow::Result<()> {
    report.group("tls");
    let files = Files::new(bench.scratch)?;
    let volume = Volume::create(bench.docker, &[]).await?;
    let more = [
        ("TLS_CERT_FILE", "/tls/cert.pem".to_owned()),
        ("TLS_KEY_FILE", "/tls/key.pem".to_owned()),
        ("ALLOWED_HOSTS", NAME.to_owned()),
        ("TRUSTED_PROXIES", "gateway".to_owned()),
    ];
    let mount = format!("type=bind,source={},target=/tls,readonly", files.0.display());
    let starting = published::start(bench, &volume, &more, Some(mount));
    let Some(mut running) = report.check("it starts with a certificate", 240, starting, |_| String::new()).await else {
        return Ok(());
    };
    running.secrets = running.read_secrets().await?;
    report.see("every port serves the certificate", 30, served(&running, "first")).await;
    report.see("plain HTTP is redirected to HTTPS", 20, plain(&running)).await;
    report.see("only a trusted proxy's headers are used", 20, proxy(&running)).await;
    if let Some(program) = browser::page::find() {
        let name = "a browser signs in, and the pages work";
        report.see(name, 90, browser::signed_in(&running, bench.output, &program)).await;
    }
    report.see("a renewed certificate is loaded once both files match", 60, renewed(&running, &files)).await;
    Ok(())
}

/// The mounted folder.
struct Files(PathBuf);

impl Files {
    fn new(scratch: &Path) -> anyhow::Result<Self> {
        let files = Self(scratch.join("tls"));
        fs_err::create_dir_all(&files.0)?;
        for (name, text) in [("cert", FIRST[0]), ("key", FIRST[1]), ("first", FIRST[0]), ("second", SECOND[0])] {
            files.write(name, text)?;
        }
        fs_err::set_permissions(&files.0, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(files)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.0.join(format!("{name}.pem"));
        fs_err::write(&file, text)?;
        Ok(fs_err::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?)
    }
}

/// Requests every port from inside, with a client that trusts that certificate only.
async fn served(running: &Running<'_>, name: &str) -> anyhow::Result<String> {
    let authority = format!("/tls/{name}.pem");
    let mut count = 0;
    for endpoint in running.bench.stack.endpoints() {
        let address = format!("https://127.0.0.1:{}{SIGN_IN}", running.port(&endpoint.setting)?);
        let curl = ["curl", "--silent", "--fail", "--output", "/dev/null", "--cacert", &authority, &address];
        let ended = running.container.try_exec(&curl).await?;
        ensure!(ended.code == 0, "{}: curl ended with {} {}", endpoint.setting, ended.code, ended.output);
        count += 1;
    }
    Ok(format!("{count} ports"))
}

async fn plain(running: &Running<'_>) -> anyhow::Result<String> {
    let reply = ask(running, PAGE, "GET /a?b=c HTTP/1.1|Host: {HOST}").await?;
    let wanted = format!("https://127.0.0.1:{}/a?b=c", running.port(PAGE)?);
    ensure!(reply.status == 308 && reply.header("location") == Some(&wanted), "{}", reply.summary());
    let foreign = ask(running, PAGE, "GET / HTTP/1.1|Host: evil.example").await?;
    ensure!(foreign.status == 421, "for a foreign name: {}", foreign.summary());
    Ok("308, and 421 for a foreign name".to_owned())
}

/// This machine is the gateway that the settings trust; a process inside is not.
async fn proxy(running: &Running<'_>) -> anyhow::Result<String> {
    // An earlier check has verified its certificate.
    let web =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).danger_accept_invalid_certs(true);
    let web = web.build()?;
    let address = format!("https://127.0.0.1:{}{SIGN_IN}", running.port(PAGE)?);
    for (host, wanted) in [(NAME, StatusCode::OK), ("evil.example", StatusCode::MISDIRECTED_REQUEST)] {
        let status = web.get(&address).header("x-forwarded-host", host).send().await?.status();
        ensure!(status == wanted, "with `X-Forwarded-Host: {host}` it gets {status}");
    }
    let form = [("password", running.secret("ACCESS_PASSWORD")?), ("to", "/")];
    let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    let sent = web.post(&address).header("x-forwarded-host", NAME).header("origin", format!("https://{NAME}"));
    let sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body).send().await?;
    let cookie = sent.headers().get("set-cookie").context("the password sets no cookie")?.to_str()?.to_owned();
    ensure!(sent.status() == StatusCode::SEE_OTHER && cookie.ends_with("; Secure"), "{}: {cookie}", sent.status());
    let inside = ["curl", "--silent", "--insecure", "--output", "/dev/null", "--write-out", "%{http_code}"];
    let lie = ["--header", "Host: evil.example", "--header", "X-Forwarded-Host: mc.example.org", &address];
    let code = running.container.exec(&[&inside[..], &lie[..]].concat()).await?;
    ensure!(code.trim() == "421", "a process inside with that header gets {code}");
    Ok("and the session's cookie is for https only".to_owned())
}

async fn renewed(running: &Running<'_>, files: &Files) -> anyhow::Result<String> {
    files.write("cert", SECOND[0])?;
    until(|| async { Ok(running.container.exec(&["status"]).await?.contains("TLS_KEY_FILE").then_some(())) })
        .await
        .context("status does not say that they do not fit")?;
    served(running, "first").await.context("half renewed")?;
    files.write("key", SECOND[1])?;
    until(|| async { Ok(served(running, "second").await.ok()) }).await?;
    Ok("the former pair until then".to_owned())
}
