//! `doctor`: missing and old programs, and the commands that fix them.

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
    fn new(what: &'static str, needed_by: &'static str, found: Option<String>, fix: String) -> Self {
        let state = if found.is_some() { State::Ok } else { State::Missing };
        Self { what, needed_by, state, fix: found.is_none().then_some(fix), found }
    }
}

/// A program with a version.
struct Program {
    name: &'static str,
    version: &'static [&'static str],
    /// The oldest version with the options that are used.
    oldest: (u32, u32),
    needed_by: &'static str,
    fix: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "docker",
        version: &["compose", "version", "--short"],
        // `up --wait-timeout`.
        oldest: (2, 17),
        needed_by: "rehearse",
        fix: "apt-get install docker-compose (Ubuntu: docker-compose-v2)",
    },
    Program {
        name: "git",
        version: &["--version"],
        // Settings by `GIT_CONFIG_COUNT`.
        oldest: (2, 31),
        needed_by: "bump, tag, release",
        fix: "apt-get install git",
    },
    Program {
        name: "npm",
        version: &["--version"],
        // `--omit-lockfile-registry-resolved`.
        oldest: (8, 10),
        needed_by: "bump",
        fix: "apt-get install npm, or Node.js 18 or newer",
    },
    Program {
        name: "apt-get",
        version: &["--version"],
        // Patterns.
        oldest: (2, 0),
        needed_by: "bump debian",
        fix: "run `cargo xtask bump debian` on Debian or Ubuntu",
    },
    Program {
        name: "skopeo",
        version: &["--version"],
        // `copy --preserve-digests`.
        oldest: (1, 6),
        needed_by: "release",
        fix: "apt-get install skopeo",
    },
    Program {
        name: "tar",
        version: &["--version"],
        oldest: (1, 22),
        needed_by: "bump, smoke, rehearse",
        fix: "apt-get install tar",
    },
];

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let mut findings = vec![engine().await];
    for program in PROGRAMS {
        findings.push(program.look().await);
    }
    findings.push(cosign().await);
    findings.push(keyring());
    findings.push(registry(session).await);
    session.print(&serde_json::json!({ "findings": findings }), || lines(&findings).join("\n"))?;
    let wrong = findings.iter().filter(|finding| finding.state != State::Ok).count();
    if wrong > 0 {
        let message = format!("{wrong} of {} things are missing or cannot be used", findings.len());
        return Err(Ended::Difference(message).into());
    }
    Ok(())
}

impl Program {
    async fn look(&self) -> Finding {
        let output = process::text(process::command(self.name).args(self.version)).await.ok();
        let found = output.map(|text| text.lines().next().unwrap_or_default().to_owned());
        // `git version 2.47.3`, `apt 2.6.1 (amd64)`, `tar (GNU tar) 1.34`, `11.19.1`, `2.26.1-4`.
        let version = found.as_deref().and_then(|line| line.split(' ').find_map(major_minor));
        let what = if self.name == "docker" { "docker compose" } else { self.name };
        let (major, minor) = self.oldest;
        let fix = format!("{}: {major}.{minor} or newer is needed", self.fix);
        let mut finding = Finding::new(what, self.needed_by, found, fix.clone());
        if version.is_some_and(|version| version < self.oldest) {
            (finding.state, finding.fix) = (State::Unfit, Some(fix));
        }
        finding
    }
}

async fn engine() -> Finding {
    let (what, needed_by) = ("docker", "build, smoke, release, rehearse");
    let error = match Docker::default().check().await {
        Ok(Versions { engine, buildx }) => {
            return Finding::new(what, needed_by, Some(format!("engine {engine}, buildx {buildx}")), String::new());
        }
        Err(error) => error,
    };
    let fix = Some(error::hints(&error).join("; "));
    if error::is::<NoEngine>(&error) {
        return Finding { what, needed_by, state: State::Missing, found: None, fix };
    }
    Finding { what, needed_by, state: State::Unfit, found: Some(error.to_string()), fix }
}

/// Checked by its options: Debian's cosign has no version.
async fn cosign() -> Finding {
    let (what, needed_by) = ("cosign", "bump and verify of what has attestations, release --sign");
    let fix = "apt-get install cosign (Debian 13 or newer, Ubuntu 25.04 or newer): 2.5 or newer is needed".to_owned();
    let output = process::text(process::command("cosign").args(["verify-blob", "--help"])).await.ok();
    let is_fit = output.as_ref().is_some_and(|output| output.contains("--trusted-root"));
    let mut finding = Finding::new(what, needed_by, output.map(|_| String::new()), fix.clone());
    if finding.state == State::Ok && !is_fit {
        (finding.state, finding.fix) = (State::Unfit, Some(fix));
    }
    finding
}

fn keyring() -> Finding {
    let found = files::debian_keyring().ok().map(|path| path.display().to_string());
    Finding::new("Debian's archive keys", "bump debian", found, "apt-get install debian-archive-keyring".to_owned())
}

async fn registry(session: &Session) -> Finding {
    let found = npm::registry(&session.mirrors).await.ok();
    let fix = "set npm_config_registry, or install npm, whose configuration has it".to_owned();
    Finding::new("npm's registry", "bump, build", found, fix)
}

fn lines(findings: &[Finding]) -> Vec<String> {
    let cells = |finding: &Finding| {
        let word = match finding.state {
            State::Ok => "ok",
            State::Unfit => "unfit",
            State::Missing => "missing",
        };
        [word.to_owned(), finding.what.to_owned(), finding.found.clone().unwrap_or_default()]
    };
    let found = io::columns(findings.iter().map(cells).collect());
    let lines = found.into_iter().zip(findings).flat_map(|(line, Finding { needed_by, fix, .. })| {
        let fix = fix.iter().map(move |fix| format!("         needed by {needed_by}: {fix}"));
        std::iter::once(line).chain(fix)
    });
    lines.collect()
}
