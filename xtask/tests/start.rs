//! `start.sh` and its parts, run outside of a container: their folders are below a temporary one, and the programs that
//! they call (the supervisor, node, the backend) are scripts that log their calls.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Folder, text};

/// The environment of one start.sh.
fn machine() -> Folder {
    let machine = Folder::new();
    let image = common::checkout().join("image");
    machine.install(&image.join("start.sh"), "opt/stack/start.sh");
    machine.install_all(&image.join("rootfs/opt/stack/lib"), "opt/stack/lib");
    machine.install(&image.join("rootfs/opt/stack/stack.json"), "opt/stack/stack.json");
    machine.install(&image.join("rootfs/opt/stack/bin/secrets"), "opt/stack/bin/secrets");
    machine.put("opt/stack/etc/passwd", "stack:x:10001:10001::/data/home:/bin/bash\n");
    machine.put("opt/stack/etc/group", "stack:x:10001:\n");
    std::fs::create_dir_all(machine.path("data")).unwrap();
    // It refuses to run as root, as tests often do.
    machine.program("bin/id", "echo 10001");
    machine.program("bin/s6-svscan", "env >\"$MACHINE/handed-over\"; echo \"supervised: $1\"");
    let keygen = "echo \"$@\" >>\"$MACHINE/keygen\"; echo \"$4|key\"";
    machine.program("opt/convex/bin/convex-local-backend", keygen);
    machine
}

impl Folder {
    /// Writes an executable file, and creates its parent folders.
    fn put(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        common::script(&path, text);
        path
    }

    fn program(&self, below: &str, body: &str) {
        self.put(below, &format!("#!/bin/bash\n{body}\n"));
    }

    /// Installs a script of the image, with its folders replaced.
    fn install(&self, from: &Path, below: &str) {
        let here = self.root().to_str().unwrap();
        let text = std::fs::read_to_string(from).unwrap();
        let text = ["/opt/", "/data", "/run/stack"].iter().fold(text, |text, folder| {
            // Paths in patterns are escaped.
            let escaped = folder.replace('/', "\\/");
            text.replace(&escaped, &format!("{}{escaped}", here.replace('/', "\\/")))
                .replace(folder, &format!("{here}{folder}"))
        });
        self.put(below, &text);
    }

    fn install_all(&self, folder: &Path, below: &str) {
        for (name, file) in common::files(folder) {
            self.install(&file, &format!("{below}/{name}"));
        }
    }

    fn run(&self, program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let home = self.path("data/home");
        let mut command = Command::new(self.path(program));
        command.args(arguments).env_clear().env("PATH", path).env("HOME", home).env("MACHINE", self.root());
        command.envs(settings.iter().copied()).output().unwrap()
    }

    fn start(&self, settings: &[(&str, &str)]) -> Output {
        self.run("opt/stack/start.sh", &[], settings)
    }

    /// Runs it; returns the list of errors.
    fn problems(&self, settings: &[(&str, &str)]) -> Vec<String> {
        let output = self.start(settings);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{settings:?} was taken: {stderr}");
        assert!(!self.path("handed-over").exists());
        stderr.lines().filter_map(|line| line.strip_prefix("[stack]   - ").map(str::to_owned)).collect()
    }

    /// Runs it; returns the environment of the services.
    fn environment(&self, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        let output = self.start(settings);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let text = self.read("handed-over");
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn secrets(&self) -> BTreeMap<String, String> {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", entry.path().display());
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        };
        std::fs::read_dir(self.path("data/secrets")).unwrap().map(read).collect()
    }
}

#[test]
fn services_get_every_setting_and_disabled_ones_stay_down() {
    let machine = machine();
    let environment = machine.environment(&[("OPENCODE_ENABLED", "No"), ("PUBLIC_HOST", "Box.lan"), ("OTHER", "1")]);
    for (name, value) in [
        ("LLAMACPP_PORT", "8080"),
        ("OPENCLAW_INNER_PORT", "28789"),
        ("MISSION_CONTROL_ORIGIN", "http://box.lan:3000"),
        ("MANAGER_ENABLED", "false"),
        ("LLAMACPP_MODEL", ""),
        ("OTHER", "1"),
    ] {
        assert_eq!(environment.get(name).map(String::as_str), Some(value), "{name}");
    }
    let settings = machine.read("run/stack/settings");
    assert!(settings.lines().all(|line| line.split_once('=').is_some_and(|(name, value)| environment[name] == value)));
    let off: Vec<_> = ["opencode", "manager", "convex", "status"]
        .into_iter()
        .filter(|name| machine.path(&format!("run/stack/scan/{name}/down")).exists())
        .collect();
    assert_eq!(off, ["opencode", "manager"]);
    // A restart must not reuse the files of the last start.
    machine.put("run/stack/scan/old", "");
    machine.environment(&[]);
    assert!(!machine.path("run/stack/scan/old").exists() && !machine.path("run/stack/scan/opencode/down").exists());
}

#[test]
fn a_proxy_is_not_used_for_this_machine() {
    let machine = machine();
    let environment = machine.environment(&[("https_proxy", "http://proxy:3128"), ("no_proxy", "box.lan")]);
    assert_eq!(
        (&*environment["NO_PROXY"], &*environment["no_proxy"]),
        ("box.lan,localhost,127.0.0.1,::1", "box.lan,localhost,127.0.0.1,::1")
    );
    assert!(!machine.environment(&[]).contains_key("NO_PROXY"));
}

