//! The registry: its address from npm's own configuration, and the two documents that are read there.
//! `docs/responses/package-metadata.md` of npm/registry describes them.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::{Candidate, PassedOver};
use crate::domain::digest::{FileUrl, Integrity};
use crate::domain::lock::Published;
use crate::domain::mirror::Mirrors;
use crate::domain::version::Version;
use crate::error::HintExt as _;
use crate::io::http::{Http, HttpError};
use crate::io::process;

const VARIABLE: &str = "npm_config_registry";

/// The registry that this machine's npm uses, after mirrors.
pub(crate) async fn registry(mirrors: &Mirrors) -> anyhow::Result<String> {
    Ok(mirrors.rewrite(&configured().await?))
}

/// npm reads `npm_config_registry` in any case before any `.npmrc`; asking npm itself covers the rest.
async fn configured() -> anyhow::Result<String> {
    let set = std::env::vars().find(|(name, value)| name.eq_ignore_ascii_case(VARIABLE) && !value.is_empty());
    let told = match set {
        Some((_, value)) => value,
        None => process::text(process::command("npm").args(["config", "get", "registry"]))
            .await
            .context("cannot tell the address of npm's registry")
            .hint(|| format!("set {VARIABLE} to its address"))?,
    };
    address(&told)
}

/// An address as it may be used and printed: without a final slash, and without a password.
fn address(told: &str) -> anyhow::Result<String> {
    let url: FileUrl = told.trim().trim_end_matches('/').parse().context("npm's registry has a strange address")?;
    if url.as_str().contains('@') {
        bail!("npm's registry has a login in its address, which would end in logs");
    }
    Ok(url.into())
}

/// A package's name by npm's rules (validate-npm-package-name), without the old exceptions.
pub(super) fn check_name(package: &str) -> anyhow::Result<()> {
    let plain = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
    };
    let is_name = match package.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| plain(scope) && plain(name)),
        None => plain(package),
    };
    if !is_name || package.len() > 214 {
        bail!("`{}` is no name of an npm package", package.escape_debug());
    }
    Ok(())
}

/// All versions of a package.
#[derive(Debug, Deserialize)]
pub(super) struct Packument {
    #[serde(rename = "dist-tags", default)]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, Manifest>,
    /// When each version was published. Not every registry keeps it.
    #[serde(default)]
    time: BTreeMap<String, serde_json::Value>,
}

impl Packument {
    pub(super) fn published(&self, version: &str) -> Option<Published> {
        let moment = DateTime::parse_from_rfc3339(self.time.get(version)?.as_str()?).ok()?;
        Some(Published::at(moment.with_timezone(&Utc)))
    }

    pub(super) fn candidate(&self, version: Version, passed_over: Vec<PassedOver>) -> Candidate {
        let published = self.published(version.as_str());
        Candidate { version, tag: None, commit: None, published, passed_over }
    }
}

/// One version of a package.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) optional_dependencies: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) os: Vec<String>,
    #[serde(default)]
    pub(super) cpu: Vec<String>,
    #[serde(default)]
    pub(super) libc: Vec<String>,
    /// A message; some tools write `false`.
    #[serde(default)]
    deprecated: serde_json::Value,
    #[serde(default)]
    dist: Dist,
}

impl Manifest {
    pub(super) fn is_deprecated(&self) -> bool {
        self.deprecated.as_str().is_some_and(|message| !message.is_empty()) || self.deprecated == true
    }
}

#[derive(Debug, Default, Deserialize)]
struct Dist {
    #[serde(default)]
    integrity: Option<String>,
}

/// The registry, asked through the one HTTP client, which applies the mirrors.
pub(super) struct Registry<'a> {
    http: &'a Http,
    address: String,
}

impl<'a> Registry<'a> {
    pub(super) async fn new(http: &'a Http) -> anyhow::Result<Self> {
        Ok(Self { http, address: configured().await? })
    }

    /// The address for npm itself.
    pub(super) fn mirrored(&self) -> String {
        self.http.mirrors().rewrite(&self.address)
    }

    /// The whole document: the abbreviated one has no publication times.
    pub(super) async fn packument(&self, package: &str) -> anyhow::Result<Packument> {
        self.find_packument(package)
            .await?
            .with_context(|| format!("npm's registry has no package `{package}`"))
            .hint(|| format!("the registry is {}; {VARIABLE} names another one", self.mirrored()))
    }

    pub(super) async fn find_packument(&self, package: &str) -> anyhow::Result<Option<Packument>> {
        found(self.http.json(&self.url(package)).await)
    }

    /// One version, when the registry has it.
    pub(super) async fn manifest(&self, package: &str, version: &str) -> anyhow::Result<Option<Manifest>> {
        found(self.http.json(&format!("{}/{version}", self.url(package))).await)
    }

    /// The integrity of one version, when the registry has it.
    pub(super) async fn integrity(&self, package: &str, version: &str) -> anyhow::Result<Option<Integrity>> {
        let Some(manifest) = self.manifest(package, version).await? else { return Ok(None) };
        let told = manifest.dist.integrity.with_context(|| format!("`{package}` {version} has no integrity"))?;
        // Several algorithms may stand in it, with blanks between them (Subresource Integrity, W3C).
        let strong = told.split_whitespace().find(|one| one.starts_with("sha512-")).unwrap_or(&told);
        Ok(Some(strong.parse().with_context(|| format!("of `{package}` {version}"))?))
    }

    fn url(&self, package: &str) -> String {
        format!("{}/{}", self.address, package.replace('/', "%2f"))
    }
}

fn found<T>(result: Result<T, HttpError>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(document) => Ok(Some(document)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error).context("cannot read npm's registry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_plain_and_holds_no_password() {
        assert_eq!(address("https://npm.example/repository/all/\n").unwrap(), "https://npm.example/repository/all");
        for bad in ["undefined", "https://me:secret@npm.example", "file:///etc", "https://x/$(id)", ""] {
            let error = format!("{:#}", address(bad).unwrap_err());
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn names_follow_the_rules_of_npm() {
        for good in ["openclaw", "opencode-ai", "@img/sharp-linux-x64", "lodash.merge", "7zip-bin"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "../x", "a/b", "@a", "@a/", "@a/b/c", "A", "a b", "a;id", ".hidden", "--registry=x"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_document_is_read_whatever_is_missing() {
        let text = r#"{"versions": {"1.0.0": {}, "1.1.0": {"deprecated": "no"}, "1.2.0": {"deprecated": false}},
            "time": {"1.0.0": "2026-09-24T22:17:03.665Z", "1.1.0": null}}"#;
        let packument: Packument = serde_json::from_str(text).unwrap();
        assert_eq!(packument.published("1.0.0").unwrap().to_string(), "2026-09-24T22:17:03Z");
        assert_eq!(packument.published("1.1.0"), None);
        let deprecated: Vec<bool> = packument.versions.values().map(Manifest::is_deprecated).collect();
        assert_eq!(deprecated, [false, true, false]);
    }
}
