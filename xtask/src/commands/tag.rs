//! `tag next|parse|list`: the image tag, composed from the stack's template, the lock and the git tags.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use chrono::{NaiveDate, Utc};

use super::Session;
use crate::cli::{self, Format};
use crate::domain::image_tag::{ImageTag, ImageTagTemplate, TagParts, next_revision};
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::io::{self, files, git};

pub(crate) async fn run(session: &Session, command: &cli::Tag) -> anyhow::Result<()> {
    let stack = files::read_stack(&session.root)?;
    let template = ImageTagTemplate::parse(&stack.image.tag)?;
    match command {
        cli::Tag::Next { date } => {
            let lock = files::read_lock(&session.root, &stack)?;
            let date = date.as_deref().map_or_else(|| Ok(Utc::now().date_naive()), parse_date)?;
            let tag = next(&session.root, &stack, &lock, date).await?;
            print(session.format, &template.parse_tag(tag.as_str())?, tag.as_str())
        }
        cli::Tag::Parse { tag } => {
            let parts = template.parse_tag(tag)?;
            if session.format == Format::Json {
                return io::document(&parts);
            }
            io::print(&format!("date      {}", parts.date));
            io::print(&format!("flavor    {}", parts.flavor));
            io::print(&format!("revision  {}", parts.revision));
            for (name, version) in &parts.components {
                io::print(&format!("{name:9} {version}"));
            }
            Ok(())
        }
        cli::Tag::List => {
            let mut tags: Vec<(TagParts, String)> = known(&session.root, &template, &stack.image.flavor)
                .await?
                .into_iter()
                .filter_map(|tag| Some((template.parse_tag(&tag).ok()?, tag)))
                .filter(|(parts, _)| parts.flavor == stack.image.flavor)
                .collect();
            tags.sort_by_key(|(parts, _)| (parts.revision, parts.date));
            match session.format {
                Format::Json => {
                    let tags: Vec<_> = tags.iter().map(|(parts, tag)| Listed { tag, parts }).collect();
                    io::document(&serde_json::json!({ "tags": tags }))?;
                }
                Format::Text => tags.iter().for_each(|(_, tag)| io::print(tag)),
            }
            Ok(())
        }
    }
}

/// A tag with its parts, as it is printed for machines.
#[derive(Debug, serde::Serialize)]
struct Listed<'a> {
    tag: &'a str,
    parts: &'a TagParts,
}

fn print(format: Format, parts: &TagParts, tag: &str) -> anyhow::Result<()> {
    match format {
        Format::Json => io::document(&Listed { tag, parts })?,
        Format::Text => io::print(tag),
    }
    Ok(())
}

fn parse_date(text: &str) -> anyhow::Result<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y%m%d")
        .ok()
        .filter(|_| text.len() == 8)
        .with_context(|| format!("`{}` is no date in the form YYYYMMDD", text.escape_debug()))
}

/// The tag that a release of this lock on that day gets.
pub(crate) async fn next(root: &Path, stack: &Stack, lock: &Lock, date: NaiveDate) -> anyhow::Result<ImageTag> {
    let template = ImageTagTemplate::parse(&stack.image.tag)?;
    let flavor = &stack.image.flavor;
    let existing = known(root, &template, flavor).await?;
    let revision = next_revision(&template, existing.iter().map(String::as_str), flavor);
    let mut components = BTreeMap::new();
    for name in template.components() {
        let pin =
            lock.components.get(name).with_context(|| format!("the image tag names `{name}`, which is not pinned"))?;
        components.insert(name.to_owned(), pin.version.clone());
    }
    let tag = template.compose(&TagParts { date, flavor: flavor.clone(), revision, components })?;
    if existing.iter().any(|existing| existing == tag.as_str()) {
        bail!("the git tag {tag} exists already");
    }
    Ok(tag)
}

/// The git tags that are known, of this flavor and others: a revision continues from them.
async fn known(root: &Path, template: &ImageTagTemplate, flavor: &str) -> anyhow::Result<Vec<String>> {
    let is_ours = |tag: &str| template.parse_tag(tag).is_ok_and(|parts| parts.flavor == flavor);
    git::tags(root, is_ours).await.context("cannot tell which tags there are")
}
