//! The npm registry: its address from npm's configuration, and its documents (`docs/responses/package-metadata.md` of
//! npm/registry).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::attested::{self, Attested, Subject};
use super::super::{Candidate, Kept, Upstream, Want, keep};
use super::npmrc::Npmrc;
use super::signatures::{Keys, Signature};
use crate::domain::digest::{FileUrl, Integrity};
use crate::domain::lock::Published;
use crate::domain::mirror::Mirrors;
use crate::domain::text::shown;
use crate::domain::trust::Trust;
use crate::domain::version::Version;
use crate::error::HintExt as _;
use crate::io::http::HttpError;
use crate::io::process;

const VARIABLE: &str = "npm_config_registry";
/// The short document that npm uses to install.
const SHORT_FORM: &str = "application/vnd.npm.install-v1+json";

/// The address of the registry that npm uses on this machine, after mirrors.
pub(crate) async fn registry(mirrors: &Mirrors) -> anyhow::Result<String> {
    Ok(mirrors.rewrite(&configured().await?))
}

/// `npm_config_registry`, in upper or lower case, precedes `.npmrc`; npm returns everything else.
async fn configured() -> anyhow::Result<String> {
    let set = std::env::vars().find(|(name, value)| name.eq_ignore_ascii_case(VARIABLE) && !value.is_empty());
    let text = match set {
        Some((_, value)) => value,
        None => process::text(process::command("npm").args(["config", "get", "registry"]))
            .await
            .context("cannot find the address of npm's registry")
            .hint(|| format!("set {VARIABLE} to its address"))?,
    };
    address(&text)
}

/// Validates an address: without a final slash and credentials.
fn address(text: &str) -> anyhow::Result<String> {
    let url: FileUrl =
        text.trim().trim_end_matches('/').parse().context("the address of npm's registry is not valid")?;
    if url.as_str().contains('@') {
        bail!("the address of npm's registry has credentials, which would be printed in logs");
    }
    Ok(url.to_string())
}

/// Checks a package name by npm's rules (validate-npm-package-name), without the legacy ones.
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
        bail!("`{}` is not a valid name of an npm package", package.escape_debug());
    }
    Ok(())
}

/// One version of a package; in messages "`openclaw` 2026.9.6".
#[derive(Clone, Copy)]
pub(super) struct Release<'a> {
    pub(super) package: &'a str,
    pub(super) version: &'a str,
}

impl fmt::Display for Release<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.package, self.version)
    }
}

/// All versions of a package.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Packument {
    #[serde(rename = "dist-tags")]
    pub(super) tags: BTreeMap<String, String>,
    pub(super) versions: BTreeMap<String, Manifest>,
    /// The publication time of each version. Not every registry has it.
    time: BTreeMap<String, Value>,
    /// The only time in the short form.
    modified: Option<String>,
}

impl Packument {
    pub(super) fn release(&self, release: Release<'_>) -> anyhow::Result<&Manifest> {
        self.versions.get(release.version).with_context(|| format!("npm's registry has no {release}"))
    }

    pub(super) fn published(&self, version: &str) -> Option<Published> {
        Published::at(self.moment(version)?)
    }

    /// The latest possible publication time: that of the version, or the last change of the package.
    pub(super) fn out_since(&self, version: &str) -> Option<DateTime<Utc>> {
        let changed = || self.moment("modified").or_else(|| self.modified.as_deref()?.parse().ok());
        self.moment(version).or_else(changed)
    }

    fn moment(&self, name: &str) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(self.time.get(name)?.as_str()?).ok().map(|moment| moment.to_utc())
    }

    pub(super) fn candidate(&self, version: Version, want: &Want) -> Candidate {
        Candidate { published: self.published(version.as_str()), ..Candidate::new(version, want) }
    }
}

/// One version of a package.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Manifest {
    pub(super) optional_dependencies: BTreeMap<String, String>,
    engines: Value,
    pub(super) os: Vec<String>,
    pub(super) cpu: Vec<String>,
    pub(super) libc: Vec<String>,
    /// A message; some tools write `false`.
    deprecated: Value,
    dist: Dist,
}

impl Manifest {
    /// The range of an engine in `engines`.
    pub(super) fn engine(&self, name: &str) -> Option<&str> {
        self.engines.get(name)?.as_str()
    }

