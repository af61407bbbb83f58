//! A scratch checkout, a server with GitHub's API, and runs of the program against it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use wiremock::matchers::{method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::common;
pub(crate) use crate::common::digest as digest_of;

/// A component with one file of a release.
pub(crate) const TOOL: &str = r#"
[components.tool]
title = "Tool"
scheme = "semver"
source = { type = "github", repo = "a/tool" }
file = { name = "tool.zip", contains = "tool" }
"#;

/// A component.
pub(crate) fn component(name: &str, scheme: &str, source: &str) -> String {
    format!("\n[components.{name}]\ntitle = \"{name}\"\nscheme = \"{scheme}\"\nsource = {{ {source} }}\n")
}

/// Components with one file of a release each, by name: `a/NAME`, `NAME.bin`.
pub(crate) fn components(names: &[&str]) -> String {
    let one = |name: &&str| {
        let file = format!("file = {{ name = \"{name}.bin\", contains = \"{name}.bin\" }}\n");
        component(name, "semver", &format!("type = \"github\", repo = \"a/{name}\"")) + &file
    };
    names.iter().map(one).collect()
}

/// The source of an npm package.
pub(crate) const NPM: &str = "type = \"npm\", package = \"tool\", directory = \"npm/tool\"";

/// The source of [`Upstream`]'s tags, and of its branch.
pub(crate) const TAGS: &str = "type = \"git\", repository = \"https://git.example/manager.git\"";
pub(crate) const BRANCH: &str = "type = \"git\", repository = \"https://git.example/manager.git\", branch = \"main\"";

pub(crate) const CONVEX: &str = "get-convex/convex-backend";

/// The newest stable and complete one of the recorded releases of Convex.
pub(crate) const STABLE: &str = "precompiled-2026-09-28-5c7cb5b";
pub(crate) const X86_64: &str = "convex-local-backend-x86_64-unknown-linux-gnu.zip";
pub(crate) const AARCH64: &str = "convex-local-backend-aarch64-unknown-linux-gnu.zip";

/// SHA-512 of no bytes: npm downloads no tarball.
pub(crate) const INTEGRITY: &str =
    "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";

/// Environment variables that would influence a run.
const UNSET: &str = "GITHUB_TOKEN GH_TOKEN GITHUB_OUTPUT GITHUB_STEP_SUMMARY HTTP_PROXY http_proxy HTTPS_PROXY \
    https_proxy NO_PROXY no_proxy ALL_PROXY all_proxy";

const IMAGE: &str = r#"
schema = 1
[image]
name = "x"
title = "x"
flavor = "x"
tag = "v{date}-{flavor}-r{revision}"
license = "MIT"
uid = 1
gid = 1
health = { interval = 10, timeout = 10, retries = 3 }
"#;

pub(crate) const CONVEX_STACK: &str = r#"
[components.convex]
title = "Convex backend"
scheme = "precompiled"
source = { type = "github", repo = "get-convex/convex-backend", promoted = "https://version.convex.dev/v1/local_backend_version" }
file = { name = "convex-local-backend-{arch}-unknown-linux-gnu.zip", contains = "convex-local-backend" }
arch = { x86_64 = "x86_64", aarch64 = "aarch64" }

[components.convex-dashboard]
title = "Convex dashboard"
scheme = "precompiled"
source = { type = "github", repo = "get-convex/convex-backend", same-release-as = "convex" }
file = { name = "dashboard.zip", contains = "index.html" }
"#;

/// A checkout for one test.
pub(crate) struct Scratch {
    folder: TempDir,
    /// The cache of this checkout's runs.
    pub(crate) cache: TempDir,
    mirrors: Vec<String>,
}

impl Scratch {
    pub(crate) fn new(components: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stack.toml"), format!("{IMAGE}{components}")).unwrap();
        Self { folder, cache: tempfile::tempdir().unwrap(), mirrors: Vec::new() }
    }

