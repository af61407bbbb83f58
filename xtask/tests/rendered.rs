//! Snapshots of the files that `render` writes, from the committed stack and templates and a frozen lock
//! (`testdata/frozen`), so that changes of a template or the stack show their effect on every file.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test --test rendered`, and review the difference.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use common::{Folder, checkout, files, text};

/// A checkout with the frozen lock, and a README of generated parts only.
fn scratch() -> Folder {
    let scratch = Folder::new();
    common::copy(&["stack.toml", "templates"], scratch.root());
    common::copy_frozen_lock(scratch.root());
    let parts = files(&checkout().join("templates/pages")).into_keys();
    let marked = parts.map(|part| {
        let name = part.strip_suffix(".md.j2").unwrap();
        format!("<!-- @generated {name} -->\n<!-- @end {name} -->\n")
    });
    scratch.write("README.md", marked.collect::<String>());
    scratch
}

fn render(scratch: &Folder, arguments: &[&str]) -> Output {
    common::xtask(scratch.root()).arg("render").args(arguments).output().unwrap()
}

/// A checkout with rendered files.
fn rendered() -> Folder {
    let scratch = scratch();
    let output = render(&scratch, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    scratch
}

#[test]
fn every_file() {
    let scratch = rendered();
    let mut texts = BTreeMap::from([("README.md".to_owned(), scratch.read("README.md"))]);
    for path in files(&scratch.path("image")).into_keys() {
        let text = scratch.read(&format!("image/{path}"));
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
    let expected: Vec<String> = texts.keys().map(|path| format!("{}.snap", path.replace('/', "-"))).collect();
    let kept = files(&checkout().join("xtask/tests/snapshots")).into_keys().filter(|name| !name.ends_with(".snap.new"));
    let left: Vec<String> = kept.filter(|name| !expected.contains(name)).collect();
    assert_eq!(left, [""; 0], "snapshots of files that are not rendered any more");
}

#[test]
fn rendering_is_reproducible_and_check_reports_differences() {
    let scratch = rendered();
    let again = render(&scratch, &["--check"]);
    assert!(again.status.success(), "{}", text(&again.stdout));

    let rendered = scratch.read("image/Dockerfile");
    let edited = rendered.replacen("FROM scratch", "FROM busybox", 1);
    assert_ne!(edited, rendered);
    scratch.write("image/Dockerfile", &edited);
    let check = render(&scratch, &["--check"]);
    let (stdout, stderr) = (text(&check.stdout), text(&check.stderr));
    assert_eq!(check.status.code(), Some(3), "{stderr}");
    assert!(stdout.contains("-FROM busybox") && stdout.contains("+FROM scratch"), "{stdout}");
    assert!(stderr.contains("cargo xtask render"), "{stderr}");
    assert_eq!(scratch.read("image/Dockerfile"), edited, "--check wrote something");

    assert!(render(&scratch, &[]).status.success());
    assert_eq!(scratch.read("image/Dockerfile"), rendered);
}

/// Orphaned files and files with a wrong mode would become part of the image.
#[test]
fn orphans_and_wrong_modes_are_reported_and_fixed() {
    let scratch = rendered();
    let image = scratch.path("image");
    let (script, plain) = (image.join("start.sh"), image.join("Dockerfile"));
    let set_mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&script, 0o644);
    set_mode(&plain, 0o755);
    let orphan = image.join("rootfs/gone/run");
    std::fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    std::fs::write(&orphan, "#!/bin/bash\n# @generated from templates/x.j2 by `cargo xtask render`\n").unwrap();
    let by_hand = image.join("by-hand");
    std::fs::write(&by_hand, "says nothing of\n\n@generated from templates/ at its beginning\n").unwrap();

    let check = render(&scratch, &["--check"]);
    let stdout = text(&check.stdout);
    assert_eq!(check.status.code(), Some(3), "{stdout}");
    let expected = "image/rootfs/gone/run is not rendered any more\nimage/Dockerfile must not be executable\n\
                    image/start.sh must be executable\n";
    assert_eq!(stdout, expected);
    assert!(render(&scratch, &[]).status.success());
    assert!(!orphan.exists() && by_hand.exists());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&script), mode(&plain)), (0o755, 0o644));
    assert!(render(&scratch, &["--check"]).status.success());
}

#[test]
fn windows_line_endings_are_reported() {
    let scratch = rendered();
    let script = scratch.path("image/start.sh");
    std::fs::write(&script, std::fs::read_to_string(&script).unwrap().replace('\n', "\r\n")).unwrap();
    let check = render(&scratch, &["--check"]);
    let stdout = text(&check.stdout);
    assert!(stdout.starts_with("image/start.sh has Windows line endings (CRLF)"), "{stdout}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
}

/// An undefined name in a template fails with the template's name, and no file is written.
#[test]
fn an_undefined_name_in_a_template_is_an_error() {
    let scratch = scratch();
    scratch.write("templates/extra.j2", "{{ components.node.colour }}\n");
    let output = render(&scratch, &[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot render templates/extra.j2") && stderr.contains("undefined"), "{stderr}");
    assert!(!scratch.path("image").exists());
}

/// The Dockerfile extracts each program that `stack.toml` expects in an archive.
#[test]
fn the_dockerfile_extracts_what_each_archive_must_contain() {
    let scratch = rendered();
    let dockerfile = scratch.read("image/Dockerfile");
    let stack: toml::Table = scratch.read("stack.toml").parse().unwrap();
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
