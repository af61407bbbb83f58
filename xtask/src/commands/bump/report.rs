//! The report of a bump: as text, as JSON and for GitHub Actions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::Resolution;
use crate::commands::resolve::{gated, short_version, shortened};
use crate::domain::arch::Arch;
use crate::domain::lock::{FileFor, PackagePin, Pin, Pinned};
use crate::domain::size::mebibytes;
use crate::io;
use crate::upstream::Finding;
use crate::upstream::github::client::Usage;

/// How many reasons for passing over releases are listed.
const LISTED: usize = 5;

#[derive(Debug)]
pub(crate) struct Bumped {
    pub(super) changed: bool,
    pub(super) written: bool,
    pub(super) resolutions: Vec<Resolution>,
    /// Components that the stack does not have any more.
    pub(super) dropped: Vec<String>,
    /// The components on the command line.
    pub(super) asked: Vec<String>,
    pub(super) now: DateTime<Utc>,
    /// Components that could not be resolved, with `--keep-going`.
    pub(super) failures: Vec<anyhow::Error>,
    pub(super) github: Usage,
}

impl Bumped {
    /// The result in a line.
    pub(crate) fn summary(&self) -> String {
        let changed = self.resolutions.iter().filter(|resolution| resolution.is_change()).count();
        format!("{} components resolved, {changed} of them new", self.resolutions.len())
    }

    /// `GITHUB_OUTPUT` and `GITHUB_STEP_SUMMARY`, as GitHub Actions documents its environment files.
    pub(super) fn tell_github_actions(&self) -> anyhow::Result<()> {
        io::github_output("changed", &self.changed.to_string())?;
        io::github_summary(&self.step_summary())
    }

