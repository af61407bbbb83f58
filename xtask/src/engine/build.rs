//! Builds the image of one architecture as an OCI layout on disk, reproducibly for the same lock.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context as _, ensure};
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;

use super::docker::Docker;
use super::layout::{self, Image};
use super::policy;
use crate::domain::arch::Arch;
use crate::domain::digest::Sha256;
use crate::domain::host::{host_of, is_loopback};
use crate::domain::lock::{Lock, Pinned};
use crate::domain::mirror::Mirrors;
use crate::error::hinted;
use crate::io::{process, say};

/// The cache of earlier builds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cache<'a> {
    /// Use no cache, not even the builder's own.
    pub(crate) none: bool,
    /// Additional caches, in the syntax of buildx.
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
}

/// The inputs of a build.
#[derive(Debug, Clone)]
pub(crate) struct Build<'a> {
    pub(crate) docker: &'a Docker,
    /// The rendered build context (`image/`).
    pub(crate) context: PathBuf,
    pub(crate) lock: &'a Lock,
    pub(crate) mirrors: &'a Mirrors,
    /// URL of the npm registry for build steps.
    pub(crate) npm_registry: String,
    pub(crate) cache: Cache<'a>,
    /// The stage to build; the last one if `None`.
    pub(crate) target: Option<&'a str>,
    pub(crate) progress: Progress<'a>,
}

/// Where BuildKit's progress goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Progress<'a> {
    /// To stderr.
    Shown,
    /// To stderr, each line prefixed with this, because another build runs at the same time.
    Marked(&'a str),
    File(&'a Path),
}

#[derive(Debug, thiserror::Error)]
#[error(
    "docker buildx failed with {status}{}",
    if *.is_shown { "; see its output above".to_owned() } else { end(.output.as_deref()) }
)]
pub(crate) struct BuildFailed {
    status: ExitStatus,
    /// The end of BuildKit's output, if it did not go to a terminal.
    output: Option<String>,
    is_shown: bool,
}

fn end(output: Option<&str>) -> String {
    format!(":\n    {}", process::tail(output.unwrap_or_default(), 25))
}

impl BuildFailed {
    /// The expected digest of a file for which BuildKit got another one (`digest mismatch GOT: WANTED`).
    pub(crate) fn wanted(&self) -> Option<Sha256> {
        let (_, digests) = self.output.as_deref()?.rsplit_once("digest mismatch ")?;
        let wanted = digests.split_whitespace().nth(1)?.strip_prefix("sha256:")?;
        wanted.get(..64)?.parse().ok()
    }
}

