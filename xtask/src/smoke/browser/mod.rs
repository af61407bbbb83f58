//! The pages in a headless Chromium.

use std::time::Duration;

use self::page::Page;
use super::foreign_pages;
use super::report::Report;
use super::running::{Bench, DASHBOARD, PAGE, Running};

mod board;
mod dashboard;
mod links;
pub(super) mod page;

/// `run` is a word in the task of an earlier turn.
pub(super) async fn prove(report: &mut Report, running: &Running<'_>, run: Option<&str>, required: bool) {
    report.group("browser");
    if page::find().is_none() {
        let name = "pages in a browser";
        return if required { report.miss(name, page::MISSING) } else { report.skip(name, page::MISSING) };
    }
    board::prove(report, running, run).await;
    report.see("every link of /_stack opens its page, logged in", 240, links::press_all(running)).await;
    report.see("the dashboard is logged in", 60, dashboard::open(running)).await;
    report.see("every page of the dashboard opens", 240, dashboard::walk(running)).await;
    report.see("pages of other origins get no data", 120, foreign_pages::attack_unsigned(running)).await;
}

/// On a stack with a password: the form, the pages after it, and that other pages have no access.
pub(super) async fn prove_signed_in(report: &mut Report, running: &Running<'_>) {
    if page::find().is_none() {
        return;
    }
    if let Some(mut page) = report.keep("a browser signs in through the form", 90, sign_in(running)).await {
        let name = "no other page can use its session";
        report.see(name, 120, foreign_pages::attack(running, &mut page)).await;
    }
}

/// Signs in through the form, and opens the pages; returns a summary, too.
pub(super) async fn sign_in(running: &Running<'_>) -> anyhow::Result<(Page, String)> {
    let origin = running.origin(PAGE)?;
    let mut page = Page::open(&format!("{origin}/")).await?;
    let opened = open_pages(running, &mut page, &origin);
    let Ok(picture) = tokio::time::timeout(Duration::from_secs(60), opened).await else {
        anyhow::bail!("after 60 s it shows {}", page.shown().await?)
    };
    let picture = picture?;
    page.fine().await?;
    Ok((page, format!("Mission Control, the dashboard and /_stack open; {picture}")))
}

/// Fills in the form, then opens one page after the other; returns the form's screenshot.
async fn open_pages(running: &Running<'_>, page: &mut Page, origin: &str) -> anyhow::Result<String> {
    page.wait("!!document.querySelector('form[action=\"/_stack/sign-in\"]')").await?;
    page.fill("input[type=password]", running.secret("ACCESS_PASSWORD")?).await?;
    let picture = page.screenshot(&running.bench.output.join("sign-in.png")).await?;
    page.value("document.querySelector('form button').click()").await?;
    page.wait("document.title !== 'Sign in' && document.body.innerText.trim() !== ''").await?;
    board::sign_up(page, &Bench::nonce()).await?;
    let dashboard = running.origin(DASHBOARD)?;
    page.go(&format!("{dashboard}/data")).await?;
    // The first response is the front's, with the key.
    page.hear(&format!("{dashboard}/api"), 2).await?;
    page.go(&format!("{origin}/_stack")).await?;
    page.wait("document.body.innerText.includes('All enabled services are up')").await?;
    Ok(picture)
}
