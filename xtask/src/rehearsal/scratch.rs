//! The temporary folder of a rehearsal.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::io::{process, say};

/// Dropping it removes the folder with all mounts in it, and reports failures.
#[derive(Debug)]
pub(crate) struct Scratch(Option<TempDir>);

impl Scratch {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("mission-control-rehearsal-").context("cannot make a scratch directory")?;
        Ok(Self(Some(folder)))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// Keeps the folder.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.0.take().map(TempDir::keep).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(folder) = self.0.take() else { return };
        let path = folder.path().to_owned();
        let mounts = fs_err::read_to_string("/proc/self/mounts").unwrap_or_default();
        // Mounts of a killed engine; and of dockerd's data, if no mount of the machine is shared.
        for mount in mounted_below(&mounts, &fs_err::canonicalize(&path).unwrap_or(path.clone())).into_iter().rev() {
            let _ = process::clean_up(std::process::Command::new("umount").arg(mount));
        }
        if let Err(error) = folder.close() {
            say(&format!("note: {} could not be removed completely: {error}", path.display()));
        }
    }
}

/// The mount points below a folder, from proc(5)'s list of mounts. A later one may be inside an earlier one.
fn mounted_below(mounts: &str, folder: &Path) -> Vec<PathBuf> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    points.filter(|point| point.starts_with(folder)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_in_the_folder_are_found() {
        let mounts = "proc /proc proc rw 0 0\n/dev/vda /tmp/a\\040b/data ext4 rw 0 0\noverlay /tmp/a\\040b/data/x overlay rw 0 0\n\
                      /dev/vda /tmp/a\\040bc ext4 rw 0 0\n";
        let below = mounted_below(mounts, Path::new("/tmp/a b"));
        assert_eq!(below, [Path::new("/tmp/a b/data"), Path::new("/tmp/a b/data/x")]);
        assert!(mounted_below(mounts, Path::new("/tmp/other")).is_empty());
    }
}