impl Build<'_> {
    /// Builds the image of one architecture into `output`, which is replaced when the build succeeds.
    pub(crate) async fn run(&self, arch: Arch, output: &Path) -> anyhow::Result<Image> {
        let parent = output.parent().context("the output folder has no parent")?;
        fs_err::create_dir_all(parent)?;
        let staging = TempDir::with_prefix_in(".building-", parent)?;
        let builder = self.docker.builder().await?;
        let layout = staging.path().join("layout");
        if !self.cache.none {
            layout::lend_layers(output, &layout).await?;
        }
        self.export(arch, &layout, self.cache.none).await?;
        if !self.cache.none && layout::has_other_compression(&layout)? {
            say(
                "note: the builder has layers of an earlier build in another compression; building again without its cache",
            );
            fs_err::remove_dir_all(&layout)?;
            self.export(arch, &layout, true).await?;
        }
        layout::prune(&layout)?;
        let image = layout::read(&layout, arch)?;
        fs_err::write(layout.join(layout::BUILT_BY), format!("{builder}\n"))?;
        if output.exists() {
            fs_err::rename(output, staging.path().join("before"))?;
        }
        fs_err::rename(&layout, output)?;
        Ok(image)
    }

    /// Lets BuildKit write a layout.
    async fn export(&self, arch: Arch, layout: &Path, without_cache: bool) -> anyhow::Result<()> {
        let (mut command, _policy) = self.command(without_cache)?;
        let npmrc = self.npmrc()?;
        // The name is for an engine that loads the layout. It is in the layout's index only and is not pushed.
        let name = format!("localhost/mission-control:build-{arch}");
        // Files have their dates already: `rewrite-timestamp` would compress each layer twice, at each build.
        command.args(["--platform", &arch.platform()]).arg("--output").arg(format!(
            "type=oci,tar=false,compression=zstd,compression-level=9,name={name},dest={}",
            layout.display()
        ));
        if let Some(bundle) = certificate_bundle() {
            command.arg("--secret").arg(format!("id=ca,src={}", bundle.display()));
        }
        command.arg("--secret").arg(format!("id=npmrc,src={}", npmrc.path().display()));
        if is_loopback(host_of(&self.npm_registry)) {
            // A container's own network cannot reach a registry on this machine's loopback.
            command.args(["--network=host"]);
        }
        let options = [("--cache-from", self.cache.from), ("--cache-to", self.cache.to), ("--target", self.target)];
        for (option, value) in options {
            if let Some(value) = value {
                command.args([option, value]);
            }
        }
        command.arg(&self.context);
        let (status, output) = match self.progress {
            Progress::File(path) => {
                let log = fs_err::File::create(path)?.into_parts().0;
                command.arg("--progress=plain").stdout(log.try_clone()?).stderr(log);
                (process::status(&mut command).await?, Some(fs_err::read_to_string(path)?))
            }
            Progress::Shown if std::io::stderr().is_terminal() => (process::status(&mut command).await?, None),
            Progress::Shown | Progress::Marked(_) => {
                let mark = if let Progress::Marked(mark) = self.progress { mark } else { "" };
                let (status, output) = process::passed_on(command.arg("--progress=plain"), mark).await?;
                (status, Some(output))
            }
        };
        if status.success() {
            return Ok(());
        }
        let lacks_output = output.is_none();
        let failed = BuildFailed { status, output, is_shown: matches!(self.progress, Progress::Shown) };
        if lacks_output {
            return Err(hinted(failed, "if it reports `digest mismatch`, see `cargo xtask verify`"));
        }
        Err(failed.into())
    }

    /// Checks that builds refuse sources that are not pinned, and files with another digest. Returns the number of
    /// refused builds.
    pub(crate) async fn check_refusals(&self) -> anyhow::Result<usize> {
        let pinned = self.lock.components.values().flat_map(|pin| match &pin.pinned {
            Pinned::Packages(lists) => lists.values().flatten().collect(),
            _ => Vec::new(),
        });
        // The smallest one, because it is downloaded.
        let url = pinned.min_by_key(|package| package.size).context("the lock pins no package")?.url.as_str();
        // The digest of no file.
        let other = "0".repeat(64);
        let cases = [
            (format!("FROM scratch\nADD {url}.unpinned /file\n"), "denied by policy"),
            (format!("FROM scratch\nADD --checksum=sha256:{other} {url} /file\n"), "digest mismatch"),
        ];
        for (dockerfile, reason) in &cases {
            let context = TempDir::with_prefix("xtask-refusal-")?;
            fs_err::write(context.path().join("Dockerfile"), dockerfile)?;
            let (mut command, _policy) = self.command(true)?;
            let output = process::ended(command.arg("--progress=plain").arg(context.path())).await?;
            let shown = dockerfile.trim().replace('\n', "\n    ");
            ensure!(!output.status.success(), "this was built, but the policy should have refused it:\n    {shown}");
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(
                error.contains(reason),
                "refused, but not because of `{reason}`:\n    {}",
                process::tail(&error, 8)
            );
        }
        Ok(cases.len())
    }

    /// The command of every build, with the policy made from the lock, and the moment that the image is dated. The client
    /// reads the policy from the temporary file while it runs.
    fn command(&self, without_cache: bool) -> anyhow::Result<(Command, NamedTempFile)> {
        let mut policy = tempfile::Builder::new().prefix("xtask-policy-").suffix(".json").tempfile()?;
        serde_json::to_writer_pretty(&mut policy, &policy::policy(self.lock, self.mirrors))?;
        policy.flush()?;
        let mut command = self.docker.building();
        command
            .args(["buildx", "build", "--provenance=false", "--sbom=false"])
            .env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", policy.path())
            .env("SOURCE_DATE_EPOCH", self.lock.epoch().to_string());
        if without_cache {
            command.arg("--no-cache");
        }
        Ok((command, policy))
    }

    /// The settings of npm, a secret that is mounted for single steps: no layer contains it.
    fn npmrc(&self) -> anyhow::Result<NamedTempFile> {
        let mut npmrc = tempfile::Builder::new().prefix("xtask-npmrc-").tempfile()?;
        // The user's own file may have the token of a private registry; the URL is last and takes precedence.
        if let Some(own) = std::env::home_dir().map(|home| home.join(".npmrc")).filter(|path| path.is_file()) {
            writeln!(npmrc, "{}", fs_err::read_to_string(own)?)?;
        }
        writeln!(npmrc, "registry={}", self.npm_registry)?;
        npmrc.flush()?;
        Ok(npmrc)
    }
}

/// The certificates that this machine trusts, for build steps that use HTTPS. A TLS-intercepting proxy requires them;
/// otherwise they are the same as the image's.
fn certificate_bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    named.into_iter().chain(usual.map(PathBuf::from)).find(|path| path.is_file())
}