    /// Redirects other requests, too.
    pub(crate) fn mirror(mut self, from: &str, to: &str) -> Self {
        self.mirrors.push(format!("{from}={to}"));
        self
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.root().join("versions.lock")
    }

    pub(crate) fn lock(&self) -> Option<String> {
        std::fs::read_to_string(self.lock_path()).ok()
    }

    /// Replaces text in stack.toml.
    pub(crate) fn edit_stack(&self, from: &str, to: &str) {
        let path = self.root().join("stack.toml");
        let stack = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, stack.replace(from, to)).unwrap();
    }

    /// Writes a lock that pins [`TOOL`] at a file of this digest (`sha256:…`), and returns it.
    pub(crate) fn pin_tool(&self, digest: &str) -> String {
        let lock = format!(
            "schema = 1\n[components.tool]\nversion = \"1.0.0\"\ntag = \"v1.0.0\"\n\
             [components.tool.pinned.files.any]\nurl = \"https://github.com/tool.zip\"\nsha256 = \"{}\"\n",
            &digest["sha256:".len()..]
        );
        std::fs::write(self.lock_path(), &lock).unwrap();
        lock
    }

    /// Checks that the lock has all of these texts.
    #[track_caller]
    pub(crate) fn lock_has(&self, texts: &[&str]) {
        has(&self.lock().unwrap(), texts);
    }

    /// The names of all files in the checkout.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The program, with all its requests redirected to the server.
    pub(crate) fn command(&self, server: &MockServer, arguments: &[&str]) -> Command {
        self.command_at(&server.uri(), arguments)
    }

    pub(crate) fn command_at(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = Command::from(common::xtask(self.root()));
        for (from, to) in [
            ("https://github.com", "github"),
            ("https://version.convex.dev", "version"),
            ("https://nodejs.org", "node"),
        ] {
            command.arg("--mirror").arg(format!("{from}={server}/{to}"));
        }
        for mirror in &self.mirrors {
            command.arg("--mirror").arg(mirror);
        }
        command.args(arguments).env("GITHUB_API_URL", server).env("XDG_CACHE_HOME", self.cache.path());
        command.env("npm_config_registry", server).env("npm_config_cache", self.cache.path().join("npm"));
        command.env("npm_config_userconfig", self.npmrc());
        command.kill_on_drop(true);
        for variable in UNSET.split(' ') {
            command.env_remove(variable);
        }
        command
    }

    /// The user's `.npmrc` of all runs, which does not exist at first.
    pub(crate) fn npmrc(&self) -> PathBuf {
        self.cache.path().join("npmrc")
    }

    pub(crate) async fn run(&self, server: &MockServer, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(server, arguments)).await
    }
}

/// A git repository, for components with the sources [`TAGS`] and [`BRANCH`].
pub(crate) struct Upstream(TempDir);

