//! Shared set-up of tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::Digest as _;

/// The root of this repository.
pub(crate) fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Copies files and folders of this repository.
pub(crate) fn copy(parts: &[&str], to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").args(parts.iter().map(|part| checkout().join(part))).arg(to);
    assert!(command.status().unwrap().success());
}

/// Copies the frozen lock.
pub(crate) fn copy_frozen_lock(to: &Path) {
    std::fs::copy(checkout().join("xtask/testdata/frozen/versions.lock"), to.join("versions.lock")).unwrap();
}

/// The tool, for a checkout.
pub(crate) fn xtask(root: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("--root").arg(root);
    command
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
