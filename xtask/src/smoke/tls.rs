//! TLS on every port, a trusted proxy, and a certificate that is renewed while all services run.

use std::path::Path;

use anyhow::{Context as _, ensure};
use reqwest::{Client, StatusCode};

use super::browser;
use super::published;
use super::raw::ask;
use super::report::Report;
use super::running::{Bench, PAGE, Running, until};
use crate::engine::container::{Ended, Volume};
use crate::io::files;

/// Two certificates and keys for the loopback, made for this test.
const FIRST: [&str; 2] =
    [include_str!("../../testdata/tls/first.cert.pem"), include_str!("../../testdata/tls/first.key.pem")];
const SECOND: [&str; 2] =
    [include_str!("../../testdata/tls/second.cert.pem"), include_str!("../../testdata/tls/second.key.pem")];
const NAME: &str = "mc.example.org";
const SIGN_IN: &str = "/_stack/sign-in";

pub(super) async fn prove(report: &mut Report, bench: &Bench<'_>) -> anyhow::Result<()> {
    report.group("tls");
    let folder = bench.scratch.join("tls");
    fs_err::create_dir_all(&folder)?;
    // The container's user opens files in it.
    files::make_executable(&folder)?;
    for (name, text) in [("cert", FIRST[0]), ("key", FIRST[1]), ("first", FIRST[0]), ("second", SECOND[0])] {
        write(&folder, name, text)?;
    }
    let volume = Volume::create(bench.docker, &[]).await?;
    let more = [
        ("TLS_CERT_FILE", "/tls/cert.pem"),
        ("TLS_KEY_FILE", "/tls/key.pem"),
        ("ALLOWED_HOSTS", NAME),
        ("TRUSTED_PROXIES", "gateway"),
    ];
    let mount = format!("type=bind,source={},target=/tls,readonly", folder.display());
    let starting = published::start(bench, &volume, &more, Some(mount));
    let Some(mut running) = report.check("it starts with a certificate", 240, starting, |_| String::new()).await else {
        return Ok(());
    };
    running.secrets = running.read_secrets().await?;
    report.see("every port serves the certificate", 30, served(&running, "first")).await;
    report.see("plain HTTP is redirected to HTTPS", 20, plain(&running)).await;
    report.see("only a trusted proxy's headers are used", 20, proxy(&running)).await;
    if browser::page::find().is_some() {
        report.keep("a browser signs in, and the pages work", 90, browser::sign_in(&running)).await;
    }
    report.see("a renewed certificate is loaded once both files match", 60, renewed(&running, &folder)).await;
    Ok(())
}

/// Writes a file that the container's user can read.
fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let file = folder.join(format!("{name}.pem"));
    fs_err::write(&file, text)?;
    files::set_executable(&file, false)
}

/// Requests every port from inside, with a client that trusts that certificate only.
async fn served(running: &Running<'_>, name: &str) -> anyhow::Result<String> {
    let authority = format!("/tls/{name}.pem");
    let mut count = 0;
    for setting in running.settings() {
        let address = format!("{}{SIGN_IN}", running.origin(setting)?);
        let curl = ["curl", "--silent", "--fail", "--output", "/dev/null", "--cacert", &authority, &address];
        let Ended { code, output } = running.container.try_exec(&curl).await?;
        ensure!(code == 0, "{setting}: curl ended with {code} {output}");
        count += 1;
    }
    Ok(format!("{count} ports"))
}

async fn plain(running: &Running<'_>) -> anyhow::Result<String> {
    let reply = ask(running, PAGE, "GET /a?b=c").await?;
    let wanted = format!("{}/a?b=c", running.origin(PAGE)?);
    ensure!(reply.status == 308 && reply.header("location") == Some(&wanted), "{}", reply.summary());
    let foreign = ask(running, PAGE, "GET / HTTP/1.1|Host: evil.example").await?;
    ensure!(foreign.status == 421, "for a foreign name: {}", foreign.summary());
    Ok("308, and 421 for a foreign name".to_owned())
}

/// This machine is the gateway that the settings trust; a process inside is not.
async fn proxy(running: &Running<'_>) -> anyhow::Result<String> {
    // An earlier check has verified its certificate.
    let web = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let web = web.danger_accept_invalid_certs(true).build()?;
    let address = format!("{}{SIGN_IN}", running.origin(PAGE)?);
    for (host, wanted) in [(NAME, StatusCode::OK), ("evil.example", StatusCode::MISDIRECTED_REQUEST)] {
        let status = web.get(&address).header("x-forwarded-host", host).send().await?.status();
        ensure!(status == wanted, "with `X-Forwarded-Host: {host}` it gets {status}");
    }
    let body = format!("password={}&to=/", running.secret("ACCESS_PASSWORD")?);
    let sent = web.post(&address).header("x-forwarded-host", NAME).header("origin", format!("https://{NAME}"));
    let sent = sent.header("content-type", "application/x-www-form-urlencoded").body(body).send().await?;
    let cookie = sent.headers().get("set-cookie").context("the password sets no cookie")?.to_str()?.to_owned();
    ensure!(sent.status() == StatusCode::SEE_OTHER && cookie.ends_with("; Secure"), "{}: {cookie}", sent.status());
    let lie =
        ["--insecure", "--header", "Host: evil.example", "--header", "X-Forwarded-Host: mc.example.org", &address];
    let code = running.curl(&lie).await?;
    ensure!(code == "421", "a process inside with that header gets {code}");
    Ok("and the session's cookie is for https only".to_owned())
}

async fn renewed(running: &Running<'_>, folder: &Path) -> anyhow::Result<String> {
    write(folder, "cert", SECOND[0])?;
    until(|| async { Ok(running.container.exec(&["status"]).await?.contains("TLS_KEY_FILE").then_some(())) })
        .await
        .context("status does not say that they do not fit")?;
    served(running, "first").await.context("half renewed")?;
    write(folder, "key", SECOND[1])?;
    until(|| async { Ok(served(running, "second").await.ok()) }).await?;
    Ok("the former pair until then".to_owned())
}