impl Upstream {
    pub(crate) fn new() -> Self {
        let upstream = Self(tempfile::tempdir().unwrap());
        upstream.git(&["init", "--quiet"]);
        for setting in ["uploadpack.allowAnySHA1InWant", "uploadpack.allowFilter"] {
            upstream.git(&["config", setting, "true"]);
        }
        upstream
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs git, with a fixed author and date.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(self.path()).env("GIT_COMMITTER_DATE", "2026-08-21T12:00:00+02:00");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"]);
        git.args(["-c", "tag.gpgSign=false", "-c", "commit.gpgSign=false"]);
        let output = git.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits nothing, and returns the commit.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// A checkout that reads this repository.
    pub(crate) fn scratch(&self, components: &str) -> Scratch {
        Scratch::new(components).mirror("https://git.example/manager.git", &format!("file://{}", self.path().display()))
    }
}

/// Output and exit code of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    pub(crate) async fn of(command: &mut Command) -> Self {
        command.output().await.unwrap().into()
    }

    #[track_caller]
    pub(crate) fn succeeded(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that it failed, with all of `texts` on stderr.
    #[track_caller]
    pub(crate) fn failed_with(&self, texts: &[&str]) -> &Self {
        assert_eq!(self.code, Some(1), "{}\n{}", self.stdout, self.stderr);
        has(&self.stderr, texts);
        self
    }

    /// Checks that it succeeded, with all of `texts` on stdout.
    #[track_caller]
    pub(crate) fn printed(&self, texts: &[&str]) -> &Self {
        has(&self.succeeded().stdout, texts);
        self
    }

    /// Checks that it succeeded, with all of `texts` on stderr.
    #[track_caller]
    pub(crate) fn said(&self, texts: &[&str]) -> &Self {
        has(&self.succeeded().stderr, texts);
        self
    }

    /// Checks that it found a difference, with all of `texts` on stdout.
    #[track_caller]
    pub(crate) fn differed(&self, texts: &[&str]) -> &Self {
        assert_eq!(self.code, Some(3), "{}\n{}", self.stdout, self.stderr);
        has(&self.stdout, texts);
        self
    }

    /// The document of `--format json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.stdout, self.stderr))
    }
}

/// The program as an argument of `outer`, with its environment.
pub(crate) fn wrapped(mut outer: Command, inner: &Command) -> Command {
    let inner = inner.as_std();
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Checks that a text has all of `parts`.
#[track_caller]
pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

pub(crate) fn recorded(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The recorded releases of Convex, of both pages.
pub(crate) fn convex_releases() -> Vec<Value> {
    let mut releases = recorded("convex-page-1.json");
    releases.extend(recorded("convex-page-2.json"));
    releases
}

/// The stable release of Convex with another tag and date.
pub(crate) fn complete(tag: &str, moment: &str) -> Value {
    let mut release = find(&mut convex_releases(), STABLE).clone();
    release["tag_name"] = tag.into();
    release["published_at"] = moment.into();
    release["created_at"] = moment.into();
    release
}

pub(crate) fn find<'a>(releases: &'a mut [Value], tag: &str) -> &'a mut Value {
    releases.iter_mut().find(|release| release["tag_name"] == tag).unwrap()
}

pub(crate) fn asset<'a>(release: &'a mut Value, name: &str) -> &'a mut Value {
    let assets = release["assets"].as_array_mut().unwrap();
    assets.iter_mut().find(|asset| asset["name"] == name).unwrap()
}

/// A release with only the fields that are read, each asset with the digest of its contents.
pub(crate) fn release(tag: &str, day: &str, prerelease: bool, assets: &[(&str, &str)]) -> Value {
    let assets: Vec<Value> = assets
        .iter()
        .map(|(name, contents)| {
            json!({
                "name": name, "state": "uploaded", "size": contents.len(), "digest": digest_of(contents.as_bytes()),
                "browser_download_url": format!("https://github.com/files/{tag}/{name}"),
            })
        })
        .collect();
    let moment = format!("{day}T12:00:00Z");
    json!({
        "tag_name": tag, "draft": false, "prerelease": prerelease, "assets": assets,
        "created_at": moment, "published_at": moment, "target_commitish": "main",
    })
}

/// The same without the digest of its first asset, which has this size.
pub(crate) fn undigested(mut release: Value, size: usize) -> Value {
    (release["assets"][0]["digest"], release["assets"][0]["size"]) = (Value::Null, size.into());
    release
}

