//! `render`: stack + lock → `image/` and the generated parts of the README.

use std::path::Path;

use anyhow::bail;
use similar::TextDiff;

use super::Session;
use crate::cli;
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::error::Ended;
use crate::io::{self, files};
use crate::render::{Rendered, render};

pub(crate) fn run(session: &Session, args: &cli::Render) -> anyhow::Result<()> {
    let stack = files::read_stack(&session.root)?;
    let lock = files::read_lock(&session.root, &stack)?;
    if args.check {
        return check(&session.root, &stack, &lock);
    }
    for path in write(&session.root, &stack, &lock)? {
        io::print(&path);
    }
    Ok(())
}

/// Renders and writes what changed; gives the paths of what it wrote.
pub(crate) fn write(root: &Path, stack: &Stack, lock: &Lock) -> anyhow::Result<Vec<String>> {
    let changed = drifted(root, render(root, stack, lock)?)?;
    let contents: Vec<_> = changed.iter().map(|(file, _)| (file.path.clone(), file.contents.clone())).collect();
    files::replace_all(root, &contents)?;
    for (file, _) in &changed {
        if file.contents.starts_with("#!") {
            files::make_executable(&root.join(&file.path))?;
        }
    }
    Ok(changed.into_iter().map(|(file, _)| file.path.display().to_string()).collect())
}

/// The paths of the rendered files that differ from the checkout.
pub(crate) fn changed(root: &Path, stack: &Stack, lock: &Lock) -> anyhow::Result<Vec<String>> {
    let changed = drifted(root, render(root, stack, lock)?)?;
    Ok(changed.into_iter().map(|(file, _)| file.path.display().to_string()).collect())
}

/// The rendered files that differ from the checkout, each with what stands there now.
fn drifted(root: &Path, rendered: Vec<Rendered>) -> anyhow::Result<Vec<(Rendered, String)>> {
    let mut changed = Vec::new();
    for file in rendered {
        let current = match fs_err::read_to_string(root.join(&file.path)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => bail!(error),
        };
        if current != file.contents {
            changed.push((file, current));
        }
    }
    Ok(changed)
}

fn check(root: &Path, stack: &Stack, lock: &Lock) -> anyhow::Result<()> {
    let changed = drifted(root, render(root, stack, lock)?)?;
    if changed.is_empty() {
        return Ok(());
    }
    for (file, current) in &changed {
        let path = file.path.display().to_string();
        let diff = TextDiff::from_lines(current.as_str(), file.contents.as_str());
        io::print(diff.unified_diff().header(&path, &format!("{path} (rendered)")).to_string().trim_end());
    }
    Err(Ended::Difference(format!(
        "{} rendered files are out of date; run `cargo xtask render` and commit what it writes",
        changed.len()
    ))
    .into())
}
