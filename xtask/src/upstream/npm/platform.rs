//! Packages for one platform. npm installs those that match by `os`, `cpu` and `libc` of their package.json
//! (docs.npmjs.com, "package.json"), and silently skips missing ones: `opencode-ai` 1.18.33 depends on
//! `opencode-linux-arm64` 1.18.33, which does not exist.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::registry::{Manifest, Registry, Release, check_name};
use crate::domain::arch::Arch;

/// Concurrent requests: a package can have twenty platform packages.
const AT_ONCE: usize = 8;

/// Why a version cannot be installed on every architecture; `None` if it can.
pub(super) async fn missing(registry: Registry<'_>, manifest: &Manifest) -> anyhow::Result<Option<String>> {
    let exact = manifest.optional_dependencies.iter().filter(|(_, version)| is_exact(version));
    let gone: Vec<Option<String>> = stream::iter(exact)
        .map(|(package, version)| gone(registry, Release { package, version }))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let gone: Vec<String> = gone.into_iter().flatten().collect();
    Ok((!gone.is_empty()).then(|| format!("npm's registry has no {}", gone.join(", "))))
}

/// Ranges are resolved when everything is locked.
fn is_exact(version: &str) -> bool {
    semver::Version::parse(version).is_ok()
}

/// The name of a package for our platforms that does not exist.
async fn gone(registry: Registry<'_>, release: Release<'_>) -> anyhow::Result<Option<String>> {
    let package = release.package;
    check_name(package)?;
    if registry.manifest(release).await?.is_some() {
        return Ok(None);
    }
    // Its platform is known from other versions, or else from its name.
    let packument = registry.find_packument(package).await?;
    let ours = packument.is_none_or(|packument| packument.versions.values().next_back().is_some_and(is_ours));
    Ok((ours && !is_foreign_name(package)).then(|| release.to_string()))
}

fn is_ours(manifest: &Manifest) -> bool {
    Arch::ALL.into_iter().any(|arch| fits(&manifest.os, &manifest.cpu, &manifest.libc, arch))
}

/// Whether a package is installed on the base image, which is Linux with glibc.
pub(super) fn fits(os: &[String], cpu: &[String], libc: &[String], arch: Arch) -> bool {
    allows(os, "linux") && allows(cpu, arch.npm()) && allows(libc, "glibc")
}

/// npm's rule: a list has what is allowed, and with `!` what is not; an empty one allows all.
fn allows(list: &[String], wanted: &str) -> bool {
    if list.iter().any(|entry| entry.strip_prefix('!') == Some(wanted)) {
        return false;
    }
    let mut allowed = list.iter().filter(|entry| !entry.starts_with('!')).peekable();
    allowed.peek().is_none() || allowed.any(|entry| entry == wanted || entry == "any")
}

/// Whether a word of a package name is one of our platforms (`true`) or another one (`false`).
fn platform_word(word: &str) -> Option<bool> {
    match word {
        "linux" | "x64" | "arm64" | "amd64" | "aarch64" | "gnu" | "glibc" => Some(true),
        "darwin" | "macos" | "win32" | "windows" | "msvc" | "freebsd" | "openbsd" | "netbsd" | "sunos" | "android"
        | "aix" | "musl" | "linuxmusl" | "arm" | "armv7" | "ia32" | "x86" | "ppc64" | "riscv64" | "s390x"
        | "loong64" | "wasm32" | "universal" => Some(false),
        _ => None,
    }
}

fn words(package: &str) -> impl Iterator<Item = &str> {
    package.split(['/', '-', '_', '.'])
}

fn is_foreign_name(package: &str) -> bool {
    words(package).any(|word| platform_word(word) == Some(false))
}

/// The name without platform words, which is the same for all platforms.
pub(super) fn family(package: &str) -> String {
    words(package).filter(|word| platform_word(word).is_none()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn platforms_match_by_the_rule_of_npm() {
        let fits = |os: &[&str], cpu: &[&str], libc: &[&str]| fits(&list(os), &list(cpu), &list(libc), Arch::Aarch64);
        assert!(fits(&["linux"], &["arm64"], &["glibc"]));
        assert!(fits(&[], &[], &[]));
        assert!(fits(&["!win32"], &["x64", "arm64"], &[]));
        assert!(!fits(&["linux"], &["x64"], &[]));
        assert!(!fits(&["!linux"], &[], &[]));
        assert!(!fits(&["linux"], &["arm64"], &["musl"]));
        assert!(!fits(&["darwin"], &["arm64"], &[]));
    }

    #[test]
    fn names_have_families_and_platforms() {
        assert_eq!(family("@img/sharp-linux-x64"), family("@img/sharp-linux-arm64"));
        assert_ne!(family("@img/sharp-linux-x64"), family("@img/sharp-libvips-linux-x64"));
        assert_eq!(family("@esbuild/linux-x64"), "@esbuild");
        assert!(is_foreign_name("opencode-linux-x64-musl"));
        assert!(is_foreign_name("opencode-windows-arm64"));
        assert!(!is_foreign_name("opencode-linux-arm64"));
    }

    #[test]
    fn a_range_is_not_an_exact_version() {
        assert!(is_exact("1.18.33"));
        assert!(!is_exact("^1.2.3"));
        assert!(!is_exact("npm:other@1.0.0"));
    }
}
