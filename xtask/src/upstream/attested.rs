//! Sigstore attestations: npm's provenance, and GitHub's for the files of a release. cosign verifies them with the
//! checkout's trusted roots and without the network; their subjects are checked here.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{Candidate, Upstream};
use crate::domain::host::is_repository;
use crate::domain::lock::{FileFor, FilePin};
use crate::domain::text;
use crate::domain::trust::Trust;
use crate::error::HintExt as _;
use crate::io::process;

/// Sigstore's certificate authorities and logs: its `trusted_root.json`.
const ROOTS: &str = "keys/sigstore.json";
/// The identity provider of GitHub's workflows.
const ISSUER: &str = "https://token.actions.githubusercontent.com";
/// <https://slsa.dev/spec/v1.0/provenance>, and the version before it.
pub(super) const PROVENANCE: &str = "https://slsa.dev/provenance/";

/// The verifier of the level `attested`, for messages.
pub(super) const BY: &str = "a workflow of its repository";

/// The result of verifying an attestation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attested {
    Yes,
    /// It cannot be verified on this machine, as a note says.
    Unchecked,
}

/// What an attestation must be about.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    /// `owner/name` on GitHub: one of its workflows must have created the attestation.
    pub(super) repo: &'a str,
    /// Its name in the attestation; a file may have any name.
    pub(super) name: Option<&'a str>,
    /// `algorithm:hex`.
    pub(super) digest: &'a str,
    /// For messages.
    pub(super) what: &'a str,
}

/// The subjects of an in-toto statement.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    subject: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
    digest: BTreeMap<String, String>,
}

impl Statement {
    fn of(bundle: &Value) -> Option<Self> {
        let payload = bundle.pointer("/dsseEnvelope/payload")?.as_str()?;
        serde_json::from_slice(&STANDARD.decode(payload).ok()?).ok()
    }

    fn is_about(&self, name: Option<&str>, digest: &str) -> bool {
        let Some((algorithm, hex)) = digest.split_once(':') else { return false };
        let is_it = |one: &Named| {
            name.is_none_or(|name| one.name == name) && one.digest.get(algorithm).is_some_and(|stated| stated == hex)
        };
        self.predicate_type.starts_with(PROVENANCE) && self.subject.iter().any(is_it)
    }
}

/// Fails unless one of the bundles is provenance of the subject, from a workflow of its repository. `None` without bundles.
pub(super) async fn check(
    up: Upstream<'_>,
    subject: Subject<'_>,
    bundles: &[Value],
) -> anyhow::Result<Option<Attested>> {
    let mut result = Ok(None);
    for bundle in bundles {
        result = holds(up, subject, bundle).await.map(Some);
        if result.is_ok() {
            break;
        }
    }
    result.with_context(|| format!("the attestation of {} is not valid", subject.what)).hint(|| {
        "ask its upstream why; a newer cosign may know a newer log, and docs/pins.md says how to renew \
         keys/sigstore.json; a version named with --to is taken without it"
    })
}

async fn holds(up: Upstream<'_>, subject: Subject<'_>, bundle: &Value) -> anyhow::Result<Attested> {
    let Subject { repo, name, digest, what } = subject;
    ensure!(is_repository(repo), "`{}` is not of the form owner/name", repo.escape_debug());
    let statement = Statement::of(bundle).context("it is not a Sigstore bundle with a statement")?;
    ensure!(statement.is_about(name, digest), "it is not provenance of {digest}");
    let roots = up.root.join(ROOTS);
    ensure!(roots.is_file(), "the trusted roots {} do not exist", roots.display());
    let folder = tempfile::Builder::new().prefix("xtask-attested-").tempdir()?;
    fs_err::write(folder.path().join("bundle.json"), bundle.to_string())?;
    // The certificate has the workflow file and the repository that it ran for: a workflow may call another one's.
    let workflow = format!(r"^https://github\.com/{}/\.github/workflows/[^@]+@refs/(heads|tags)/", regex::escape(repo));
    let mut cosign = process::command("cosign");
    // `verify-blob` accepts a digest instead of a file. `verify-blob-attestation` of cosign 2.5 needs the file and supports
    // SHA-256 only; npm uses SHA-512.
    cosign.current_dir(folder.path()).args(["verify-blob", "--new-bundle-format", "--bundle", "bundle.json"]);
    cosign.arg("--trusted-root").arg(fs_err::canonicalize(&roots)?).args(["--certificate-oidc-issuer", ISSUER]);
    cosign.args(["--certificate-identity-regexp", &workflow, "--certificate-github-workflow-repository", repo, digest]);
    let ended = match process::ended(&mut cosign).await {
        Ok(ended) => ended,
        Err(error) if process::is_missing(&error) => {
            return Ok(unchecked(up, what, "install cosign"));
        }
        Err(error) => return Err(error),
    };
    let stderr = String::from_utf8_lossy(&ended.stderr);
    if stderr.contains("unknown flag") {
        return Ok(unchecked(up, what, "install cosign 2.5 or newer"));
    }
    if !ended.status.success() {
        bail!("cosign says: {}", text::shown(stderr.lines().next().unwrap_or_default(), 300));
    }
    Ok(Attested::Yes)
}

fn unchecked(up: Upstream<'_>, what: &str, why: &str) -> Attested {
    up.notes.add(format!("note: the attestation of {what} is not verified: {why}"));
    Attested::Unchecked
}

/// Verifies the attestations of a release's files; `None` unless each file has one. One often covers all files, which
/// saves requests.
pub(super) async fn files(
    up: Upstream<'_>,
    repo: &str,
    files: &BTreeMap<FileFor, FilePin>,
) -> anyhow::Result<Option<Attested>> {
    let mut known: Vec<Value> = Vec::new();
    let mut attested = None;
    for file in files.values() {
        let digest = format!("sha256:{}", file.sha256);
        let names_it = |bundle: &&Value| Statement::of(bundle).is_some_and(|one| one.is_about(None, &digest));
        let mut bundles: Vec<Value> = known.iter().filter(names_it).cloned().collect();
        if bundles.is_empty() {
            bundles = up.github.attestations(repo, &digest).await?;
            known.extend(bundles.iter().cloned());
        }
        let subject = Subject { repo, name: None, digest: &digest, what: file.url.file_name() };
        attested = check(up, subject, &bundles).await?;
        if attested != Some(Attested::Yes) {
            break;
        }
    }
    Ok(attested)
}

/// For `bump`: an invalid attestation does not refuse a version that was requested.
pub(super) fn taken(
    up: Upstream<'_>,
    attested: anyhow::Result<Option<Attested>>,
    candidate: &Candidate,
) -> anyhow::Result<Option<Attested>> {
    match attested {
        Err(error) if candidate.asked => {
            up.notes.add(format!("warning: {error:#}"));
            Ok(None)
        }
        result => result,
    }
}

/// The trust with an attestation, and whether one could not be verified.
pub(super) fn level(trust: Trust, attested: Option<Attested>) -> (Trust, bool) {
    let trust = if attested == Some(Attested::Yes) { Trust::Attested } else { trust };
    (trust, attested == Some(Attested::Unchecked))
}
