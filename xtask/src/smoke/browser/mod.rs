//! The pages in a headless Chromium.

use std::path::Path;
use std::time::Duration;

use self::page::Page;
use super::foreign_pages;
use super::report::Report;
use super::running::{Bench, PAGE, Running};

mod board;
mod dashboard;
mod links;
pub(super) mod page;

pub(super) async fn prove(
    report: &mut Report,
    running: &Running<'_>,
    run: Option<&str>,
    output: &Path,
    program: &Path,
) {
    report.group("browser");
    board::prove(report, running, run, output, program).await;
    report.see("every link of /_stack opens its page, logged in", 240, links::press_all(running, program)).await;
    report.see("the dashboard is logged in", 60, dashboard::open(running, output, program)).await;
    report.see("every page of the dashboard opens", 240, dashboard::walk(running, program)).await;
    let name = "pages of other origins get no data";
    report.see(name, 120, foreign_pages::attack_unsigned(running, program)).await;
}

/// On a stack with a password: the form, the pages after it, and that other pages have no access.
pub(super) async fn prove_signed_in(report: &mut Report, running: &Running<'_>, output: &Path, program: &Path) {
    let mut page = None;
    let signed_in = async {
        let (signed_in, summary) = sign_in(running, output, program).await?;
        page = Some(signed_in);
        Ok(summary)
    };
    report.see("a browser signs in through the form", 90, signed_in).await;
    if let Some(mut page) = page {
        let name = "no other page can use its session";
        report.see(name, 120, foreign_pages::attack(running, &mut page)).await;
    }
}

/// Signs in through the form, and opens the pages.
pub(super) async fn signed_in(running: &Running<'_>, output: &Path, program: &Path) -> anyhow::Result<String> {
    Ok(sign_in(running, output, program).await?.1)
}

async fn sign_in(running: &Running<'_>, output: &Path, program: &Path) -> anyhow::Result<(Page, String)> {
    let origin = running.origin(PAGE)?;
    let mut page = Page::open(program, &format!("{origin}/")).await?;
    let opened = open_pages(running, output, &mut page, &origin);
    let Ok(picture) = tokio::time::timeout(Duration::from_secs(60), opened).await else {
        anyhow::bail!("after 60 s it shows {:?}, {}", page.text().await?, page.errors())
    };
    let picture = picture?;
    page.fine().await?;
    Ok((page, format!("Mission Control, the dashboard and /_stack open; {picture}")))
}

/// Fills in the form, then opens one page after the other; returns the form's screenshot.
async fn open_pages(running: &Running<'_>, output: &Path, page: &mut Page, origin: &str) -> anyhow::Result<String> {
    page.wait("!!document.querySelector('form[action=\"/_stack/sign-in\"]')").await?;
    page.fill("input[type=password]", running.secret("ACCESS_PASSWORD")?).await?;
    let picture = page.screenshot(&output.join("sign-in.png")).await?;
    page.value("document.querySelector('form button').click()").await?;
    page.wait("document.title !== 'Sign in' && document.body.innerText.trim() !== ''").await?;
    board::sign_up(page, &Bench::nonce()).await?;
    let dashboard = running.origin("CONVEX_DASHBOARD_PORT")?;
    page.go(&format!("{dashboard}/data")).await?;
    // The first response is the front's, with the key.
    page.hear(&format!("{dashboard}/api"), 2).await?;
    page.go(&format!("{origin}/_stack")).await?;
    page.wait("document.body.innerText.includes('All enabled services are up')").await?;
    Ok(picture)
}