#[test]
fn all_errors_are_reported_at_once_and_nothing_is_changed() {
    let machine = machine();
    let problems = machine.problems(&[("LLAMACPP_PORT", "x"), ("OPENCLAW_ENABLED", "x"), ("MANAGER_ADMIN_EMAIL", "x")]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(std::fs::read_dir(machine.path("data")).unwrap().count(), 0);
    assert!(!machine.path("run/stack").exists());
}

#[test]
fn secrets_are_generated_once_and_are_in_no_environment_or_log() {
    let machine = machine();
    let first = machine.start(&[]);
    assert!(first.status.success());
    let made = machine.secrets();
    for name in
        ["convex-instance-secret", "openclaw-gateway-token", "manager-admin-password", "jwt-private-key", "jwks"]
    {
        assert!(made.contains_key(name), "{name} of {:?}", made.keys());
    }
    assert_eq!(made["convex-instance-secret"].trim().len(), 64);
    assert_eq!(made["openclaw-gateway-token"].trim().len(), 43);
    assert_ne!(made["openclaw-gateway-token"], made["openclaw-hooks-token"]);
    let environment = machine.environment(&[]);
    assert_eq!(machine.secrets(), made);
    assert_eq!(machine.read("keygen").lines().count(), 1);
    let output = text(&first.stdout) + &text(&first.stderr);
    // The key set is public, and a digest of a secret reveals nothing.
    for (name, value) in made.iter().filter(|(name, _)| !name.contains('.') && *name != "jwks") {
        let value = value.lines().next_back().unwrap();
        assert!(!output.contains(value), "{name} was printed");
        assert!(environment.values().all(|held| !held.contains(value)), "{name} is in the environment");
    }
}

#[test]
fn the_admin_key_depends_on_the_instances_name_and_secret() {
    let machine = machine();
    machine.environment(&[]);
    machine.environment(&[("CONVEX_INSTANCE_NAME", "other")]);
    assert_eq!(machine.secrets()["convex-self-hosted-admin-key"], "other|key\n");
    let secret = "b".repeat(64);
    machine.environment(&[("CONVEX_INSTANCE_NAME", "other"), ("CONVEX_INSTANCE_SECRET", &secret)]);
    let calls = machine.read("keygen");
    assert_eq!(calls.lines().count(), 3, "{calls}");
    assert!(calls.lines().last().unwrap().ends_with(&secret));
    // A given key needs no backend, and does not conflict with the one of an earlier start.
    machine.environment(&[("CONVEX_SELF_HOSTED_ADMIN_KEY", "given|key")]);
    assert_eq!(machine.read("keygen"), calls);
    let shown = machine.run("opt/stack/bin/secrets", &["CONVEX_SELF_HOSTED_ADMIN_KEY"], &[]);
    assert_eq!(text(&shown.stdout), "given|key\n");
}

#[test]
fn a_given_secret_is_used_and_not_written_to_the_volume() {
    let machine = machine();
    let file = machine.put("given", "from-a-file\n");
    let settings = [("OPENCLAW_GATEWAY_TOKEN_FILE", file.to_str().unwrap()), ("LLAMACPP_API_KEY", "key")];
    let environment = machine.environment(&settings);
    for name in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN_FILE", "LLAMACPP_API_KEY"] {
        assert!(!environment.contains_key(name), "{name}");
    }
    assert!(!machine.secrets().contains_key("openclaw-gateway-token"));
    let shown = machine.run("opt/stack/bin/secrets", &["openclaw-gateway-token"], &[]);
    assert_eq!(text(&shown.stdout), "from-a-file\n");
    let listed = text(&machine.run("opt/stack/bin/secrets", &[], &[]).stdout);
    assert!(listed.lines().any(|line| line.starts_with("LLAMACPP_API_KEY") && line.ends_with("set")), "{listed}");
    assert!(!listed.contains("from-a-file"));
    assert!(!machine.run("opt/stack/bin/secrets", &["NO_SUCH"], &[]).status.success());
}

#[test]
fn an_incomplete_secret_is_reported_and_never_replaced() {
    let machine = machine();
    machine.environment(&[]);
    let file = machine.path("data/secrets/convex-instance-secret");
    for half in ["", "abc\n"] {
        std::fs::write(&file, half).unwrap();
        std::fs::remove_file(machine.path("handed-over")).ok();
        let problems = machine.problems(&[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("convex-instance-secret"), "{problems:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), half);
    }
}

#[test]
fn a_program_that_fails_leaves_no_secret() {
    let machine = machine();
    machine.program("opt/convex/bin/convex-local-backend", "echo 'half|'; echo no keys today >&2; exit 3");
    let output = machine.start(&[]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{stderr}");
    assert!(stderr.contains("no keys today") && stderr.contains("cannot generate the secrets"), "{stderr}");
    let made = machine.secrets();
    assert!(!stderr.contains(made["convex-instance-secret"].trim()), "{stderr}");
    assert!(!machine.path("handed-over").exists());
    assert!(made.keys().all(|name| !name.starts_with("convex-self-hosted-admin-key") && !name.starts_with(".new")));
}

#[test]
fn a_custom_command_runs_instead() {
    let machine = machine();
    let output = machine.run("opt/stack/start.sh", &["echo", "hello"], &[("LLAMACPP_PORT", "x")]);
    assert_eq!(text(&output.stdout), "hello\n");
}