    /// The JSON form. Each failure is one line; stderr has the details.
    pub(super) fn document(&self) -> Value {
        let component = |one: &Resolution| {
            json!({
                "name": one.name,
                "changed": one.is_change(),
                "old": one.old.as_ref().map(pin_document),
                "new": pin_document(&one.new),
                "compare": one.compare,
                "passed_over": gated(&one.passed_over, self.now),
                "findings": one.findings,
            })
        };
        let failed: Vec<String> = self.failures.iter().map(|error| format!("{error:#}")).collect();
        json!({
            "changed": self.changed,
            "written": self.written,
            "components": self.resolutions.iter().map(component).collect::<Vec<_>>(),
            "dropped": self.dropped,
            "failed": failed,
            "github": self.github,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for resolution in &self.resolutions {
            let is_asked = self.asked.contains(&resolution.name);
            if !resolution.is_change() && !is_asked && resolution.findings.is_empty() {
                continue;
            }
            text.push_str(&change(resolution));
            if let Some(compare) = &resolution.compare {
                let _ = writeln!(text, "  {compare}");
            }
            for finding in &resolution.findings {
                let _ = writeln!(text, "  warning: {}", finding_line(&resolution.name, &resolution.new, finding));
            }
            for line in shortened(&resolution.passed_over, LISTED) {
                let _ = writeln!(text, "  passed over {line}");
            }
        }
        for name in &self.dropped {
            let _ = writeln!(text, "{name}: dropped, stack.toml does not have it");
        }
        text.push_str(match (self.changed, self.written) {
            (false, _) => "nothing to bump",
            (true, false) => "nothing was written (--dry-run)",
            (true, true) if !self.resolutions.iter().any(Resolution::is_change) && self.dropped.is_empty() => {
                "nothing to bump; waiting versions were noted in versions.lock"
            }
            (true, true) => "",
        });
        text
    }

    fn step_summary(&self) -> String {
        let mut text = if self.changed {
            "| component | from | to |\n|---|---|---|\n".to_owned()
        } else {
            "Nothing to bump.".to_owned()
        };
        for resolution in self.resolutions.iter().filter(|resolution| resolution.is_change()) {
            let old = resolution.old.as_ref().map_or_else(|| "not pinned".to_owned(), described);
            let new = described(&resolution.new);
            let new = resolution.compare.as_ref().map_or(new.clone(), |link| format!("[{new}]({link})"));
            let _ = writeln!(text, "| {} | {old} | {new} |", resolution.name);
        }
        for name in &self.dropped {
            let _ = writeln!(text, "| {name} | | dropped |");
        }
        for failure in &self.failures {
            let _ = write!(text, "\n- **{}**", format!("{failure:#}").replace('|', "\\|"));
        }
        for resolution in &self.resolutions {
            for finding in &resolution.findings {
                let _ = write!(text, "\n- `{}`: **{}**", resolution.name, finding.to_string().replace('|', "\\|"));
            }
            for line in shortened(&resolution.passed_over, LISTED) {
                let _ = write!(text, "\n- `{}`: passed over {}", resolution.name, line.replace('|', "\\|"));
            }
        }
        text
    }
}

/// `convex: old (date) → new (date)`, and a line for each architecture with a known size.
fn change(resolution: &Resolution) -> String {
    let Resolution { name, old, new, .. } = resolution;
    if !resolution.is_change() {
        let stays = if resolution.findings.is_empty() { "is the newest" } else { "stays pinned" };
        return format!("{name}: {} {stays}\n", described(new));
    }
    let before = old.as_ref().map_or_else(|| "not pinned".to_owned(), described);
    let mut text = format!("{name}: {before} → {}\n", described(new));
    let (old_sizes, new_sizes) = (old.as_ref().map(sizes).unwrap_or_default(), sizes(new));
    for (arch, size) in new_sizes {
        let _ = match old_sizes.get(&arch) {
            Some(old) => writeln!(text, "  {arch}: {} → {}", mebibytes(*old), mebibytes(size)),
            None if old.is_some() => writeln!(text, "  {arch}: unknown → {}", mebibytes(size)),
            None => writeln!(text, "  {arch}: {}", mebibytes(size)),
        };
    }
    text
}

/// A finding, with the command that pins a replaced version again.
fn finding_line(name: &str, pin: &Pin, finding: &Finding) -> String {
    let Finding::Replaced { .. } = finding else { return finding.to_string() };
    let version = pin.tag.as_deref().unwrap_or(&pin.version);
    format!("{finding}; if you know why: cargo xtask bump {name} --to {version}")
}

/// A pin in a few words, with the start of its digest or commit if the version does not identify it.
fn described(pin: &Pin) -> String {
    let identity = match &pin.pinned {
        Pinned::Image(image) => Some(image.digest.hex()),
        Pinned::Git(git) if git.commit.as_str() != pin.version => Some(git.commit.as_str()),
        _ => None,
    };
    let mut details: Vec<String> = pin.published.iter().map(|published| published.date().to_string()).collect();
    details.extend(identity.and_then(|identity| identity.get(..12)).map(str::to_owned));
    if let Pinned::Packages(lists) = &pin.pinned {
        let count = lists.values().map(Vec::len).max().unwrap_or_default();
        details.push(format!("{count} packages"));
    }
    let version = short_version(&pin.version);
    if details.is_empty() { version.to_owned() } else { format!("{version} ({})", details.join(", ")) }
}

fn pin_document(pin: &Pin) -> Value {
    let published = pin.published.as_ref().map(ToString::to_string);
    json!({
        "version": pin.version,
        "published": published,
        "trust": pin.trust,
        "sizes": sizes(pin),
        "pinned": pin.pinned,
    })
}

/// Known sizes in bytes, by architecture or `any`.
fn sizes(pin: &Pin) -> BTreeMap<String, u64> {
    match &pin.pinned {
        Pinned::Files(files) => {
            files.iter().filter_map(|(arch, file)| Some((file_for(*arch).to_owned(), file.size?))).collect()
        }
        Pinned::Packages(lists) => {
            let total = |list: &Vec<PackagePin>| list.iter().map(|package| package.size).sum();
            lists.iter().map(|(arch, list)| (arch.to_string(), total(list))).collect()
        }
        Pinned::Npm(_) | Pinned::Git(_) | Pinned::Image(_) => BTreeMap::new(),
    }
}

fn file_for(arch: FileFor) -> &'static str {
    match arch {
        FileFor::Any => "any",
        FileFor::X86_64 => Arch::X86_64.as_str(),
        FileFor::Aarch64 => Arch::Aarch64.as_str(),
    }
}
