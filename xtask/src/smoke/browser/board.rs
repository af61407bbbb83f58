//! Mission Control's page as a new user: an account, an agent, a task that OpenClaw completes, archiving it.

use anyhow::ensure;

use super::page::Page;
use crate::smoke::report::Report;
use crate::smoke::running::{Bench, PAGE, Running};

/// A laptop's and a desktop's screen; on the first, the board is wider than the window.
const WIDTHS: [u32; 2] = [1280, 1920];

pub(super) async fn prove(report: &mut Report, running: &Running<'_>, run: Option<&str>) {
    for width in WIDTHS {
        let name = format!("a user creates, completes and archives tasks, at {width} pixels");
        report.see(&name, running.bench.turn + 120, first_hour(running, run, width)).await;
    }
}

async fn first_hour(running: &Running<'_>, run: Option<&str>, width: u32) -> anyhow::Result<String> {
    let origin = running.origin(PAGE)?;
    let mut page = Page::open(&origin).await?;
    page.resize(width).await?;
    let walked = walk(&mut page, run, running.bench.turn).await;
    let picture = running.bench.output.join(format!("mission-control-{width}.png"));
    let picture = page.screenshot(&picture).await?;
    walked?;
    page.fine().await?;
    let spoken = page.seen.heard_from(&format!("{origin}/api"));
    ensure!(spoken > 0, "no message from Convex");
    Ok(format!("OpenClaw's answer on the card, a comment, done, archived; {spoken} messages from Convex; {picture}"))
}

async fn walk(page: &mut Page, run: Option<&str>, turn: u64) -> anyhow::Result<()> {
    let name = Bench::nonce();
    sign_up(page, &name).await?;
    if let Some(run) = run {
        page.read(run).await?;
    }
    let agent = format!("Nova {name}");
    page.click("Add Agent").await?;
    page.fill("input[placeholder=\"e.g. Nova\"]", &agent).await?;
    page.click("Create Agent").await?;
    page.read(&agent).await?;

    // A task for OpenClaw.
    let task = format!("Greet {name}");
    create(page, &task).await?;
    page.click("Start task").await?;
    page.click(&task).await?;
    page.expect_within(turn, "answer in its panel", &panel(&task, "completed")).await?;
    archive(page, &task).await?;

    // A task for the user.
    let task = format!("Water {name}");
    create(page, &task).await?;
    page.click(&task).await?;
    page.fill("textarea[placeholder^=\"Write a comment\"]", &format!("Done by {name}")).await?;
    page.click("Send Comment").await?;
    let comment = format!("done by {name}");
    page.expect("comment in its panel", &panel(&task, &comment)).await?;
    page.click("Mark as Done").await?;
    page.expect("panel of a task that is done", "!document.body.innerText.includes('Mark as Done')").await?;
    archive(page, &task).await?;

    page.click("Show Archived").await?;
    page.expect(&format!("card {task} among the archived"), &card(&task)).await
}

/// Makes an account in the page's own form, which the board then uses.
pub(super) async fn sign_up(page: &mut Page, name: &str) -> anyhow::Result<()> {
    page.click("Initialize new account").await?;
    page.fill("input[type=email]", &format!("{name}@example.com")).await?;
    page.fill("input[type=password]", name).await?;
    page.click("Initialize Account").await?;
    page.read("Mission Queue").await?;
    page.read(name).await
}

async fn create(page: &mut Page, task: &str) -> anyhow::Result<()> {
    page.click("Add Task").await?;
    page.fill("input[placeholder=\"Task title\"]", task).await?;
    page.click("Create Task").await?;
    page.read("Mark as Done").await?;
    close(page).await
}

async fn archive(page: &mut Page, task: &str) -> anyhow::Result<()> {
    page.click("Archive Task").await?;
    close(page).await?;
    page.expect(&format!("board without {task}"), &format!("!({})", card(task))).await
}

/// Whether the panel of a task contains a text (in lower case): the element with its title and the field for a comment.
fn panel(task: &str, text: &str) -> String {
    format!(
        "(() => {{
            let panel = [...document.querySelectorAll('h2')].find((it) => it.innerText.includes(`{task}`));
            while (panel && !panel.querySelector('textarea')) panel = panel.parentElement;
            return panel?.innerText.toLowerCase().includes('{text}') === true;
        }})()"
    )
}

/// Whether the card of a task is on the board; the feed beside it keeps the task's name.
fn card(task: &str) -> String {
    format!("[...document.querySelectorAll('h3')].some((it) => it.innerText.includes(`{task}`))")
}

/// A click beside the task's panel closes it.
async fn close(page: &mut Page) -> anyhow::Result<()> {
    page.press(10.0, 10.0).await
}
