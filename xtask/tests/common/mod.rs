//! Shared set-up of tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;
use tempfile::TempDir;

/// The root of this repository.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The files below a folder, by their paths in it.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned(), path);
            }
        }
    }
    found
}

/// Copies files and folders of this repository.
pub(crate) fn copy(parts: &[&str], to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").args(parts.iter().map(|part| checkout().join(part))).arg(to);
    assert!(command.status().unwrap().success());
}

pub(crate) fn copy_frozen_lock(to: &Path) {
    std::fs::copy(checkout().join("xtask/testdata/frozen/versions.lock"), to.join("versions.lock")).unwrap();
}

/// The tool, for a checkout.
pub(crate) fn xtask(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("--root").arg(root);
    command
}

/// A temporary folder of a test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub(crate) fn read(&self, below: &str) -> String {
        std::fs::read_to_string(self.path(below)).unwrap()
    }

    pub(crate) fn write(&self, below: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(below), text).unwrap();
    }

    /// Runs git in a folder, as a person with a name; returns its output.
    pub(crate) fn git(&self, below: &str, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.arg("-C").arg(self.path(below)).args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"]);
        let ran = command.args(words).output().unwrap();
        assert!(ran.status.success(), "{words:?}: {}", text(&ran.stderr));
        text(&ran.stdout).trim().to_owned()
    }
}

/// Writes an executable script, and creates its parent folders.
pub(crate) fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// `sha256:` and hex digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let digits: Vec<String> = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}
