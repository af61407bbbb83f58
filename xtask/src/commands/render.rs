//! `render`: renders `image/` and the generated parts of README and docs: contents and modes, and removes formerly
//! rendered files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde::Serialize;
use similar::TextDiff;

use super::Session;
use crate::cli;
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::error::Ended;
use crate::io::files;
use crate::render::{Rendered, render};

/// The mark in the first two lines of rendered files.
const MARK: &str = "@generated from templates/";

pub(crate) async fn run(session: &Session, args: &cli::Render) -> anyhow::Result<()> {
    let _held = if args.check { None } else { Some(files::hold(&session.root).await?) };
    let (stack, lock) = session.read()?;
    let drifts = drifts(&session.root, &stack, &lock)?;
    if !args.check {
        write(&session.root, &drifts, Vec::new())?;
    }
    let line = |drift: &Drift| if args.check { drift.text() } else { drift.path.display().to_string() };
    session.list(&serde_json::json!({ "changed": drifts, "written": !args.check }), drifts.iter().map(line))?;
    let (count, is) = (drifts.len(), if drifts.len() == 1 { "file is" } else { "files are" });
    let message = format!("{count} rendered {is} out of date; run `cargo xtask render` and commit the result");
    ensure!(!args.check || drifts.is_empty(), Ended::Difference(message));
    Ok(())
}

/// A file of the checkout that differs from the rendered one.
#[derive(Debug, Serialize)]
pub(crate) struct Drift {
    pub(crate) path: PathBuf,
    #[serde(flatten)]
    difference: Difference,
}

#[derive(Debug, Serialize)]
#[serde(tag = "difference", rename_all = "lowercase")]
enum Difference {
    Contents {
        #[serde(skip)]
        rendered: String,
        diff: String,
    },
    /// Only the executable bit differs.
    Mode { executable: bool },
    /// Rendered formerly, by a removed template or for a removed service.
    Orphan,
}

impl Drift {
    fn text(&self) -> String {
        let path = self.path.display();
        match &self.difference {
            Difference::Contents { diff, .. } => diff.clone(),
            Difference::Mode { executable: true } => format!("{path} must be executable"),
            Difference::Mode { executable: false } => format!("{path} must not be executable"),
            Difference::Orphan => format!("{path} is not rendered any more"),
        }
    }
}

/// The differences of the checkout from the rendered files; writes nothing.
pub(crate) fn drifts(root: &Path, stack: &Stack, lock: &Lock) -> anyhow::Result<Vec<Drift>> {
    let rendered = render(root, stack, lock)?;
    let mut drifts = orphans(root, &rendered)?;
    for file in rendered {
        let path = root.join(&file.path);
        let current = files::read_if_exists(&path)?.unwrap_or_default();
        let executable = is_script(&file.contents);
        let difference = if current != file.contents.as_bytes() {
            let diff = diff(&file, &String::from_utf8_lossy(&current));
            Difference::Contents { rendered: file.contents, diff }
        } else if executable != (fs_err::metadata(&path)?.permissions().mode() & 0o111 != 0) {
            Difference::Mode { executable }
        } else {
            continue;
        };
        drifts.push(Drift { path: file.path, difference });
    }
    Ok(drifts)
}

/// Writes the rendered files and files of the caller: all or none.
pub(crate) fn write(root: &Path, drifts: &[Drift], others: Vec<(PathBuf, String)>) -> anyhow::Result<()> {
    let rendered = drifts.iter().filter_map(|drift| match &drift.difference {
        Difference::Contents { rendered, .. } => Some((drift.path.clone(), rendered.clone())),
        Difference::Mode { .. } | Difference::Orphan => None,
    });
    files::replace_all(root, &rendered.chain(others).collect::<Vec<_>>())?;
    for Drift { path, difference } in drifts {
        let path = root.join(path);
        match difference {
            Difference::Contents { rendered, .. } => files::set_executable(&path, is_script(rendered))?,
            Difference::Mode { executable } => files::set_executable(&path, *executable)?,
            Difference::Orphan => fs_err::remove_file(&path)?,
        }
    }
    Ok(())
}

fn is_script(contents: &str) -> bool {
    contents.starts_with("#!")
}

fn diff(file: &Rendered, current: &str) -> String {
    let path = file.path.display().to_string();
    if current.replace("\r\n", "\n") == file.contents {
        return format!(
            "{path} has Windows line endings (CRLF), by git's core.autocrlf; containers need Unix line endings"
        );
    }
    let diff = TextDiff::from_lines(current, file.contents.as_str());
    diff.unified_diff().header(&path, &format!("{path} (rendered)")).to_string().trim_end().to_owned()
}

/// Files with the mark that are not rendered any more.
fn orphans(root: &Path, rendered: &[Rendered]) -> anyhow::Result<Vec<Drift>> {
    let image = Path::new("image");
    let mut orphans = Vec::new();
    if !root.join(image).is_dir() {
        return Ok(orphans);
    }
    for path in files::below(&root.join(image))?.iter().map(|path| image.join(path)) {
        let is_ours = rendered.iter().any(|file| file.path == path) || root.join(&path).is_symlink();
        if !is_ours
            && String::from_utf8_lossy(&fs_err::read(root.join(&path))?).lines().take(2).any(|line| line.contains(MARK))
        {
            orphans.push(Drift { path, difference: Difference::Orphan });
        }
    }
    Ok(orphans)
}
