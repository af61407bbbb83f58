//! The stand-ins refuse what the programs that they stand for refuse, and keep what they are given.
//!
//! They are Node.js programs with tests of their own. Convex's needs the `node:sqlite` of Node.js 22.13; with an
//! older one its tests say that they were skipped, and the image's own Node.js runs it in the rehearsal.

use std::path::Path;
use std::process::Command;

#[test]
fn the_stand_ins_behave() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("standins/tests");
    let mut tests: Vec<_> = fs_err::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    tests.sort();
    assert!(!tests.is_empty(), "{} holds no test", folder.display());
    let ran = Command::new("node").arg("--test").args(tests).output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}
