//! The download size of a lockfile's packages.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::lockfile::QUIETLY;
use crate::domain::arch::Arch;
use crate::io::{files, process};

/// The packages that npm downloads for an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tarballs {
    pub(crate) packages: usize,
    /// Compressed, in bytes.
    pub(crate) size: u64,
}

/// Installs the lockfile in `folder` like the image's build, with an empty cache, and counts the downloads: lockfiles
/// have no sizes, and the registry only has those of unpacked files.
pub(crate) async fn tarballs(registry: &str, folder: &Path, arch: Arch) -> anyhow::Result<Tarballs> {
    let scratch = tempfile::Builder::new().prefix("xtask-npm-").tempdir()?;
    for file in ["package.json", "package-lock.json"] {
        fs_err::copy(folder.join(file), scratch.path().join(file))?;
    }
    let cache = scratch.path().join("cache");
    let mut npm = process::command("npm");
    npm.current_dir(scratch.path()).env("npm_config_registry", registry).arg("--cache").arg(&cache);
    npm.args(["ci", "--ignore-scripts", "--omit=dev", "--os=linux", "--libc=glibc", &format!("--cpu={}", arch.npm())]);
    npm.args(["--loglevel=error"]).args(QUIETLY);
    process::output(&mut npm).await.with_context(|| format!("cannot install the packages of {}", folder.display()))?;
    let counted = count(&cache.join("_cacache/index-v5"))?;
    ensure!(counted.packages > 0, "npm's cache is empty");
    Ok(counted)
}

/// An entry in the index of npm's cache (cacache): a request, and the size of the reply.
#[derive(Debug, Deserialize)]
struct Entry {
    key: String,
    size: Option<u64>,
}

/// Adds up the tarballs in an index, whose files have lines of a checksum, a tab and an entry.
fn count(index: &Path) -> anyhow::Result<Tarballs> {
    let mut counted = Tarballs { packages: 0, size: 0 };
    for path in files::below(index)? {
        let text = fs_err::read_to_string(index.join(&path))?;
        // Updated entries are appended.
        let Some(line) = text.lines().rfind(|line| !line.is_empty()) else { continue };
        let entry = line.split_once('\t').and_then(|(_, json)| serde_json::from_str::<Entry>(json).ok());
        let Some(entry) = entry else { bail!("{} is not an index of npm's cache", path.display()) };
        // Other requests are for metadata.
        if Path::new(&entry.key).extension().is_some_and(|extension| extension == "tgz") {
            counted.packages += 1;
            counted.size += entry.size.with_context(|| format!("npm's cache has no size for {}", entry.key))?;
        }
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tarballs_are_counted_once_and_metadata_is_not() {
        let index = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = index.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write(
            "aa/bb/1",
            "\nsum\t{\"key\":\"cache:http://r/a/-/a-1.0.0.tgz\",\"size\":7}\nsum\t{\"key\":\"cache:http://r/a/-/a-1.0.0.tgz\",\"size\":10}",
        );
        write("aa/cc/2", "\nsum\t{\"key\":\"cache:http://r/b/-/b-1.0.0.tgz\",\"size\":100}");
        write("dd/ee/3", "\nsum\t{\"key\":\"cache:http://r/b\",\"size\":5000}");
        assert_eq!(count(index.path()).unwrap(), Tarballs { packages: 2, size: 110 });
        write("dd/ff/4", "\nnonsense");
        assert!(count(index.path()).is_err());
    }
}
