//! Whether an archive holds what its component is there for.

use std::path::Path;

use anyhow::Context as _;
use zip::ZipArchive;

use crate::io::process;

/// How many names of an archive without the wanted one an error tells.
const TOLD: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("`{name}` does not open as an archive")]
    Broken { name: String },
    #[error("`{name}` holds no `{contains}`, but {}", say_names(.holds))]
    Missing { name: String, contains: String, holds: Vec<String> },
}

fn say_names(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let told = names.iter().take(TOLD).map(|name| format!("`{}`", name.escape_debug()));
    let more = if names.len() > TOLD { format!(" and {} more", names.len() - TOLD) } else { String::new() };
    told.collect::<Vec<_>>().join(", ") + &more
}

/// Checks that the archive at `path`, which upstream calls `name`, holds `contains`, below its top folder if it
/// has one. A file that is no archive by its name holds itself only.
pub(super) async fn check(path: &Path, name: &str, contains: &str) -> anyhow::Result<()> {
    let broken = || ArchiveError::Broken { name: name.to_owned() };
    let names = if is_zip(name) {
        zip_names(path).with_context(broken)?
    } else if is_tar(name) {
        let mut tar = process::command("tar");
        let listed = process::text(tar.env("LC_ALL", "C").args(["--list", "--file"]).arg(path)).await;
        listed.with_context(broken)?.lines().map(str::to_owned).collect()
    } else {
        vec![name.to_owned()]
    };
    if names.iter().any(|held| is_wanted(held, contains)) {
        return Ok(());
    }
    Err(ArchiveError::Missing { name: name.to_owned(), contains: contains.to_owned(), holds: names }.into())
}

fn is_zip(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"))
}

fn is_tar(name: &str) -> bool {
    [".tar.gz", ".tgz", ".tar.xz", ".tar"].into_iter().any(|ending| name.ends_with(ending))
}

fn zip_names(path: &Path) -> anyhow::Result<Vec<String>> {
    let archive = ZipArchive::new(fs_err::File::open(path)?)?;
    archive.file_names().map(|name| Ok(name?.into_owned())).collect()
}

fn is_wanted(held: &str, contains: &str) -> bool {
    let held = held.strip_prefix("./").unwrap_or(held);
    held == contains || held.split_once('/').is_some_and(|(_, below)| below == contains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_at_the_top_and_below_the_top_folder() {
        for held in ["bin/node", "./bin/node", "node-v24.21.0-linux-x64/bin/node"] {
            assert!(is_wanted(held, "bin/node"), "{held}");
        }
        for held in ["bin/node/", "a/b/bin/node", "bin/node2", "node", "xbin/node"] {
            assert!(!is_wanted(held, "bin/node"), "{held}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(say_names(&names), "`0`, `1`, `2`, `3`, `4` and 2 more");
        assert_eq!(say_names(&[]), "nothing");
    }
}
