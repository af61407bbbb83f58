//! Snapshots of the files that `render` writes, from the committed stack and templates and a frozen lock
//! (`testdata/frozen`), so that changes of a template or the stack show their effect on every file.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --test rendered`, and review the difference.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::checkout;
use tempfile::TempDir;

/// A checkout with the frozen lock, and a README of generated parts only.
fn scratch() -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let to = |name: &str| scratch.path().join(name);
    common::copy(&["stack.toml", "templates"], scratch.path());
    common::copy_frozen_lock(scratch.path());
    let parts = files(&checkout().join("templates/pages")).into_keys();
    let marked = parts.map(|part| {
        let name = part.strip_suffix(".md.j2").unwrap();
        format!("<!-- @generated {name} -->\n<!-- @end {name} -->\n")
    });
    std::fs::write(to("README.md"), marked.collect::<String>()).unwrap();
    scratch
}

/// The contents of the files below a folder, by path.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
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

fn render(root: &Path, arguments: &[&str]) -> Output {
    common::xtask(root).arg("render").args(arguments).output().unwrap()
}

#[test]
fn every_file() {
    let scratch = scratch();
    let output = render(scratch.path(), &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();

    let mut texts = BTreeMap::from([("README.md".to_owned(), read(&scratch.path().join("README.md")))]);
    for (path, file) in files(&scratch.path().join("image")) {
        let text = read(&file);
        texts.insert(path, text);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for (path, text) in &texts {
            insta::assert_snapshot!(path.replace('/', "-"), text);
        }
    });
    // No snapshot of a removed file must be left.
    let kept: Vec<String> = files(&checkout().join("xtask/tests/snapshots")).into_keys().collect();
    let expected: Vec<String> = texts.keys().map(|path| format!("{}.snap", path.replace('/', "-"))).collect();
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        of.iter().filter(|name| !from.contains(name) && !name.ends_with(".snap.new")).cloned().collect()
    };
    assert_eq!(missing(&expected, &kept), [""; 0], "snapshots of files that are not rendered any more");
}

#[test]
fn rendering_is_reproducible_and_check_reports_differences() {
    let scratch = scratch();
    assert!(render(scratch.path(), &[]).status.success());
    let again = render(scratch.path(), &["--check"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));

    let dockerfile = scratch.path().join("image/Dockerfile");
    let rendered = std::fs::read_to_string(&dockerfile).unwrap();
    let edited = rendered.replacen("FROM scratch", "FROM busybox", 1);
    assert_ne!(edited, rendered);
    std::fs::write(&dockerfile, &edited).unwrap();
    let check = render(scratch.path(), &["--check"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&check.stdout), String::from_utf8_lossy(&check.stderr));
    assert_eq!(check.status.code(), Some(3), "{stderr}");
    assert!(stdout.contains("-FROM busybox") && stdout.contains("+FROM scratch"), "{stdout}");
    assert!(stderr.contains("cargo xtask render"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&dockerfile).unwrap(), edited, "--check wrote something");

    assert!(render(scratch.path(), &[]).status.success());
    assert_eq!(std::fs::read_to_string(&dockerfile).unwrap(), rendered);
}

/// Orphaned files and files with a wrong mode would become part of the image.
#[test]
fn orphans_and_wrong_modes_are_reported_and_fixed() {
    let scratch = scratch();
    assert!(render(scratch.path(), &[]).status.success());
    let image = scratch.path().join("image");
    let (script, plain) = (image.join("start.sh"), image.join("Dockerfile"));
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&script, 0o644);
    set_mode(&plain, 0o755);
    let orphan = image.join("rootfs/gone/run");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "#!/bin/bash\n# @generated from templates/x.j2 by `cargo xtask render`\n").unwrap();
    let by_hand = image.join("by-hand");
    std::fs::write(&by_hand, "says nothing of\n\n@generated from templates/ at its beginning\n").unwrap();

    let check = render(scratch.path(), &["--check"]);
    let stdout = String::from_utf8(check.stdout).unwrap();
    assert_eq!(check.status.code(), Some(3), "{stdout}");
    assert_eq!(
        stdout.lines().collect::<Vec<_>>(),
        [
            "image/rootfs/gone/run is not rendered any more",
            "image/Dockerfile must not be executable",
            "image/start.sh must be executable",
        ]
    );
    assert!(render(scratch.path(), &[]).status.success());
    assert!(!orphan.exists() && by_hand.exists());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&script), mode(&plain)), (0o755, 0o644));
    assert!(render(scratch.path(), &["--check"]).status.success());
}

#[test]
fn windows_line_endings_are_reported() {
    let scratch = scratch();
    assert!(render(scratch.path(), &[]).status.success());
    let script = scratch.path().join("image/start.sh");
    std::fs::write(&script, std::fs::read_to_string(&script).unwrap().replace('\n', "\r\n")).unwrap();
    let check = render(scratch.path(), &["--check"]);
    let stdout = String::from_utf8(check.stdout).unwrap();
    assert!(stdout.starts_with("image/start.sh has Windows line endings (CRLF)"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

/// An undefined name in a template fails with the template's name, and no file is written.
#[test]
fn an_undefined_name_in_a_template_is_an_error() {
    let scratch = scratch();
    std::fs::write(scratch.path().join("templates/extra.j2"), "{{ components.node.colour }}\n").unwrap();
    let output = render(scratch.path(), &[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot render templates/extra.j2") && stderr.contains("undefined"), "{stderr}");
    assert!(!scratch.path().join("image").exists());
}

/// The Dockerfile extracts each program that `stack.toml` expects in an archive.
#[test]
fn the_dockerfile_extracts_what_each_archive_must_contain() {
    let scratch = scratch();
    assert!(render(scratch.path(), &[]).status.success());
    let dockerfile = std::fs::read_to_string(scratch.path().join("image/Dockerfile")).unwrap();
    let stack: toml::Table = std::fs::read_to_string(scratch.path().join("stack.toml")).unwrap().parse().unwrap();
    let mut looked_for = 0;
    for (name, component) in stack["components"].as_table().unwrap() {
        let Some(contains) = component.get("file").and_then(|file| file["contains"].as_str()) else { continue };
        let stage =
            dockerfile.split("\nFROM ").find(|stage| stage.lines().next().unwrap().ends_with(&format!(" AS {name}")));
        let stage = stage.unwrap_or_else(|| panic!("no stage is named {name}"));
        let checks = [format!("node /build/check-tree.mjs /{name} "), format!("test -f /{name}/")];
        let line = stage.lines().find(|line| checks.iter().any(|check| line.contains(check.as_str())));
        let line = line.unwrap_or_else(|| panic!("the stage {name} checks nothing:\n{stage}"));
        assert!(line.contains(&format!("/{contains}")), "the stage {name} does not look for {contains}: {line}");
        looked_for += 1;
    }
    assert_eq!(looked_for, 6);
}
