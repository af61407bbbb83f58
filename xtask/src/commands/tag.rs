//! `tag next|parse|list`: the image tag, composed from the stack's template, the lock and the git tags.

use std::path::Path;

use anyhow::{Context as _, ensure};
use chrono::{NaiveDate, Utc};
use serde_json::json;

use super::{Session, checkout};
use crate::cli;
use crate::domain::image_tag::{ImageTag, ImageTagTemplate, TagParts, next_revision};
use crate::domain::lock::Lock;
use crate::domain::stack::Stack;
use crate::domain::version::compact_date;
use crate::io::{self, git};

pub(crate) async fn run(session: &Session, command: &cli::Tag) -> anyhow::Result<()> {
    let stack = checkout::read_stack(&session.root)?;
    match command {
        cli::Tag::Next { date, flavor } => {
            let lock = checkout::read_lock(&session.root, &stack)?;
            let stack = stack.flavored(flavor.name())?;
            let date = date.as_deref().map_or_else(|| Ok(Utc::now().date_naive()), parse_date)?;
            let (tag, parts) = next(&session.root, &stack, &lock, date).await?;
            session.print(&json!({ "tag": tag, "parts": parts }), || tag.to_string())
        }
        cli::Tag::Parse { tag } => {
            let parts = ImageTagTemplate::parse(&stack.of_tag(tag).image.tag)?.parse_tag(tag)?;
            let TagParts { date, flavor, revision, components } = &parts;
            let fixed = [("date", date.to_string()), ("flavor", flavor.clone()), ("revision", revision.to_string())];
            let fixed = fixed.map(|(name, value)| [name.to_owned(), value]).into_iter();
            let rows = fixed.chain(components.iter().map(|(name, version)| [name.clone(), version.clone()]));
            session.list(&parts, io::columns(rows.collect()).into_iter())
        }
        cli::Tag::List { flavor } => {
            let stack = stack.flavored(flavor.name())?;
            let template = ImageTagTemplate::parse(&stack.image.tag)?;
            let mut tags: Vec<(TagParts, String)> = known(&session.root, &template, &stack.image.flavor)
                .await?
                .into_iter()
                .filter_map(|tag| Some((template.parse_tag(&tag).ok()?, tag)))
                .filter(|(parts, _)| parts.flavor == stack.image.flavor)
                .collect();
            tags.sort_by_key(|(parts, _)| (parts.revision, parts.date));
            let listed: Vec<_> = tags.iter().map(|(parts, tag)| json!({ "tag": tag, "parts": parts })).collect();
            session.list(&json!({ "tags": listed }), tags.into_iter().map(|(_, tag)| tag))
        }
    }
}

fn parse_date(text: &str) -> anyhow::Result<NaiveDate> {
    compact_date(text).with_context(|| format!("`{}` is not a date in the form YYYYMMDD", text.escape_debug()))
}

/// The tag of a release of this lock on a day, and its parts.
async fn next(root: &Path, stack: &Stack, lock: &Lock, date: NaiveDate) -> anyhow::Result<(ImageTag, TagParts)> {
    let template = ImageTagTemplate::parse(&stack.image.tag)?;
    let flavor = &stack.image.flavor;
    let existing = known(root, &template, flavor).await?;
    let revision = next_revision(&template, existing.iter().map(String::as_str), flavor);
    let parts = parts(&template, flavor, lock, date, revision)?;
    let tag = template.compose(&parts)?;
    ensure!(existing.iter().all(|existing| existing != tag.as_str()), "the git tag {tag} already exists");
    Ok((tag, parts))
}

/// The parts of a release's tag, with the versions that the lock pins.
pub(super) fn parts(
    template: &ImageTagTemplate,
    flavor: &str,
    lock: &Lock,
    date: NaiveDate,
    revision: u32,
) -> anyhow::Result<TagParts> {
    let version = |name: &str| {
        let pin = lock.components.get(name);
        let pin = pin.with_context(|| format!("the image tag names `{name}`, which is not pinned"))?;
        Ok((name.to_owned(), pin.version.clone()))
    };
    let components = template.components().map(version).collect::<anyhow::Result<_>>()?;
    Ok(TagParts { date, flavor: flavor.to_owned(), revision, components })
}

/// The git tags of all flavors, to continue their revisions.
async fn known(root: &Path, template: &ImageTagTemplate, flavor: &str) -> anyhow::Result<Vec<String>> {
    let is_ours = |tag: &str| template.parse_tag(tag).is_ok_and(|parts| parts.flavor == flavor);
    git::tags(root, is_ours).await.context("cannot list the git tags")
}
