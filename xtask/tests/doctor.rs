//! `doctor` with fit, outdated and missing programs: each is a script on a separate `PATH`.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use serde_json::Value;

const DOCKER: &str = r#"case "$*" in
'version '*) echo 28.0.1 ;;
'buildx version') echo 'x v0.20.0' ;;
'buildx inspect') echo 'Driver: docker' ;;
'info '*) echo '[["driver-type","io.containerd.snapshotter.v1"]]' ;;
'compose version --short') echo 2.26.1-4 ;;
esac"#;

const FIT: [(&str, &str); 7] = [
    ("docker", DOCKER),
    ("git", "echo git version 2.47.3"),
    ("npm", "echo 11.19.1"),
    ("apt-get", "echo 'apt 2.6.1 (amd64)'"),
    ("skopeo", "echo skopeo version 1.9.3"),
    ("tar", "echo 'tar (GNU tar) 1.34'"),
    ("cosign", "echo '--trusted-root='"),
];

/// Runs it with these programs replacing fit ones; an empty script removes the program.
fn doctor(changed: &[(&str, &str)]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    for (name, script) in FIT {
        let script = changed.iter().find(|(changed, _)| *changed == name).map_or(script, |(_, script)| script);
        if !script.is_empty() {
            common::script(&folder.path().join(name), &format!("#!/bin/sh\n{script}\n"));
        }
    }
    let mut command = common::xtask(&common::checkout());
    command.args(["doctor", "--format", "json"]).env("PATH", folder.path());
    let output = command.env("npm_config_registry", "http://127.0.0.1:1").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    (output.status.code(), document)
}

fn finding<'a>(document: &'a Value, what: &str) -> &'a Value {
    document["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap()
}

#[test]
fn a_fit_machine_lacks_nothing() {
    let (_, document) = doctor(&[]);
    for (what, found) in [
        ("docker", "engine 28.0.1, buildx v0.20.0"),
        ("docker compose", "2.26.1-4"),
        ("git", "git version 2.47.3"),
        ("npm's registry", "http://127.0.0.1:1"),
    ] {
        let finding = finding(&document, what);
        assert_eq!((&finding["state"], &finding["found"]), (&"ok".into(), &found.into()), "{document}");
        assert!(finding["fix"].is_null(), "{finding}");
    }
}

#[test]
fn missing_outdated_and_incapable_programs_are_distinguished() {
    let old = DOCKER.replace("28.0.1", "20.10.24");
    let store = DOCKER.replace("io.containerd.snapshotter.v1", "overlay2");
    for (what, program, script, state, fix) in [
        ("git", "git", "", "missing", "apt-get install git"),
        ("git", "git", "echo git version 2.30.2", "unfit", "2.31 or newer"),
        ("npm", "npm", "echo 8.9.0", "unfit", "8.10 or newer"),
        ("apt-get", "apt-get", "echo apt 1.8.2 'linux 5.10'", "unfit", "2.0 or newer"),
        ("skopeo", "skopeo", "echo skopeo version 1.4.1", "unfit", "1.6 or newer"),
        ("tar", "tar", "exit 1", "missing", "apt-get install tar"),
        ("cosign", "cosign", "", "missing", "apt-get install cosign"),
        ("cosign", "cosign", "echo '--key='", "unfit", "2.5 or newer"),
        ("docker", "docker", "", "missing", "install Docker and start it"),
        ("docker", "docker", &*old, "unfit", "install 24.0 or newer"),
        ("docker", "docker", &*store, "unfit", "containerd-snapshotter"),
        ("docker compose", "docker", &DOCKER.replace("2.26.1-4", "2.5.0"), "unfit", "2.17 or newer"),
    ] {
        let (code, document) = doctor(&[(program, script)]);
        let finding = finding(&document, what);
        assert_eq!(code, Some(3), "{document}");
        assert_eq!(finding["state"], state, "{finding}");
        assert!(finding["fix"].as_str().unwrap().contains(fix), "{finding}");
        assert!(document["errors"][0]["message"].as_str().unwrap().contains("missing or cannot be used"));
    }
}
