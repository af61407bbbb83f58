//! The release at GitHub, by its own command line: a draft until everything is attached.

use serde::Deserialize;

use super::Files;
use super::plan::Plan;
use crate::commands::Session;
use crate::io::process;

/// What `gh release view --json isDraft` prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Viewed {
    is_draft: bool,
}

impl Plan {
    pub(super) async fn announce(&self, session: &Session, repository: &str, files: &Files) -> anyhow::Result<String> {
        let tag = self.tag.as_str();
        let gh = |words: &[&str]| {
            let mut command = process::command("gh");
            command.current_dir(&session.root).env("GH_PROMPT_DISABLED", "1").arg("release").args(words);
            command.args(["--repo", repository]);
            command
        };
        let viewed = process::ended(&mut gh(&["view", tag, "--json", "isDraft"])).await?;
        if viewed.status.success() {
            let viewed: Viewed = serde_json::from_slice(&viewed.stdout)?;
            if !viewed.is_draft {
                return Ok(format!("{tag} is published already"));
            }
        } else {
            let said = String::from_utf8_lossy(&viewed.stderr);
            if !said.contains("release not found") {
                anyhow::bail!("cannot tell whether GitHub has a release {tag}: {}", process::tail(&said, 4));
            }
            let notes = files.notes.display().to_string();
            // `--verify-tag`: it must never make a tag by itself.
            process::output(&mut gh(&[
                "create",
                tag,
                "--draft",
                "--verify-tag",
                "--title",
                tag,
                "--notes-file",
                &notes,
            ]))
            .await?;
        }
        // Of a draft that an interrupted run left, nobody knows what is whole.
        process::output(gh(&["upload", tag, "--clobber"]).args(&files.attached)).await?;
        let latest = format!("--latest={}", self.is_newest && self.is_first);
        process::output(&mut gh(&["edit", tag, "--draft=false", &latest])).await?;
        Ok(tag.to_owned())
    }
}
