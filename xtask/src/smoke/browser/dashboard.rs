//! The Convex dashboard: logged in, with its editor, and every page that it links to.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::page::Page;
use crate::smoke::running::{DASHBOARD, Running};

/// Pages that the stand-in has without links to them.
const FIRST: [&str; 4] = ["/", "/data", "/functions", "/settings/environment-variables"];
const LINKS: &str = "[...document.querySelectorAll('a[href^=\"/\"]')].map((it) => it.pathname)";
/// How long a page may load its data.
const LOADING: Duration = Duration::from_secs(2);

pub(super) async fn open(running: &Running<'_>) -> anyhow::Result<String> {
    let origin = running.origin(DASHBOARD)?;
    let backend = format!("{origin}/api");
    let mut page = Page::open(&format!("{origin}/data")).await?;
    // The first response is the front's, with the key.
    let asked = tokio::time::timeout(Duration::from_secs(40), page.hear(&backend, 2)).await;
    let shown = page.read("tasks").await;
    let picture = page.screenshot(&running.bench.output.join("dashboard.png")).await?;
    ensure!(asked.is_ok(), "no response from {backend}; the page shows {}", page.shown().await?);
    shown?;
    page.go(&format!("{origin}/functions")).await?;
    page.read("listTasks").await?;
    // Upstream's editor, loaded from the image.
    page.click("Run functions").await?;
    page.expect("editor", "!!document.querySelector('.monaco-editor .view-line')").await?;
    page.fine().await?;
    Ok(format!("{} answers from Convex; {picture}", page.seen.heard_from(&backend)))
}

/// Follows all links; fails if a page shows or logs an error.
pub(super) async fn walk(running: &Running<'_>) -> anyhow::Result<String> {
    let origin = running.origin(DASHBOARD)?;
    let mut page = Page::open(&origin).await?;
    let mut waiting = FIRST.map(str::to_owned).to_vec();
    let mut seen = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        page.forget();
        page.go(&format!("{origin}{path}")).await?;
        page.wait("document.readyState === 'complete' && document.body.innerText.trim() !== ''").await?;
        tokio::time::sleep(LOADING).await;
        page.fine().await.with_context(|| path.clone())?;
        let links = page.value(LINKS).await?;
        waiting.extend(links.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
    }
    Ok(format!("{} pages: {}", seen.len(), seen.into_iter().collect::<Vec<_>>().join(" ")))
}
