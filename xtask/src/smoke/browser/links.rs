//! The links of `/_stack`: each is clicked, and its page is read.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::page::Page;
use crate::smoke::running::{PAGE, Running};

/// By service: texts of which its page must show one, and texts of a page that requires credentials.
const PAGES: [(&str, &[&str], &[&str]); 7] = [
    ("llamacpp", &["llama.cpp"], &["api key"]),
    // The second one is of its stand-in.
    ("manager", &["logout", "healthy"], &["password", "sign in"]),
    ("opencode", &["projects"], &["password"]),
    ("openclaw", &["main session"], &["expects its token", "approve this browser"]),
    ("dashboard", &["health"], &["admin key"]),
    // Its users sign up themselves.
    ("mission-control", &["initialize new account"], &[]),
    ("status", &["all enabled services are up"], &[]),
];
const UP: &str = "All enabled services are up";
/// The links, by the name below each.
const NAMES: &str = "[...document.querySelectorAll('td a')].map((it) => it.nextElementSibling.innerText)";

pub(super) async fn press_all(running: &Running<'_>) -> anyhow::Result<String> {
    let stack = format!("{}/_stack", running.origin(PAGE)?);
    let mut page = Page::open(&stack).await?;
    page.read(UP).await?;
    let listed = page.value(NAMES).await?;
    let listed: Vec<&str> = listed.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(listed.len() == PAGES.len(), "there are links for {}", listed.join(", "));
    let mut titles = Vec::new();
    for name in listed {
        let known = PAGES.iter().find(|(known, ..)| *known == name);
        let (_, texts, asks) = known.with_context(|| format!("{name} has a link, but no test"))?;
        let opened = open(&mut page, &stack, name, texts, asks).await;
        titles.push(opened.with_context(|| format!("the link of {name}"))?);
    }
    Ok(titles.join(", "))
}

/// Returns the link's title.
async fn open(page: &mut Page, stack: &str, name: &str, texts: &[&str], asks: &[&str]) -> anyhow::Result<String> {
    page.go(stack).await?;
    page.read(UP).await?;
    page.forget();
    let title = page.value(&format!("{NAMES}.indexOf('{name}')")).await?;
    let title = page.value(&format!("document.querySelectorAll('td a')[{title}].innerText")).await?;
    let title = title.as_str().context("the link has no text")?.to_owned();
    page.click(&title).await?;
    if name != "status" {
        page.expect("page other than /_stack", "location.pathname !== '/_stack'").await?;
    }
    let shown = format!("{texts:?}.some((it) => document.body.innerText.toLowerCase().includes(it))");
    page.expect(&format!("text of {texts:?}"), &shown).await?;
    // A page shows the form for credentials only after its first request.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    if let Some(asked) = page.first_of(asks).await? {
        bail!("it shows {asked:?}: {:?}", page.text().await?);
    }
    page.fine().await?;
    Ok(title)
}