    /// The deprecation message, if it is deprecated.
    pub(super) fn deprecation(&self) -> Option<String> {
        match &self.deprecated {
            Value::String(message) if !message.is_empty() => {
                Some(format!("deprecated by its publisher: {}", shown(message, 200)))
            }
            Value::Bool(true) => Some("deprecated by its publisher".to_owned()),
            _ => None,
        }
    }

    /// Its SHA-512 integrity. There may be several algorithms, separated by spaces (Subresource Integrity, W3C).
    pub(super) fn integrity(&self, release: Release<'_>) -> anyhow::Result<Integrity> {
        let stated = self.dist.integrity.as_ref().with_context(|| format!("{release} has no integrity"))?;
        let strong = stated.split_whitespace().find(|one| one.starts_with("sha512-")).unwrap_or(stated);
        strong.parse().with_context(|| format!("of {release}"))
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Dist {
    integrity: Option<String>,
    signatures: Vec<Signature>,
    attestations: Value,
}

/// The registry's documents, read once in a run.
#[derive(Default)]
pub(crate) struct Documents {
    setup: OnceCell<Setup>,
    keys: OnceCell<Keys>,
    /// `None` if the registry has no such package.
    packuments: Kept<Option<Arc<Packument>>>,
}

struct Setup {
    address: String,
    npmrc: Npmrc,
    login: Option<HeaderValue>,
}

/// A client of the registry.
#[derive(Clone, Copy)]
pub(super) struct Registry<'a> {
    up: Upstream<'a>,
    setup: &'a Setup,
}

impl<'a> Registry<'a> {
    pub(super) async fn new(up: Upstream<'a>) -> anyhow::Result<Self> {
        let setup = up.npm.setup.get_or_try_init(|| async {
            let address = configured().await?;
            let npmrc = Npmrc::read(up.root).await;
            // As in npm, by the final address, so that a mirror only gets its own credentials.
            let login = npmrc.login(&up.http.mirrors().rewrite(&address));
            anyhow::Ok(Setup { address, npmrc, login })
        });
        Ok(Self { up, setup: setup.await? })
    }

    /// The address after mirrors, for npm.
    pub(super) fn mirrored(&self) -> String {
        self.up.http.mirrors().rewrite(&self.setup.address)
    }

    pub(super) fn npmrc(&self) -> &'a Npmrc {
        &self.setup.npmrc
    }

    pub(super) async fn packument(&self, package: &str) -> anyhow::Result<Arc<Packument>> {
        self.find_packument(package)
            .await?
            .with_context(|| format!("npm's registry has no package `{package}`"))
            .hint(|| format!("the registry is {}; set {VARIABLE} to use another one", self.mirrored()))
    }

    /// The full document, because the short form has no publication times; the short form if the full one is too long.
    pub(super) async fn find_packument(&self, package: &str) -> anyhow::Result<Option<Arc<Packument>>> {
        let read = async {
            let url = self.url(package);
            let whole = self.get::<Packument>(&url, "application/json").await;
            let read = match whole {
                Err(HttpError::TooLong { .. }) => self.get(&url, SHORT_FORM).await,
                whole => whole,
            };
            anyhow::Ok(found(read)?.map(Arc::new))
        };
        Ok(Option::clone(&*keep(&self.up.npm.packuments, package, read).await?))
    }

    /// One version, if the registry has it. Some registries only serve whole packages, and answer any status here.
    pub(super) async fn manifest(&self, release: Release<'_>) -> anyhow::Result<Option<Manifest>> {
        let Release { package, version } = release;
        match self.get(&format!("{}/{version}", self.url(package)), "application/json").await {
            Err(error) if error.status().is_some_and(|status| status.is_client_error() && status != 401) => {
                let packument = self.find_packument(package).await?;
                Ok(packument.and_then(|packument| packument.versions.get(version).cloned()))
            }
            result => found(result),
        }
    }

