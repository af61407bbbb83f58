//! `package-lock.json`: made by npm, and checked (docs.npmjs.com, "package-lock.json", lockfileVersion 3).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use super::npmrc;
use super::platform::{family, fits};
use super::registry::Registry;
use crate::domain::arch::Arch;
use crate::domain::digest::{DigestError, Integrity};
use crate::error::HintExt as _;
use crate::io::process;

#[derive(Debug, thiserror::Error)]
pub(super) enum LockfileError {
    #[error("it does not parse")]
    Syntax(#[from] serde_json::Error),
    #[error("it has lockfileVersion {0}, expected is 3")]
    Version(u64),
    #[error("it does not have `{package}` {version} at its top level")]
    NoPackage { package: String, version: String },
    #[error("`{0}` is a link, not a package of a registry")]
    Link(String),
    #[error("`{path}` has a fixed address, {resolved}")]
    Resolved { path: String, resolved: String },
    #[error("`{0}` has no integrity")]
    NoIntegrity(String),
    #[error("`{path}` has an integrity other than SHA-512")]
    Integrity { path: String, source: DigestError },
    #[error("`{there}` is for one architecture, and there is no such package for {missing}")]
    OneArch { there: String, missing: Arch },
}

/// Turns off npm's messages about other topics.
pub(super) const QUIETLY: [&str; 3] = ["--no-audit", "--no-fund", "--no-update-notifier"];

/// The two files that `npm ci` needs.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) package: String,
    pub(super) lockfile: String,
}

#[derive(Debug)]
pub(super) struct Checked {
    /// Of the main package.
    pub(super) integrity: Integrity,
    /// The packages with install scripts.
    pub(super) scripts: Vec<String>,
}

/// Runs npm to resolve all dependencies in a scratch folder, without downloading packages or running scripts. Packages
/// published after `before` are ignored.
pub(super) async fn make(
    registry: Registry<'_>,
    component: &str,
    package: &str,
    version: &str,
    before: Option<DateTime<Utc>>,
) -> anyhow::Result<Made> {
    let folder = tempfile::Builder::new().prefix("xtask-npm-").tempdir()?;
    let wanted = package_json(component, package, version)?;
    fs_err::write(folder.path().join("package.json"), &wanted)?;
    // It has credentials, which must not be on a command line.
    let npmrc = folder.path().join("npmrc");
    fs_err::write(&npmrc, registry.npmrc().text())?;
    let registry = registry.mirrored();
    let mut npm = process::command("npm");
    for (variable, _) in std::env::vars_os() {
        if !variable.to_str().is_some_and(npmrc::is_transport) {
            npm.env_remove(variable);
        }
    }
    npm.current_dir(folder.path())
        .env("npm_config_userconfig", &npmrc)
        .env("npm_config_globalconfig", folder.path().join("none"))
        .env("npm_config_registry", &registry)
        .args(["install", "--package-lock-only", "--ignore-scripts", "--omit-lockfile-registry-resolved", "--save"])
        .args(["--no-workspaces", "--no-global", "--no-legacy-peer-deps", "--lockfile-version=3"])
        .args(["--install-strategy=hoisted", "--loglevel=error"])
        .args(QUIETLY)
        .arg(format!("--fetch-timeout={}", 1000 * crate::io::http::timeout()));
    if let Some(before) = before {
        npm.arg(format!("--before={}", before.to_rfc3339_opts(SecondsFormat::Secs, true)));
    }
    process::output(&mut npm)
        .await
        .hint(|| format!("npm used the registry {registry}; `npm ping` shows whether it answers"))?;
    let lockfile =
        fs_err::read_to_string(folder.path().join("package-lock.json")).context("npm made no package-lock.json")?;
    Ok(Made { package: wanted, lockfile })
}

/// The package.json of the image: one exact version, and private.
fn package_json(component: &str, package: &str, version: &str) -> anyhow::Result<String> {
    #[derive(serde::Serialize)]
    struct Package<'a> {
        name: String,
        private: bool,
        dependencies: BTreeMap<&'a str, &'a str>,
    }
    let name = format!("{component}-in-the-image");
    let text = serde_json::to_string_pretty(&Package {
        name,
        private: true,
        dependencies: BTreeMap::from([(package, version)]),
    })?;
    Ok(text + "\n")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lockfile {
    lockfile_version: u64,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "npm's format has these flags")]
struct Entry {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    resolved: Option<String>,
    #[serde(default)]
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    /// It is in the tarball of another package, whose integrity covers it.
    #[serde(default)]
    in_bundle: bool,
    #[serde(default)]
    has_install_script: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    os: Vec<String>,
    #[serde(default)]
    cpu: Vec<String>,
    #[serde(default)]
    libc: Vec<String>,
}

impl Entry {
    fn is_for(&self, arch: Arch) -> bool {
        fits(&self.os, &self.cpu, &self.libc, arch)
    }
}

