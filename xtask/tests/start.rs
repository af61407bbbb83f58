//! `start.sh` and its parts as they are in the image, run here: their folders are moved below a temporary one, and
//! what they call of the image (the supervisor, node, the backend) is a script that tells how it was called.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMII=\n-----END PRIVATE KEY-----";

/// A machine of its own for start.sh.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("image");
        machine.install(&image.join("start.sh"), "opt/stack/start.sh");
        for entry in std::fs::read_dir(image.join("rootfs/opt/stack/lib")).unwrap() {
            let file = entry.unwrap();
            if file.path().extension().is_some_and(|extension| extension == "sh") {
                machine.install(&file.path(), &format!("opt/stack/lib/{}", file.file_name().to_str().unwrap()));
            }
        }
        machine.install(&image.join("rootfs/opt/stack/bin/secrets"), "opt/stack/bin/secrets");
        std::fs::create_dir_all(machine.path("data")).unwrap();
        // It refuses to run as root, which tests often do.
        machine.program("bin/id", "echo 10001");
        machine.program("bin/s6-svscan", "env >\"$MACHINE/handed-over\"; echo \"supervised: $1\"");
        let node = format!("case $2 in new) echo '{PEM}' ;; public) cat >/dev/null; echo '{{}}' ;; esac");
        machine.program("bin/node", &node);
        let keygen = "echo \"$@\" >>\"$MACHINE/keygen\"; echo \"$4|key\"";
        machine.program("opt/convex/bin/convex-local-backend", keygen);
        machine
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn program(&self, below: &str, body: &str) {
        self.write(below, &format!("#!/bin/bash\n{body}\n"));
    }

    /// A script of the image, with its folders moved here.
    fn install(&self, from: &Path, below: &str) {
        let here = self.folder.path().to_str().unwrap();
        let text = std::fs::read_to_string(from).unwrap();
        let text = ["/opt/", "/data", "/run/stack"].iter().fold(text, |text, folder| {
            // What stands in a pattern is escaped there.
            let escaped = folder.replace('/', "\\/");
            text.replace(&escaped, &format!("{}{escaped}", here.replace('/', "\\/")))
                .replace(folder, &format!("{here}{folder}"))
        });
        self.write(below, &text);
    }

    fn run(&self, program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let home = self.path("data/home");
        let mut command = Command::new(self.path(program));
        command.args(arguments).env_clear().env("PATH", path).env("HOME", home).env("MACHINE", self.folder.path());
        command.envs(settings.iter().copied()).output().unwrap()
    }

    fn start(&self, settings: &[(&str, &str)]) -> Output {
        self.run("opt/stack/start.sh", &[], settings)
    }

    /// Starts it, and gives the list of what is wrong.
    fn problems(&self, settings: &[(&str, &str)]) -> Vec<String> {
        let output = self.start(settings);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{settings:?} was taken: {told}");
        assert!(!self.path("handed-over").exists());
        told.lines().filter_map(|line| line.strip_prefix("[stack]   - ").map(str::to_owned)).collect()
    }

    /// Starts it, and gives the environment that services would have.
    fn environment(&self, settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        let output = self.start(settings);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(self.path("handed-over")).unwrap();
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
fn with_nothing_set_everything_has_its_default() {
    let machine = Machine::new();
    let environment = machine.environment(&[]);
    assert_eq!(environment["LLAMACPP_PORT"], "8080");
    assert_eq!(environment["CONVEX_SELF_HOSTED_URL"], "http://127.0.0.1:3210");
    assert_eq!(environment["MANAGER_ENABLED"], "true");
    assert_eq!(environment["LLAMACPP_MODEL"], "");
    let down = std::fs::read_dir(machine.path("run/stack/scan")).unwrap();
    let down: Vec<_> = down.filter(|entry| entry.as_ref().unwrap().path().join("down").exists()).collect();
    assert!(down.is_empty(), "{down:?}");
}

#[test]
fn what_refers_to_a_setting_follows_it() {
    let machine = Machine::new();
    let environment = machine.environment(&[
        ("CONVEX_BACKEND_PORT", "4210"),
        ("PUBLIC_HOST", "box.lan"),
        ("MANAGER_ORIGIN", "https://manager.box.lan"),
        ("OPENCODE_ENABLED", "No"),
    ]);
    assert_eq!(environment["CONVEX_SELF_HOSTED_URL"], "http://127.0.0.1:4210");
    assert_eq!(environment["CONVEX_CLOUD_ORIGIN"], "http://box.lan:4210");
    assert_eq!(environment["CONVEX_SITE_ORIGIN"], "http://127.0.0.1:3211");
    assert_eq!(environment["MANAGER_ORIGIN"], "https://manager.box.lan");
    // One spelling of yes and no, and what is of no use alone goes with it.
    assert_eq!((&*environment["OPENCODE_ENABLED"], &*environment["MANAGER_ENABLED"]), ("false", "false"));
    assert!(machine.path("run/stack/scan/opencode/down").exists());
    assert!(machine.path("run/stack/scan/manager/down").exists());
    assert!(!machine.path("run/stack/scan/convex/down").exists());
}

#[test]
fn wrong_values_are_refused_by_name() {
    let machine = Machine::new();
    for (name, values) in [
        ("LLAMACPP_PORT", &["0", "65536", "80a80", "-1", "08080", "8080 ", "$(id)"][..]),
        ("OPENCLAW_ENABLED", &["maybe", "truee", "2"]),
        ("LLAMACPP_CTX_SIZE", &["many", "-5", "1e3"]),
        ("LLAMACPP_GPU_LAYERS", &["some", "-1"]),
        ("LLAMACPP_MODEL", &["model.gguf", "/data/../etc/shadow", "/a\nb", "/$(id)"]),
        (
            "MISSION_CONTROL_ORIGIN",
            &["box.lan", "http://box.lan/", "ftp://box", "http://a b", "http://x:99999", "http://"],
        ),
        ("CONVEX_SELF_HOSTED_URL", &["3210", "http://", "http://a\"b", "javascript:1"]),
        ("CONVEX_INSTANCE_NAME", &["Name", "a b", "-a", "a;b", "../x"]),
        ("PUBLISH_ADDRESS", &["localhost", "everywhere", "1.2.3"]),
        ("PUBLIC_HOST", &["http://x", "a/b", "::1", "-"]),
        ("MANAGER_ADMIN_EMAIL", &["admin", "a@b", "a b@c.de"]),
    ] {
        for value in values {
            let problems = machine.problems(&[(name, value)]);
            assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
            assert!(problems[0].starts_with(&format!("{name}=")), "{problems:?}");
        }
    }
}

#[test]
fn a_wrong_secret_is_told_and_not_shown() {
    let machine = Machine::new();
    let file = machine.write("given", "from-a-file\n");
    let empty = machine.write("empty", "");
    let (file, empty) = (file.to_str().unwrap(), empty.to_str().unwrap());
    for (settings, about) in [
        (&[("CONVEX_INSTANCE_SECRET", "hunter2")][..], "64 hexadecimal digits"),
        (&[("MANAGER_ADMIN_PASSWORD", "hunter2")], "8 to 128"),
        (&[("OPENCLAW_GATEWAY_TOKEN", "hunter2\nx")], "control character"),
        (&[("OPENCLAW_HOOKS_TOKEN", "hunter2\";deny all;")], "letters, digits"),
        (&[("CONVEX_SELF_HOSTED_ADMIN_KEY", "hunter2")], "admin key"),
        (&[("JWT_PRIVATE_KEY", "hunter2")], "BEGIN PRIVATE KEY"),
        (&[("OPENCLAW_GATEWAY_TOKEN", "hunter2"), ("OPENCLAW_GATEWAY_TOKEN_FILE", file)], "both set"),
        (&[("OPENCLAW_GATEWAY_TOKEN_FILE", "/nowhere")], "no file"),
        (&[("OPENCLAW_GATEWAY_TOKEN_FILE", empty)], "empty"),
        (&[("OPENCLAW_TOKEN_FILE", file)], "no secret of the name OPENCLAW_TOKEN"),
        (&[("MANAGER_PORT_FILE", file)], "no secret and is read from no file"),
    ] {
        let problems = machine.problems(settings);
        assert_eq!(problems.len(), 1, "{settings:?}: {problems:?}");
        assert!(problems[0].contains(about) && problems[0].contains(settings[0].0.trim_end_matches("_FILE")));
        assert!(!problems[0].contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let machine = Machine::new();
    let sha256 = "a".repeat(64);
    for (settings, about) in [
        (&[("MANAGER_PORT", "3000")][..], &["MISSION_CONTROL_PORT=3000"][..]),
        (&[("LLAMACPP_PORT", "15003")], &["LLAMACPP_PORT=15003"]),
        (&[("LLAMACPP_MODEL_URL", "https://x/m.gguf")], &["without LLAMACPP_MODEL_SHA256"]),
        (&[("LLAMACPP_MODEL_SHA256", &*sha256)], &["without LLAMACPP_MODEL_URL"]),
        (&[("LLAMACPP_MODEL", "/nowhere.gguf")], &["/nowhere.gguf"]),
        (&[("CONVEX_ENABLED", "false"), ("CONVEX_DASHBOARD_ENABLED", "true")], &["CONVEX_DASHBOARD_ENABLED=true"]),
        (&[("OPENCODE_ENABLED", "false"), ("MANAGER_ENABLED", "true")], &["MANAGER_ENABLED=true"]),
        (
            &[("PUBLISH_ADDRESS", "0.0.0.0")],
            &["MISSION_CONTROL_ORIGIN", "CONVEX_CLOUD_ORIGIN", "MANAGER_ORIGIN", "OPENCLAW_ORIGIN", "LLAMACPP_API_KEY"],
        ),
        (&[("PUBLISH_ADDRESS", "::"), ("PUBLIC_HOST", "box.lan")], &["LLAMACPP_API_KEY"]),
    ] {
        let problems = machine.problems(settings);
        assert_eq!(problems.len(), about.len(), "{settings:?}: {problems:?}");
        for text in about {
            assert!(problems.iter().any(|problem| problem.contains(text)), "{settings:?}: {problems:?}");
        }
    }
    // A service that is off has no port, and a model that nobody loads need not be there.
    let off = [("MANAGER_PORT", "3000"), ("MANAGER_ENABLED", "false")];
    machine.environment(&off);
    machine.environment(&[("LLAMACPP_MODEL", "/nowhere.gguf"), ("LLAMACPP_ENABLED", "false")]);
    let key = ("LLAMACPP_API_KEY", "key");
    machine.environment(&[("PUBLISH_ADDRESS", "0.0.0.0"), ("PUBLIC_HOST", "box.lan"), key]);
}

#[test]
fn everything_wrong_is_told_at_once_and_nothing_was_touched() {
    let machine = Machine::new();
    let problems = machine.problems(&[("LLAMACPP_PORT", "x"), ("OPENCLAW_ENABLED", "x"), ("MANAGER_ADMIN_EMAIL", "x")]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(std::fs::read_dir(machine.path("data")).unwrap().count(), 0);
}

#[test]
fn secrets_are_made_once_and_reach_no_environment_and_no_log() {
    let machine = Machine::new();
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
    assert_eq!(std::fs::read_to_string(machine.path("keygen")).unwrap().lines().count(), 1);
    let said = format!("{}{}", String::from_utf8_lossy(&first.stdout), String::from_utf8_lossy(&first.stderr));
    // The key set is public, and a digest of what something was made from tells nothing.
    for (name, value) in made.iter().filter(|(name, _)| !name.contains('.') && *name != "jwks") {
        let value = value.lines().next_back().unwrap();
        assert!(!said.contains(value), "{name} was printed");
        assert!(environment.values().all(|held| !held.contains(value)), "{name} is in the environment");
    }
}

#[test]
fn the_admin_key_goes_with_the_name_and_the_secret_of_the_instance() {
    let machine = Machine::new();
    machine.environment(&[]);
    machine.environment(&[("CONVEX_INSTANCE_NAME", "other")]);
    assert_eq!(machine.secrets()["convex-self-hosted-admin-key"], "other|key\n");
    let secret = "b".repeat(64);
    machine.environment(&[("CONVEX_INSTANCE_NAME", "other"), ("CONVEX_INSTANCE_SECRET", &secret)]);
    let calls = std::fs::read_to_string(machine.path("keygen")).unwrap();
    assert_eq!(calls.lines().count(), 3, "{calls}");
    assert!(calls.lines().last().unwrap().ends_with(&secret));
    // One that is given needs no backend, and one of an old start is not mixed up with it.
    machine.environment(&[("CONVEX_SELF_HOSTED_ADMIN_KEY", "given|key")]);
    assert_eq!(std::fs::read_to_string(machine.path("keygen")).unwrap(), calls);
    let shown = machine.run("opt/stack/bin/secrets", &["CONVEX_SELF_HOSTED_ADMIN_KEY"], &[]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "given|key\n");
}

#[test]
fn a_secret_that_was_given_is_the_one_and_stays_out_of_the_volume() {
    let machine = Machine::new();
    let file = machine.write("given", "from-a-file\n");
    let settings = [("OPENCLAW_GATEWAY_TOKEN_FILE", file.to_str().unwrap()), ("LLAMACPP_API_KEY", "key")];
    let environment = machine.environment(&settings);
    for name in ["OPENCLAW_GATEWAY_TOKEN", "OPENCLAW_GATEWAY_TOKEN_FILE", "LLAMACPP_API_KEY"] {
        assert!(!environment.contains_key(name), "{name}");
    }
    assert!(!machine.secrets().contains_key("openclaw-gateway-token"));
    let shown = machine.run("opt/stack/bin/secrets", &["openclaw-gateway-token"], &[]);
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "from-a-file\n");
    let listed = machine.run("opt/stack/bin/secrets", &[], &[]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.starts_with("LLAMACPP_API_KEY") && line.ends_with("given")), "{listed}");
    assert!(!listed.contains("from-a-file"));
    assert!(!machine.run("opt/stack/bin/secrets", &["NO_SUCH"], &[]).status.success());
}

#[test]
fn half_a_secret_is_told_and_never_replaced() {
    let machine = Machine::new();
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
    let machine = Machine::new();
    machine.program("bin/node", "echo '-----BEGIN PRIVATE KEY-----'; exit 1");
    assert!(!machine.start(&[]).status.success());
    assert!(!machine.path("handed-over").exists());
    assert!(machine.secrets().keys().all(|name| !name.starts_with("jwt") && !name.starts_with(".new")));
}

#[test]
fn a_command_of_ones_own_is_run_instead() {
    let machine = Machine::new();
    let output = machine.run("opt/stack/start.sh", &["echo", "hello"], &[("LLAMACPP_PORT", "x")]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
}

/// The status page is a Node.js program with a test of its own.
#[test]
fn the_status_page_escapes_and_answers() {
    let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/status-page.mjs");
    let ran = Command::new("node").arg("--test").arg(test).output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}
