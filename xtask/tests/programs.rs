//! Runs the tests of this repository's Node.js programs: the stand-ins and the image's own programs.
//!
//! Convex's stand-in needs `node:sqlite` of Node.js 22.13; with older versions its tests are skipped. The rehearsal
//! runs it with the image's Node.js.

#![expect(clippy::expect_used, reason = "a test that fails should panic where it fails, helpers included")]

use std::path::Path;
use std::process::Command;

fn run(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("a folder of tests");
    let mut tests: Vec<_> = entries
        .map(|entry| entry.expect("a test").path())
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    tests.sort();
    assert!(!tests.is_empty(), "{} contains no test", folder.display());
    let ran = Command::new("node").arg("--test").args(tests).output().expect("node");
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn stand_ins() {
    run("standins/tests");
}

#[test]
fn programs_of_the_image() {
    run("tests/image");
}