/// A zip of files by name.
pub(crate) fn zip_of(names: &[&str]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in names {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(name.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A tar.gz of files by path.
pub(crate) fn tar_of(paths: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for path in paths {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    let mut tar = std::process::Command::new("tar");
    let output = tar.args(["--create", "--gzip", "--file=-", "--directory"]).arg(folder.path()).arg(".").output();
    output.unwrap().stdout
}

/// Serves each release by its tag.
pub(crate) async fn serve_tags(server: &MockServer, repo: &str, releases: &[Value]) {
    for release in releases {
        let tag = release["tag_name"].as_str().unwrap();
        serve_json(server, &format!("/repos/{repo}/releases/tags/{tag}"), release).await;
    }
}

/// A document of npm's registry. Each version has more fields, and was published a day after the one before.
pub(crate) fn packument(server: &MockServer, package: &str, latest: &str, versions: &[(&str, Value)]) -> Value {
    let mut document = json!({"name": package, "dist-tags": {"latest": latest}});
    for (index, (version, more)) in versions.iter().enumerate() {
        let tarball = format!("{}/{package}/-/{package}-{version}.tgz", server.uri());
        let dist = json!({"integrity": INTEGRITY, "tarball": tarball});
        let mut manifest = json!({"name": package, "version": version, "dist": dist});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document["versions"][*version] = manifest;
        document["time"][*version] = format!("2026-09-{:02}T12:00:00.123Z", index + 1).into();
    }
    document
}

/// Serves a paged listing with GitHub's `Link` headers (which name the public API), and each release by its tag. The
/// numbers are the expected requests of each page.
pub(crate) async fn serve(server: &MockServer, repo: &str, pages: &[(Vec<Value>, u64)]) {
    for (index, (releases, expected)) in pages.iter().enumerate() {
        let number = index + 1;
        let mut reply = ResponseTemplate::new(200).set_body_json(releases);
        if number < pages.len() {
            let next = format!("https://api.github.com/repositories/1/releases?per_page=100&page={}", number + 1);
            reply = reply.insert_header("link", format!("<{next}>; rel=\"next\", <{next}>; rel=\"last\""));
        }
        let get = Mock::given(method("GET"));
        let mock = if number == 1 {
            let first = get.and(path(format!("/repos/{repo}/releases")));
            first.and(query_param("per_page", "100")).and(query_param_is_missing("page"))
        } else {
            get.and(path("/repositories/1/releases")).and(query_param("page", number.to_string()))
        };
        mock.respond_with(reply).expect(*expected).mount(server).await;
        serve_tags(server, repo, releases).await;
    }
}

/// Serves these releases of `a/tool` only, in one page that is read once.
pub(crate) async fn serve_tool(server: &MockServer, releases: Vec<Value>) {
    server.reset().await;
    serve(server, "a/tool", &[(releases, 1)]).await;
}

/// Answers requests of a path.
pub(crate) async fn answer(server: &MockServer, at: &str, reply: ResponseTemplate) {
    Mock::given(method("GET")).and(path(at)).respond_with(reply).mount(server).await;
}

pub(crate) async fn serve_text(server: &MockServer, at: &str, text: &str) {
    serve_bytes(server, at, text.as_bytes()).await;
}

pub(crate) async fn serve_json(server: &MockServer, at: &str, document: &Value) {
    answer(server, at, ResponseTemplate::new(200).set_body_json(document)).await;
}

pub(crate) async fn serve_bytes(server: &MockServer, at: &str, bytes: &[u8]) {
    answer(server, at, ResponseTemplate::new(200).set_body_bytes(bytes)).await;
}

/// The URL path of an asset of a Convex release.
pub(crate) fn convex_asset(tag: &str, name: &str) -> String {
    format!("/github/{CONVEX}/releases/download/{tag}/{name}")
}

/// The recorded releases, with one asset that has no digest and the given size.
pub(crate) fn without_digest(tag: &str, name: &str, size: usize) -> Vec<Value> {
    let mut releases = convex_releases();
    let asset = asset(find(&mut releases, tag), name);
    asset["digest"] = Value::Null;
    asset["size"] = size.into();
    releases
}

/// A server with the recorded releases of Convex.
pub(crate) async fn convex_server() -> MockServer {
    let server = MockServer::start().await;
    serve(&server, CONVEX, &[(recorded("convex-page-1.json"), 1), (recorded("convex-page-2.json"), 1)]).await;
    server
}