    /// The trust in a version, and what it is based on. Dependencies are not checked: each would cost a request.
    pub(super) async fn vouched(
        &self,
        release: Release<'_>,
        manifest: &Manifest,
        published: Option<&Published>,
    ) -> anyhow::Result<(Trust, &'static str)> {
        let Dist { integrity: Some(integrity), signatures, .. } = &manifest.dist else {
            return Ok((Trust::Computed, "nothing"));
        };
        let stated = (Trust::Stated, "npm's registry");
        if signatures.is_empty() {
            return Ok(stated);
        }
        let keys = self.up.npm.keys.get_or_try_init(|| async {
            let url = format!("{}/-/npm/v1/keys", self.setup.address);
            match self.get::<Keys>(&url, "application/json").await {
                // Not every registry signs.
                Err(error) if error.status().is_some_and(|status| status.is_client_error()) => Ok(Keys::default()),
                keys => keys.context("cannot read the keys of npm's registry"),
            }
        });
        let text = format!("{}@{}:{integrity}", release.package, release.version);
        let is_signed = keys.await?.vouch(signatures, &text, published.map(Published::moment))?;
        Ok(if is_signed { (Trust::Signed, "the signature of npm's registry") } else { stated })
    }

    /// Verifies the provenance of a version; `None` without one.
    pub(super) async fn provenance(
        &self,
        repo: Option<&str>,
        Release { package, version }: Release<'_>,
        manifest: &Manifest,
        integrity: &Integrity,
    ) -> anyhow::Result<Option<Attested>> {
        #[derive(Deserialize)]
        struct Attestations {
            attestations: Vec<Attestation>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Attestation {
            predicate_type: String,
            bundle: Value,
        }
        let up = self.up;
        if manifest.dist.attestations.is_null() {
            return Ok(None);
        }
        let what = format!("{package} {version}");
        let Some(repo) = repo else {
            up.notes.add(format!("note: {what} has provenance: set `repository` in stack.toml to have it verified"));
            return Ok(None);
        };
        let url = format!("{}/-/npm/v1/attestations/{}@{version}", self.setup.address, package.replace('/', "%2f"));
        let Some(Attestations { attestations }) = found(self.get(&url, "application/json").await)? else {
            up.notes.add(format!("note: the provenance of {what} does not exist at {url}"));
            return Ok(None);
        };
        let is_provenance = |one: &Attestation| one.predicate_type.starts_with(attested::PROVENANCE);
        let bundles = attestations.into_iter().filter(is_provenance).map(|one| one.bundle);
        // A package URL (`pkg:npm/%40scope/name@1.0.0`).
        let name = format!("pkg:npm/{}@{version}", package.replace('@', "%40"));
        let digest = format!("sha512:{}", integrity.hex());
        let subject = Subject { repo, name: Some(&name), digest: &digest, what: &what };
        attested::check(up, subject, &bundles.collect::<Vec<_>>()).await
    }

    async fn get<T: DeserializeOwned>(&self, url: &str, accept: &'static str) -> Result<T, HttpError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.extend(self.setup.login.clone().map(|login| (AUTHORIZATION, login)));
        self.up.http.json_as(url, headers).await
    }

    fn url(&self, package: &str) -> String {
        format!("{}/{}", self.setup.address, package.replace('/', "%2f"))
    }
}

fn found<T>(result: Result<T, HttpError>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(document) => Ok(Some(document)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => Err(error)
            .context("cannot read npm's registry")
            .hint(|| "it needs a login: run `npm login`, or set `//HOST/:_authToken=…` in ~/.npmrc"),
        Err(error) => Err(error).context("cannot read npm's registry"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_no_credentials() {
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
    fn every_field_of_a_document_is_optional() {
        let text = r#"{"versions": {"1.0.0": {}, "1.1.0": {"deprecated": "no"}, "1.2.0": {"deprecated": false}},
            "time": {"1.0.0": "2026-09-24T22:17:03.665Z", "1.1.0": null}}"#;
        let packument: Packument = serde_json::from_str(text).unwrap();
        assert_eq!(packument.published("1.0.0").unwrap().to_string(), "2026-09-24T22:17:03Z");
        assert_eq!(packument.published("1.1.0"), None);
        let deprecated: Vec<Option<String>> = packument.versions.values().map(Manifest::deprecation).collect();
        assert_eq!(deprecated, [None, Some("deprecated by its publisher: no".to_owned()), None]);
    }
}
