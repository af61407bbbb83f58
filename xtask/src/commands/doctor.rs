//! `doctor`: what this machine lacks, and the command that mends it.

use serde::Serialize;

use super::Session;
use crate::cli::Format;
use crate::engine::docker::Docker;
use crate::error::{self, Ended};
use crate::io::{self, process};
use crate::upstream::npm;

/// One thing that some command needs.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    needed_by: &'static str,
    /// The version that answered, or nothing.
    found: Option<String>,
    mend: String,
}

/// A program that is asked for its version.
struct Program {
    name: &'static str,
    version: &'static [&'static str],
    needed_by: &'static str,
    mend: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "git", version: &["--version"], needed_by: "bump, tag, release", mend: "apt-get install git" },
    Program { name: "npm", version: &["--version"], needed_by: "bump", mend: "apt-get install npm" },
    Program {
        name: "apt-get",
        version: &["--version"],
        needed_by: "bump debian",
        mend: "run `cargo xtask bump debian` on Debian or Ubuntu",
    },
    Program { name: "skopeo", version: &["--version"], needed_by: "release", mend: "apt-get install skopeo" },
    Program { name: "tar", version: &["--version"], needed_by: "bump, smoke, rehearse", mend: "apt-get install tar" },
];

pub(crate) async fn run(session: &Session) -> anyhow::Result<()> {
    let mut findings = vec![engine().await];
    for program in PROGRAMS {
        let version = process::text(process::command(program.name).args(program.version)).await.ok();
        findings.push(Finding {
            what: program.name,
            needed_by: program.needed_by,
            found: version.map(|text| text.lines().next().unwrap_or_default().to_owned()),
            mend: program.mend.to_owned(),
        });
    }
    findings.push(keyring());
    findings.push(registry(session).await);
    print(session.format, &findings)?;
    let missing = findings.iter().filter(|finding| finding.found.is_none()).count();
    if missing > 0 {
        return Err(Ended::Difference(format!("{missing} of {} things are missing", findings.len())).into());
    }
    Ok(())
}

async fn engine() -> Finding {
    let checked = Docker::default().check().await;
    let mend = match &checked {
        Ok(_) => String::new(),
        Err(error) => match error::hints(error).as_slice() {
            [] => error.to_string(),
            hints => hints.join("; "),
        },
    };
    let found = checked.ok().map(|versions| format!("engine {}, buildx {}", versions.engine, versions.buildx));
    Finding { what: "docker", needed_by: "build, smoke, release, rehearse", found, mend }
}

fn keyring() -> Finding {
    let found = crate::upstream::debian::keyring().map(|path| path.display().to_string());
    Finding {
        what: "Debian's archive keys",
        needed_by: "bump debian",
        found,
        mend: "apt-get install debian-archive-keyring".to_owned(),
    }
}

async fn registry(session: &Session) -> Finding {
    let found = npm::registry(&session.mirrors).await.ok();
    let mend = "set npm_config_registry, or install npm, whose configuration is asked".to_owned();
    Finding { what: "npm's registry", needed_by: "bump, build", found, mend }
}

fn print(format: Format, findings: &[Finding]) -> anyhow::Result<()> {
    if format == Format::Json {
        return io::document(&serde_json::json!({ "findings": findings }));
    }
    for finding in findings {
        let Finding { what, needed_by, found, mend } = finding;
        match found {
            Some(found) => io::print(&format!("ok       {what:22} {found}")),
            None => io::print(&format!("missing  {what:22} needed by {needed_by}\n         {mend}")),
        }
    }
    Ok(())
}
