//! `diff OLD [NEW]`: the changes between two locks or two states of the checkout.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

use super::{Session, checkout, released};
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::diff::{Diff, Pull, State};
use crate::domain::lock::Lock;
use crate::domain::stack::{Source, Stack};
use crate::engine::layout::{self, Blobs};
use crate::engine::registry::Repository;
use crate::io::{files, git};

pub(crate) async fn run(session: &Session, args: &cli::Diff) -> anyhow::Result<()> {
    let old = named(&session.root, &args.old).await?;
    let new = match &args.new {
        Some(new) => named(&session.root, new).await?,
        None => checkout(&session.root)?,
    };
    let mut diff = Diff::new(&old, &new);
    if let [old, new] = args.images.as_slice() {
        diff.pulls = pulls(&blobs(old).await?, &blobs(new).await?);
    }
    session.print(&diff, || diff.markdown().trim_end().to_owned())
}

/// A lock by its path, or a state of the checkout by a name of git.
async fn named(root: &Path, name: &str) -> anyhow::Result<State> {
    let path = Path::new(name);
    if path.is_file() {
        let lock = checkout::parse_lock(&fs_err::read_to_string(path)?)?;
        return Ok(State { stack: None, lock, npm: BTreeMap::new() });
    }
    let commit = git::commit(root, name).await?;
    let lock = git::show(root, &commit, files::LOCK).await?;
    let lock = checkout::parse_lock(&lock.with_context(|| format!("{name} has no {}", files::LOCK))?)?;
    // An older file may not parse: then only the versions are compared.
    let stack = git::show(root, &commit, files::STACK).await?.and_then(|text| Stack::parse(&text).ok());
    let mut npm = BTreeMap::new();
    for (component, path) in lockfiles(stack.as_ref()) {
        npm.extend(git::show(root, &commit, &path).await?.map(|text| (component, text)));
    }
    Ok(State { stack, lock, npm })
}

fn checkout(root: &Path) -> anyhow::Result<State> {
    let stack = checkout::read_stack(root)?;
    let lock = checkout::read_lock(root, &stack)?;
    let read = |(component, path): (String, String)| Some((component, fs_err::read_to_string(root.join(path)).ok()?));
    let npm = lockfiles(Some(&stack)).filter_map(read).collect();
    Ok(State { stack: Some(stack), lock, npm })
}

/// The changes in the checkout since a release, or everything without one.
pub(super) async fn since(root: &Path, tag: Option<&str>) -> anyhow::Result<Diff> {
    let old = match tag {
        Some(tag) => named(root, tag).await?,
        None => State { stack: None, lock: Lock::empty(), npm: BTreeMap::new() },
    };
    Ok(Diff::new(&old, &checkout(root)?))
}

/// The downloads of an upgrade, for each architecture that both images have.
pub(super) fn pulls(old: &BTreeMap<Arch, Blobs>, new: &BTreeMap<Arch, Blobs>) -> BTreeMap<Arch, Pull> {
    new.iter().filter_map(|(arch, new)| Some((*arch, Pull::new(old.get(arch)?, new)))).collect()
}

/// The blobs of a folder of layouts, or of a released image.
async fn blobs(image: &str) -> anyhow::Result<BTreeMap<Arch, Blobs>> {
    if Path::new(image).is_dir() {
        return layout::blobs(Path::new(image));
    }
    let (name, reference) = released::parts(image)?;
    Repository::new(name)?.blobs(reference).await
}

/// The lockfile of each npm component.
fn lockfiles(stack: Option<&Stack>) -> impl Iterator<Item = (String, String)> {
    stack.into_iter().flat_map(|stack| &stack.components).filter_map(|(name, component)| match &component.source {
        Source::Npm { directory, .. } => Some((name.clone(), format!("image/{directory}/package-lock.json"))),
        _ => None,
    })
}
