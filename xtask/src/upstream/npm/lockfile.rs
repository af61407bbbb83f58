//! `package-lock.json`: made by npm, and checked (docs.npmjs.com, "package-lock.json", lockfileVersion 3).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

use super::npmrc;
use super::platform::{family, fits};
use super::registry::{Registry, Release};
use crate::domain::arch::Arch;
use crate::domain::digest::Integrity;
use crate::error::HintExt as _;
use crate::io::process;

/// Turns off npm's messages about other topics.
pub(super) const QUIETLY: [&str; 3] = ["--no-audit", "--no-fund", "--no-update-notifier"];

/// Runs npm to resolve all dependencies in a scratch folder, without downloading packages or running scripts. Packages
/// published after `before` are ignored. Returns the texts of package.json and package-lock.json.
pub(super) async fn make(
    registry: Registry<'_>,
    component: &str,
    release: Release<'_>,
    before: Option<DateTime<Utc>>,
) -> anyhow::Result<(String, String)> {
    let folder = tempfile::Builder::new().prefix("xtask-npm-").tempdir()?;
    let wanted = package_json(component, release)?;
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
    Ok((wanted, lockfile))
}

/// The package.json of the image: one exact version, and private.
fn package_json(component: &str, release: Release<'_>) -> serde_json::Result<String> {
    #[derive(serde::Serialize)]
    struct Package<'a> {
        name: String,
        private: bool,
        dependencies: BTreeMap<&'a str, &'a str>,
    }
    let name = format!("{component}-in-the-image");
    let dependencies = BTreeMap::from([(release.package, release.version)]);
    Ok(serde_json::to_string_pretty(&Package { name, private: true, dependencies })? + "\n")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lockfile {
    lockfile_version: u64,
    #[serde(default)]
    packages: BTreeMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_excessive_bools, reason = "npm's format has these flags")]
struct Entry {
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    link: bool,
    /// It is in the tarball of another package, whose integrity covers it.
    in_bundle: bool,
    has_install_script: bool,
    optional: bool,
    os: Vec<String>,
    cpu: Vec<String>,
    libc: Vec<String>,
}

impl Entry {
    fn is_for(&self, arch: Arch) -> bool {
        fits(&self.os, &self.cpu, &self.libc, arch)
    }
}

/// Checks that a lockfile pins everything, without addresses, for every architecture. Returns the integrity of the main
/// package, and the packages with install scripts.
pub(super) fn check(text: &str, release: Release<'_>) -> anyhow::Result<(Integrity, Vec<String>)> {
    let lockfile: Lockfile = serde_json::from_str(text).context("it does not parse")?;
    let found = lockfile.lockfile_version;
    ensure!(found == 3, "it has lockfileVersion {found}, expected is 3");
    let entries = || lockfile.packages.iter().filter(|(path, _)| !path.is_empty());
    for (path, entry) in entries() {
        check_entry(path, entry)?;
    }
    check_platforms(entries())?;
    let own = lockfile.packages.get(&format!("node_modules/{}", release.package));
    let own = own.filter(|entry| entry.version.as_deref() == Some(release.version));
    let integrity = own.and_then(|entry| entry.integrity.as_ref()).and_then(|text| text.parse().ok());
    let integrity = integrity.with_context(|| format!("it does not have {release} at its top level"))?;
    let scripts: BTreeSet<&str> =
        entries().filter(|(_, entry)| entry.has_install_script).map(|(path, _)| package_of(path)).collect();
    Ok((integrity, scripts.into_iter().map(str::to_owned).collect()))
}

fn check_entry(path: &str, entry: &Entry) -> anyhow::Result<()> {
    ensure!(!entry.link, "`{path}` is a link, not a package of a registry");
    if let Some(resolved) = &entry.resolved {
        bail!("`{path}` has a fixed address, {resolved}");
    }
    match &entry.integrity {
        Some(text) => {
            let parsed = text.parse::<Integrity>();
            parsed.map(drop).with_context(|| format!("`{path}` has an integrity other than SHA-512"))
        }
        None if entry.in_bundle => Ok(()),
        None => bail!("`{path}` has no integrity"),
    }
}

/// Checks that the native packages of one architecture exist for the other, too.
fn check_platforms<'a>(entries: impl Iterator<Item = (&'a String, &'a Entry)>) -> anyhow::Result<()> {
    let mut families: BTreeMap<String, Vec<(&str, &Entry)>> = BTreeMap::new();
    for (path, entry) in entries.filter(|(_, entry)| entry.optional && !entry.cpu.is_empty()) {
        let package = package_of(path);
        families.entry(family(package)).or_default().push((package, entry));
    }
    for members in families.values() {
        let one_for = |arch| members.iter().find(|(_, entry)| entry.is_for(arch));
        for (here, missing) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
            if let (Some((there, _)), None) = (one_for(here), one_for(missing)) {
                bail!("`{there}` is for one architecture, and there is no such package for {missing}");
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

    fn check_version(text: &str, version: &str) -> anyhow::Result<(Integrity, Vec<String>)> {
        check(text, Release { package: "openclaw", version })
    }

    #[test]
    fn the_committed_lockfile_is_complete() {
        let (integrity, scripts) = check_version(REAL, &real_version()).unwrap();
        assert!(integrity.as_str().starts_with("sha512-"));
        assert!(scripts.contains(&"openclaw".to_owned()), "{scripts:?}");
    }

    #[test]
    fn packages_that_are_not_pinned_are_refused() {
        let version = real_version();
        let integrity = REAL.find("\"integrity\": \"sha512-").unwrap();
        let line_end = integrity + REAL[integrity..].find('\n').unwrap();
        let without = format!("{}{}", &REAL[..integrity], &REAL[line_end..]);
        let edited = |from: &str, to: &str| REAL.replacen(from, to, 1);
        let address = "\"resolved\": \"https://example.com/x.tgz\", \"integrity\"";
        for (text, version, expected) in [
            (without, &*version, "has no integrity"),
            (edited("sha512-", "sha1-"), &version, "other than SHA-512"),
            (edited("\"integrity\"", address), &version, "https://example.com/x.tgz"),
            (edited("\"integrity\"", "\"link\": true, \"integrity\""), &version, "is a link"),
            (edited("\"lockfileVersion\": 3", "\"lockfileVersion\": 2"), &version, "it has lockfileVersion 2"),
            (REAL.to_owned(), "1.0.0", "it does not have `openclaw` 1.0.0 at its top level"),
            ("{".to_owned(), &version, "it does not parse"),
        ] {
            let error = check_version(&text, version).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn a_native_package_for_one_architecture_only_is_refused() {
        let mut lockfile: serde_json::Value = serde_json::from_str(REAL).unwrap();
        let packages = lockfile["packages"].as_object_mut().unwrap();
        let before = packages.len();
        packages.retain(|path, entry| !(path.ends_with("-linux-arm64") && entry["cpu"][0] == "arm64"));
        assert!(packages.len() < before);
        let error = check_version(&lockfile.to_string(), &real_version()).unwrap_err().to_string();
        assert!(error.ends_with("is for one architecture, and there is no such package for aarch64"), "{error}");
    }

    #[test]
    fn the_package_json_has_one_exact_version() {
        let committed = include_str!("../../../../image/npm/openclaw/package.json");
        let release = Release { package: "openclaw", version: &real_version() };
        assert_eq!(package_json("openclaw", release).unwrap(), committed);
    }
}
