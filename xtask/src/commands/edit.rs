//! `add` and `remove`: edit a component in `stack.toml`. `bump` resolves it.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use toml::{Table, Value};

use super::{Session, checkout, render};
use crate::cli::{self, From};
use crate::domain::edit;
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::error::HintExt as _;
use crate::io::files;

pub(crate) async fn add(session: &Session, args: &cli::Add) -> anyhow::Result<()> {
    let _held = files::hold(&session.root).await?;
    let text = fs_err::read_to_string(session.root.join(files::STACK))?;
    let name = &args.name;
    let edited = edit::add(&text, name, &component(args)?)
        .with_context(|| format!("cannot add `{name}`; nothing was changed"))
        .hint(|| "see `cargo xtask add --help`")?;
    files::replace_all(&session.root, &[(PathBuf::from(files::STACK), edited)])?;
    report(session, name, "added to", &format!("pin it: cargo xtask bump {name}"))
}

pub(crate) async fn remove(session: &Session, args: &cli::Remove) -> anyhow::Result<()> {
    let _held = files::hold(&session.root).await?;
    let (root, name) = (&session.root, args.name.as_str());
    let text = fs_err::read_to_string(root.join(files::STACK))?;
    Stack::parse(&text)?.component(name)?;
    let cannot = || format!("cannot remove `{name}`, which is in use; nothing was changed");
    let edited = edit::remove(&text, name).with_context(cannot)?;
    let stack = Stack::parse(&edited)?;
    let mut lock = checkout::read_lock_unchecked(root)?;
    let mut contents = vec![(PathBuf::from(files::STACK), edited)];
    if lock.components.remove(name).is_some() {
        contents.push((PathBuf::from(files::LOCK), Lock::new(lock.components.clone()).to_text()?));
    }
    let mut drifts = Vec::new();
    if root.join("templates").is_dir() && lock.check(&stack).is_ok() {
        drifts = render::drifts(root, &stack, &lock).with_context(cannot).hint(|| "remove it from templates/ first")?;
    }
    render::write(root, &drifts, contents)?;
    report(session, name, "removed from", "delete its other files in image/ and templates/")
}

fn report(session: &Session, name: &str, what: &str, next: &str) -> anyhow::Result<()> {
    session.print(&serde_json::json!({ "component": name }), || format!("{name}: {what} stack.toml; {next}"))
}

/// The component's table for `stack.toml`.
fn component(args: &cli::Add) -> anyhow::Result<Table> {
    let text = |text: &str| Value::String(text.to_owned());
    let table = |fields: Vec<(&str, Value)>| -> Table {
        fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
    };
    let From { kind, fields, scheme } = &args.from;
    let mut source = vec![("type", text(kind))];
    source.extend(fields.iter().map(|(field, value)| (*field, text(value))));
    if kind == "npm" {
        source.push(("directory", text(&format!("npm/{}", args.name))));
    }
    let mut component = table(vec![
        ("title", text(args.title.as_deref().unwrap_or(&args.name))),
        ("scheme", text(args.scheme.as_deref().unwrap_or(scheme))),
        ("source", Value::Table(table(source))),
    ]);
    if let Some(file) = &args.file {
        let contains = args.contains.as_ref().context("--file needs --contains")?;
        let file = table(vec![("name", text(file)), ("contains", text(contains))]);
        component.insert("file".to_owned(), Value::Table(file));
    }
    if !args.arches.is_empty() {
        let spelled = args.arches.iter().map(|one| one.split_once('=').map(|(arch, spelling)| (arch, text(spelling))));
        let spelled: Option<Vec<_>> = spelled.collect();
        ensure!(spelled.is_some(), "--arch must be ARCH=SPELLING, such as x86_64=x64");
        component.insert("arch".to_owned(), Value::Table(table(spelled.unwrap_or_default())));
    }
    Ok(component)
}
