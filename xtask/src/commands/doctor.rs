//! `doctor`: missing and old programs, and the commands that fix them.

use anyhow::ensure;
use serde::Serialize;

use super::Session;
use crate::engine::docker::{Docker, NoEngine, Versions, major_minor};
use crate::error::{self, Ended};
use crate::io::{self, files, process};
use crate::upstream::npm;

/// One requirement of a command.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    needed_by: &'static str,
    state: State,
    /// The version, or what was found.
    found: Option<String>,
    /// The command that fixes it, if needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It is too old, or lacks a feature.
    Unfit,
    Missing,
}

impl Finding {
    fn new(what: &'static str, needed_by: &'static str, found: Option<String>, is_fit: bool, fix: String) -> Self {
        let state = match found {
            None => State::Missing,
            Some(_) if is_fit => State::Ok,
            Some(_) => State::Unfit,
        };
        Self { what, needed_by, state, found, fix: (state != State::Ok).then_some(fix) }
    }
}

/// Programs: the oldest version with the options that are used, the commands that need it, and how to get it.
const PROGRAMS: [(&str, (u32, u32), &str, &str); 6] = [
    // `up --wait-timeout`.
    ("docker compose", (2, 17), "rehearse", "apt-get install docker-compose (Ubuntu: docker-compose-v2)"),
    // Settings by `GIT_CONFIG_COUNT`.
    ("git", (2, 31), "bump, tag, release", "apt-get install git"),
    // `--omit-lockfile-registry-resolved`.
    ("npm", (8, 10), "bump", "apt-get install npm, or Node.js 18 or newer"),
    // Patterns.
    ("apt-get", (2, 0), "bump debian", "run `cargo xtask bump debian` on Debian or Ubuntu"),
    // `copy --preserve-digests`.
    ("skopeo", (1, 6), "release", "apt-get install skopeo"),
    ("tar", (1, 22), "bump, smoke, rehearse", "apt-get install tar"),
];

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let mut findings = vec![engine().await];
    for (what, oldest, needed_by, fix) in PROGRAMS {
        let found = version(what).await;
        // `git version 2.47.3`, `apt 2.6.1 (amd64)`, `tar (GNU tar) 1.34`, `11.19.1`, `2.26.1-4`.
        let known = found.as_deref().and_then(|line| line.split(' ').find_map(major_minor));
        let is_fit = known.is_none_or(|version| version >= oldest);
        let fix = format!("{fix}: {}.{} or newer is needed", oldest.0, oldest.1);
        findings.push(Finding::new(what, needed_by, found, is_fit, fix));
    }
    findings.push(cosign().await);
    findings.push(keyring());
    findings.push(registry(session).await);
    session.list(&serde_json::json!({ "findings": findings }), lines(&findings))?;
    let wrong = findings.iter().filter(|finding| finding.state != State::Ok).count();
    let message = format!("{wrong} of {} things are missing or cannot be used", findings.len());
    ensure!(wrong == 0, Ended::Difference(message));
    Ok(())
}

/// The first line with which a program states its version.
async fn version(what: &str) -> Option<String> {
    let (program, words): (_, &[&str]) = match what {
        "docker compose" => ("docker", &["compose", "version", "--short"]),
        program => (program, &["--version"]),
    };
    let output = process::text(process::command(program).args(words)).await.ok()?;
    Some(output.lines().next().unwrap_or_default().to_owned())
}

async fn engine() -> Finding {
    let (what, needed_by) = ("docker", "build, smoke, release, rehearse");
    match Docker::default().check().await {
        Ok(Versions { engine, buildx }) => {
            let found = format!("engine {engine}, buildx {buildx}");
            Finding::new(what, needed_by, Some(found), true, String::new())
        }
        Err(error) => {
            let found = (!error::is::<NoEngine>(&error)).then(|| error.to_string());
            Finding::new(what, needed_by, found, false, error::hints(&error).join("; "))
        }
    }
}

/// Checked by its options: Debian's cosign has no version.
async fn cosign() -> Finding {
    let fix = "apt-get install cosign (Debian 13 or newer, Ubuntu 25.04 or newer): 2.5 or newer is needed".to_owned();
    let output = process::text(process::command("cosign").args(["verify-blob", "--help"])).await.ok();
    let is_fit = output.as_ref().is_some_and(|output| output.contains("--trusted-root"));
    let needed_by = "bump and verify of what has attestations, release --sign";
    Finding::new("cosign", needed_by, output.map(|_| String::new()), is_fit, fix)
}

fn keyring() -> Finding {
    let found = files::debian_keyring().ok().map(|path| path.display().to_string());
    let fix = "apt-get install debian-archive-keyring".to_owned();
    Finding::new("Debian's archive keys", "bump debian", found, true, fix)
}

async fn registry(session: &Session) -> Finding {
    let found = npm::registry(&session.mirrors).await.ok();
    let fix = "set npm_config_registry, or install npm, whose configuration has it".to_owned();
    Finding::new("npm's registry", "bump, build", found, true, fix)
}

fn lines(findings: &[Finding]) -> impl Iterator<Item = String> {
    let cells = |finding: &Finding| {
        let word = match finding.state {
            State::Ok => "ok",
            State::Unfit => "unfit",
            State::Missing => "missing",
        };
        [word.to_owned(), finding.what.to_owned(), finding.found.clone().unwrap_or_default()]
    };
    let found = io::columns(findings.iter().map(cells).collect());
    found.into_iter().zip(findings).flat_map(|(line, Finding { needed_by, fix, .. })| {
        let fix = fix.iter().map(move |fix| format!("         needed by {needed_by}: {fix}"));
        std::iter::once(line).chain(fix)
    })
}
