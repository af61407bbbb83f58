//! The release on GitHub, by `gh`: a draft until all files are attached.

use serde::Deserialize;

use super::dist::Files;
use super::plan::Plan;
use crate::io::process;

/// The output of `gh release view --json isDraft`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Viewed {
    is_draft: bool,
}

impl Plan<'_> {
    pub(super) async fn announce(&self, repository: &str, files: &Files) -> anyhow::Result<String> {
        let tag = self.tag.as_str();
        let gh = |words: &[&str]| {
            let mut command = process::command("gh");
            command.current_dir(&self.session.root).env("GH_PROMPT_DISABLED", "1").arg("release").args(words);
            command.args(["--repo", repository]);
            command
        };
        let viewed = process::ended(&mut gh(&["view", tag, "--json", "isDraft"])).await?;
        if viewed.status.success() {
            let viewed: Viewed = serde_json::from_slice(&viewed.stdout)?;
            if !viewed.is_draft {
                return Ok(format!("{tag} is already published"));
            }
        } else {
            let stderr = String::from_utf8_lossy(&viewed.stderr);
            if !stderr.contains("release not found") {
                anyhow::bail!("cannot check whether GitHub has a release {tag}: {}", process::tail(&stderr, 4));
            }
            let notes = files.notes.display().to_string();
            // `--verify-tag`: it must not create a tag.
            let create = ["create", tag, "--draft", "--verify-tag", "--title", tag, "--notes-file", &notes];
            process::run(&mut gh(&create)).await?;
        }
        // A draft of an interrupted run may have incomplete files.
        process::run(gh(&["upload", tag, "--clobber"]).args(&files.attached)).await?;
        let latest = format!("--latest={}", self.is_newest && self.stack.is_first_flavor());
        process::run(&mut gh(&["edit", tag, "--draft=false", &latest])).await?;
        Ok(tag.to_owned())
    }
}
