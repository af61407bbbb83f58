//! Signatures with a private key, by cosign. They are stored in the image's registry, not in a public log.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::error::HintExt as _;
use crate::io::process;

#[derive(Debug)]
pub(crate) struct Signer {
    /// A file or another key that cosign supports (`awskms://…`).
    key: String,
    public: PathBuf,
    folder: TempDir,
}

impl Signer {
    /// Checks that the key can be used. Its password is in `COSIGN_PASSWORD`.
    pub(crate) async fn new(key: &str) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("xtask-signing-")?;
        let public = folder.path().join("cosign.pub");
        let output = process::output(process::command("cosign").args(["public-key", "--key", key]))
            .await
            .with_context(|| format!("cannot sign with the key {key}"))
            .hint(|| {
                "use a key of `cosign generate-key-pair` or of a key service, and set COSIGN_PASSWORD; Debian has cosign \
                 since trixie"
            })?;
        fs_err::write(&public, output.stdout)?;
        Ok(Self { key: key.to_owned(), public, folder })
    }

    /// Signs an index and its images, unless they are signed.
    pub(crate) async fn sign(&self, image: &str) -> anyhow::Result<()> {
        if verify(image, &self.public).await.is_ok() {
            return Ok(());
        }
        let mut command = process::command("cosign");
        command.args(["sign", "--yes", "--recursive", "--tlog-upload=false", "--key", &self.key, image]);
        process::run(&mut command).await.with_context(|| format!("cannot sign {image}"))
    }

    /// Attests a predicate of a type, unless the key has already attested one.
    pub(crate) async fn attest(&self, image: &str, kind: &str, predicate: &Value) -> anyhow::Result<()> {
        // A statement that cannot be read here is one, too.
        if process::ended(&mut verification(image, kind, &self.public)).await?.status.success() {
            return Ok(());
        }
        let file = self.folder.path().join("predicate.json");
        fs_err::write(&file, predicate.to_string())?;
        let mut command = process::command("cosign");
        command.args(["attest", "--yes", "--tlog-upload=false", "--type", kind, "--key", &self.key, "--predicate"]);
        process::run(command.arg(file).arg(image)).await.with_context(|| format!("cannot attest {image}"))
    }
}

fn verification(image: &str, kind: &str, key: &Path) -> Command {
    let mut command = process::command("cosign");
    command.args(["verify-attestation", "--private-infrastructure", "--type", kind, "--key"]).arg(key).arg(image);
    command
}

/// The attested statements of a type, verified with a public key.
pub(crate) async fn attested(image: &str, kind: &str, key: &Path) -> anyhow::Result<Vec<Value>> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        payload: String,
    }
    let output = process::text(&mut verification(image, kind, key))
        .await
        .with_context(|| format!("{} attests no {kind} of {image}", key.display()))?;
    let statement = |line: &str| {
        let Envelope { payload } = serde_json::from_str(line)?;
        Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
    };
    output.lines().map(statement).collect()
}

/// Verifies the signature of an image with a public key.
pub(crate) async fn verify(image: &str, key: &Path) -> anyhow::Result<()> {
    let mut command = process::command("cosign");
    command.args(["verify", "--private-infrastructure", "--key"]).arg(key);
    process::run(command.arg(image)).await.with_context(|| format!("{image} is not signed by {}", key.display()))
}
