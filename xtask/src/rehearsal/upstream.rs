//! The embedded upstream: recorded release metadata, with the digests of the archives made for this run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::artifacts::{Archive, Wanted, Workshop};
use super::server::{Answer, Server};
use crate::domain::mirror::Mirror;
use crate::domain::stack::{Component, FileSpec, Source, Stack};

/// How many archives are made at once: each is downloaded first, then packed.
const AT_ONCE: usize = 2;

/// GitHub, nodejs.org and Convex's version service on a loopback port.
#[derive(Debug)]
pub(crate) struct StandIns {
    _server: Server,
    /// What each stand-in replaces.
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) archives: usize,
}

/// The version of each component that has archives, which the rehearsal must pin.
pub(crate) type Chosen = BTreeMap<String, String>;

impl StandIns {
    pub(crate) async fn start(stack: &Stack, workshop: &Workshop) -> anyhow::Result<Self> {
        let chosen: Chosen =
            serde_json::from_str(&fs_err::read_to_string(workshop.standins.join("metadata/chosen.json"))?)
                .context("metadata/chosen.json names no versions")?;
        let (listener, address) = Server::bind().await?;
        let origin = format!("http://{address}");
        let mut answers = BTreeMap::new();
        let mut wanted = Vec::new();
        for (name, component) in &stack.components {
            if let (Source::Github { .. }, Some(file)) = (&component.source, &component.file) {
                let tag = chosen.get(name).with_context(|| format!("metadata/chosen.json lacks `{name}`"))?;
                wanted.extend(wanted_archives(name, component, file, tag)?);
            }
        }
        let made = stream::iter(wanted)
            .map(async |wanted| {
                let archive = workshop.make(&wanted).await;
                archive.map(|it| (wanted.url.clone(), it)).with_context(|| format!("cannot make {}", wanted.file_name))
            })
            .buffer_unordered(AT_ONCE);
        let archives: BTreeMap<String, Archive> = made.try_collect().await?;
        for component in stack.components.values() {
            add_releases(&workshop.standins, component, &archives, &mut answers)?;
            add_extras(component, &archives, &chosen, stack, &mut answers);
        }
        for (url, archive) in &archives {
            answers.insert(path_of(url), Answer::File(archive.path.clone()));
        }
        let mirrors =
            ["https://api.github.com", "https://github.com", "https://nodejs.org", "https://version.convex.dev"]
                .iter()
                .map(|from| Mirror { from: (*from).to_owned(), to: format!("{origin}/{}", without_scheme(from)) })
                .collect();
        let archives = archives.len();
        Ok(Self { _server: Server::serve(listener, answers), mirrors, archives })
    }
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Returns the path of a URL: the host is its first segment.
fn path_of(url: &str) -> String {
    format!("/{}", without_scheme(url))
}

/// Lists the archives of a component for every architecture, with their URLs at upstream.
fn wanted_archives(name: &str, component: &Component, file: &FileSpec, tag: &str) -> anyhow::Result<Vec<Wanted>> {
    let Source::Github { repo, prefix, .. } = &component.source else { return Ok(Vec::new()) };
    let version = component.scheme.parse(tag.strip_prefix(prefix.as_str()).unwrap_or(tag))?;
    let arches: Vec<_> = component.arch.iter().map(|(arch, spelling)| (Some(*arch), spelling.as_str())).collect();
    let arches = if arches.is_empty() { vec![(None, "")] } else { arches };
    let wanted = arches.into_iter().map(|(arch, spelling)| {
        let file_name = file.file_name(tag, version.as_str(), spelling);
        let url = match &file.url {
            Some(url) => FileSpec::fill(url, tag, version.as_str(), spelling, &file_name),
            None => format!("https://github.com/{repo}/releases/download/{tag}/{file_name}"),
        };
        Wanted {
            component: name.to_owned(),
            version: version.as_str().to_owned(),
            file_name,
            arch,
            spelling: spelling.to_owned(),
            url,
        }
    });
    Ok(wanted.collect())
}

/// Adds the recorded releases of a repository, as a listing and each by its tag.
fn add_releases(
    standins: &Path,
    component: &Component,
    archives: &BTreeMap<String, Archive>,
    answers: &mut BTreeMap<String, Answer>,
) -> anyhow::Result<()> {
    let Source::Github { repo, .. } = &component.source else { return Ok(()) };
    let recorded = standins.join("metadata").join(format!("{}.json", repo.replace('/', "+")));
    let mut releases: Value = serde_json::from_str(&fs_err::read_to_string(&recorded)?)
        .with_context(|| format!("{} is not a list of releases", recorded.display()))?;
    for release in releases.as_array_mut().into_iter().flatten() {
        for asset in release["assets"].as_array_mut().into_iter().flatten() {
            let archive = asset["browser_download_url"].as_str().and_then(|url| archives.get(url));
            if let Some(archive) = archive {
                asset["digest"] = Value::from(format!("sha256:{}", archive.sha256));
                asset["size"] = Value::from(archive.size);
            }
        }
        let tag = release["tag_name"].as_str().unwrap_or_default();
        let by_tag = format!("/api.github.com/repos/{repo}/releases/tags/{tag}");
        answers.insert(by_tag, Answer::Json(release.to_string()));
    }
    answers.insert(format!("/api.github.com/repos/{repo}/releases"), Answer::Json(releases.to_string()));
    Ok(())
}

/// Adds what upstreams serve beside releases: pointer files, lists of checksums, the promoted version.
fn add_extras(
    component: &Component,
    archives: &BTreeMap<String, Archive>,
    chosen: &Chosen,
    stack: &Stack,
    answers: &mut BTreeMap<String, Answer>,
) {
    let Source::Github { repo, pointer, promoted, .. } = &component.source else { return };
    let tag = stack
        .components
        .iter()
        .find(|(_, other)| std::ptr::eq(*other, component))
        .and_then(|(name, _)| chosen.get(name))
        .map(String::as_str)
        .unwrap_or_default();
    if let Some(pointer) = pointer
        && let Some(stable) = chosen.get("llamacpp-stable")
    {
        let path = format!("/github.com/{repo}/releases/download/{stable}/{pointer}");
        answers.insert(path, Answer::Json(format!("{tag}\n")));
    }
    if let Some(promoted) = promoted {
        answers.insert(path_of(promoted), Answer::Json(format!("{{\"version\":\"{tag}\"}}")));
    }
    if let Some(checksums) = component.file.as_ref().and_then(|file| file.checksums.as_ref()) {
        let version = tag.trim_start_matches('v');
        let url = FileSpec::fill(checksums, tag, version, "", "");
        let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
        let lines = archives.iter().filter_map(|(url, archive)| {
            let name = url.strip_prefix(folder)?.strip_prefix('/')?;
            Some(format!("{}  {name}\n", archive.sha256))
        });
        answers.insert(path_of(&url), Answer::Json(lines.collect()));
    }
}
