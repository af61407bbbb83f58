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
type Chosen = BTreeMap<String, String>;
/// The archives, by their URLs at upstream.
type Archives = BTreeMap<String, Archive>;
/// Responses, by path.
type Answers = Vec<(String, Answer)>;

impl StandIns {
    pub(crate) async fn start(stack: &Stack, workshop: &Workshop) -> anyhow::Result<Self> {
        let chosen: Chosen =
            serde_json::from_str(&fs_err::read_to_string(workshop.standins.join("metadata/chosen.json"))?)
                .context("metadata/chosen.json names no versions")?;
        let (listener, address) = Server::bind().await?;
        let mut answers = BTreeMap::new();
        let mut wanted = Vec::new();
        for (name, component) in &stack.components {
            wanted.extend(wanted_archives(name, component, &chosen)?);
        }
        let made = stream::iter(wanted)
            .map(async |wanted| {
                let archive = workshop.make(&wanted).await;
                archive.map(|it| (wanted.url.clone(), it)).with_context(|| format!("cannot make {}", wanted.file_name))
            })
            .buffer_unordered(AT_ONCE);
        let archives: Archives = made.try_collect().await?;
        for (name, component) in &stack.components {
            answers.extend(releases(&workshop.standins, component, &archives)?);
            answers.extend(extras(name, component, &archives, &chosen));
        }
        for (url, archive) in &archives {
            answers.insert(path_of(url), Answer::File(archive.path.clone()));
        }
        let hosts =
            ["https://api.github.com", "https://github.com", "https://nodejs.org", "https://version.convex.dev"];
        let mirror = |from: &str| Mirror { from: from.to_owned(), to: format!("http://{address}{}", path_of(from)) };
        let mirrors = hosts.map(mirror).to_vec();
        let archives = archives.len();
        Ok(Self { _server: Server::serve(listener, answers), mirrors, archives })
    }
}

/// Returns the path of a URL: the host is its first segment.
fn path_of(url: &str) -> String {
    format!("/{}", url.split_once("://").map_or(url, |(_, rest)| rest))
}

/// Lists the archives of a component for every architecture, with their URLs at upstream.
fn wanted_archives(name: &str, component: &Component, chosen: &Chosen) -> anyhow::Result<Vec<Wanted>> {
    let (Source::Github { repo, prefix, .. }, Some(file)) = (&component.source, &component.file) else {
        return Ok(Vec::new());
    };
    let tag = chosen.get(name).with_context(|| format!("metadata/chosen.json lacks `{name}`"))?;
    let version = component.scheme.parse(tag.strip_prefix(prefix.as_str()).unwrap_or(tag))?;
    let mut arches: Vec<_> = component.arch.iter().map(|(arch, spelling)| (Some(*arch), spelling.as_str())).collect();
    if arches.is_empty() {
        arches.push((None, ""));
    }
    let wanted = arches.into_iter().map(|(arch, spelling)| {
        let file_name = file.file_name(tag, version.as_str(), spelling);
        let url = match &file.url {
            Some(url) => FileSpec::fill(url, tag, version.as_str(), spelling, &file_name),
            None => format!("https://github.com/{repo}/releases/download/{tag}/{file_name}"),
        };
        let (component, version, spelling) = (name.to_owned(), version.to_string(), spelling.to_owned());
        Wanted { component, version, file_name, arch, spelling, url }
    });
    Ok(wanted.collect())
}

/// The recorded releases of a repository, as a listing and each by its tag.
fn releases(standins: &Path, component: &Component, archives: &Archives) -> anyhow::Result<Answers> {
    let mut answers = Vec::new();
    let Source::Github { repo, .. } = &component.source else { return Ok(answers) };
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
        answers.push((by_tag, Answer::Json(release.to_string())));
    }
    answers.push((format!("/api.github.com/repos/{repo}/releases"), Answer::Json(releases.to_string())));
    Ok(answers)
}

/// What upstreams serve beside releases: pointer files, lists of checksums, the promoted version.
fn extras(name: &str, component: &Component, archives: &Archives, chosen: &Chosen) -> Answers {
    let mut answers = Vec::new();
    let Source::Github { repo, pointer, promoted, .. } = &component.source else { return answers };
    let tag = chosen.get(name).map_or("", String::as_str);
    if let Some(pointer) = pointer
        && let Some(stable) = chosen.get("llamacpp-stable")
    {
        let path = format!("/github.com/{repo}/releases/download/{stable}/{pointer}");
        answers.push((path, Answer::Json(format!("{tag}\n"))));
    }
    if let Some(promoted) = promoted {
        answers.push((path_of(promoted), Answer::Json(format!("{{\"version\":\"{tag}\"}}"))));
    }
    if let Some(checksums) = component.file.as_ref().and_then(|file| file.checksums.as_ref()) {
        let version = tag.trim_start_matches('v');
        let url = FileSpec::fill(checksums, tag, version, "", "");
        let folder = url.rsplit_once('/').map_or("", |(folder, _)| folder);
        let lines = archives.iter().filter_map(|(url, archive)| {
            let name = url.strip_prefix(folder)?.strip_prefix('/')?;
            Some(format!("{}  {name}\n", archive.sha256))
        });
        answers.push((path_of(&url), Answer::Json(lines.collect())));
    }
    answers
}
