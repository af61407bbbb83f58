//! The Node.js programs of this repository have tests of their own: the stand-ins, which refuse what the programs that
//! they stand for refuse and keep what they are given, and the parts of the image.
//!
//! Convex's stand-in needs the `node:sqlite` of Node.js 22.13; with an older one its tests say that they were skipped,
//! and the image's own Node.js runs it in the rehearsal.

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
    assert!(!tests.is_empty(), "{} holds no test", folder.display());
    let ran = Command::new("node").arg("--test").args(tests).output().expect("node");
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn the_stand_ins_behave() {
    run("standins/tests");
}

#[test]
fn the_parts_of_the_image_behave() {
    run("tests/image");
}