/// Checks that a lockfile pins everything, without addresses, for every architecture.
pub(super) fn check(text: &str, package: &str, version: &str) -> Result<Checked, LockfileError> {
    let lockfile: Lockfile = serde_json::from_str(text)?;
    if lockfile.lockfile_version != 3 {
        return Err(LockfileError::Version(lockfile.lockfile_version));
    }
    let entries = || lockfile.packages.iter().filter(|(path, _)| !path.is_empty());
    for (path, entry) in entries() {
        check_entry(path, entry)?;
    }
    check_platforms(entries())?;
    let own = lockfile.packages.get(&format!("node_modules/{package}"));
    let own = own.filter(|entry| entry.version.as_deref() == Some(version));
    let integrity = own.and_then(|entry| entry.integrity.as_ref()).and_then(|text| text.parse().ok());
    let no_package = || LockfileError::NoPackage { package: package.to_owned(), version: version.to_owned() };
    let scripts: BTreeSet<&str> =
        entries().filter(|(_, entry)| entry.has_install_script).map(|(path, _)| package_of(path)).collect();
    Ok(Checked {
        integrity: integrity.ok_or_else(no_package)?,
        scripts: scripts.into_iter().map(str::to_owned).collect(),
    })
}

fn check_entry(path: &str, entry: &Entry) -> Result<(), LockfileError> {
    if entry.link {
        return Err(LockfileError::Link(path.to_owned()));
    }
    if let Some(resolved) = &entry.resolved {
        return Err(LockfileError::Resolved { path: path.to_owned(), resolved: resolved.clone() });
    }
    match &entry.integrity {
        Some(text) => {
            let parsed = text.parse::<Integrity>();
            parsed.map(|_| ()).map_err(|source| LockfileError::Integrity { path: path.to_owned(), source })
        }
        None if entry.in_bundle => Ok(()),
        None => Err(LockfileError::NoIntegrity(path.to_owned())),
    }
}

/// Checks that the native packages of one architecture exist for the other, too.
fn check_platforms<'a>(entries: impl Iterator<Item = (&'a String, &'a Entry)>) -> Result<(), LockfileError> {
    let mut families: BTreeMap<String, Vec<(&str, &Entry)>> = BTreeMap::new();
    for (path, entry) in entries.filter(|(_, entry)| entry.optional && !entry.cpu.is_empty()) {
        let package = package_of(path);
        families.entry(family(package)).or_default().push((package, entry));
    }
    for members in families.values() {
        let one_for = |arch| members.iter().find(|(_, entry)| entry.is_for(arch));
        for (here, missing) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
            if let (Some((there, _)), None) = (one_for(here), one_for(missing)) {
                return Err(LockfileError::OneArch { there: (*there).to_owned(), missing });
            }
        }
    }
    Ok(())
}

/// `@img/sharp` of `node_modules/openclaw/node_modules/@img/sharp`.
fn package_of(path: &str) -> &str {
    path.rsplit_once("node_modules/").map_or(path, |(_, package)| package)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../../image/npm/openclaw/package-lock.json");

    fn real_version() -> String {
        let lockfile: Lockfile = serde_json::from_str(REAL).unwrap();
        lockfile.packages["node_modules/openclaw"].version.clone().unwrap()
    }

    #[test]
    fn the_committed_lockfile_is_complete() {
        let checked = check(REAL, "openclaw", &real_version()).unwrap();
        assert!(checked.integrity.as_str().starts_with("sha512-"));
        assert!(checked.scripts.contains(&"openclaw".to_owned()), "{:?}", checked.scripts);
    }

    #[test]
    fn packages_that_are_not_pinned_are_refused() {
        let version = real_version();
        let refused = |text: &str| check(text, "openclaw", &version).unwrap_err().to_string();
        let integrity = REAL.find("\"integrity\": \"sha512-").unwrap();
        let line_end = integrity + REAL[integrity..].find('\n').unwrap();
        let without = format!("{}{}", &REAL[..integrity], &REAL[line_end..]);
        assert!(refused(&without).contains("has no integrity"), "{}", refused(&without));
        assert!(refused(&REAL.replacen("sha512-", "sha1-", 1)).contains("other than SHA-512"));
        let address = "\"resolved\": \"https://example.com/x.tgz\", \"integrity\"";
        assert!(refused(&REAL.replacen("\"integrity\"", address, 1)).contains("https://example.com/x.tgz"));
        assert!(refused(&REAL.replacen("\"integrity\"", "\"link\": true, \"integrity\"", 1)).contains("is a link"));
        assert!(refused(&REAL.replacen("\"lockfileVersion\": 3", "\"lockfileVersion\": 2", 1)).contains('2'));
        assert!(check(REAL, "openclaw", "1.0.0").is_err());
        assert!(matches!(check("{", "openclaw", &version), Err(LockfileError::Syntax(_))));
    }

    #[test]
    fn a_native_package_for_one_architecture_only_is_refused() {
        let mut lockfile: serde_json::Value = serde_json::from_str(REAL).unwrap();
        let packages = lockfile["packages"].as_object_mut().unwrap();
        let before = packages.len();
        packages.retain(|path, entry| !(path.ends_with("-linux-arm64") && entry["cpu"][0] == "arm64"));
        assert!(packages.len() < before);
        let error = check(&lockfile.to_string(), "openclaw", &real_version()).unwrap_err();
        assert!(matches!(error, LockfileError::OneArch { missing: Arch::Aarch64, .. }), "{error}");
    }

    #[test]
    fn the_package_json_has_one_exact_version() {
        let committed = include_str!("../../../../image/npm/openclaw/package.json");
        assert_eq!(package_json("openclaw", "openclaw", &real_version()).unwrap(), committed);
    }
}
