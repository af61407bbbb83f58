//! Signatures by a key of one's own, by cosign. They are kept beside the image, and in no public log.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tempfile::TempDir;

use crate::error::HintExt as _;
use crate::io::process;

/// Who signs.
#[derive(Debug)]
pub(crate) struct Signer {
    /// A file, or what else cosign takes for a key (`awskms://…`).
    key: String,
    public: PathBuf,
    folder: TempDir,
}

impl Signer {
    /// Finds out that the key can be used, before anything is signed. Its password is in `COSIGN_PASSWORD`.
    pub(crate) async fn new(key: &str) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("xtask-signing-")?;
        let public = folder.path().join("cosign.pub");
        let told = process::output(process::command("cosign").args(["public-key", "--key", key]))
            .await
            .with_context(|| format!("cannot sign with the key {key}"))
            .hint(|| {
                "name a key of `cosign generate-key-pair` or of a key service, and give its password in \
                 COSIGN_PASSWORD; Debian has cosign from trixie on"
            })?;
        fs_err::write(&public, told.stdout)?;
        Ok(Self { key: key.to_owned(), public, folder })
    }

    /// Signs an index and its images, unless that is done.
    pub(crate) async fn sign(&self, image: &str) -> anyhow::Result<()> {
        if verify(image, &self.public).await.is_ok() {
            return Ok(());
        }
        let mut command = process::command("cosign");
        command.args(["sign", "--yes", "--recursive", "--tlog-upload=false", "--key", &self.key, image]);
        process::run(&mut command).await.with_context(|| format!("cannot sign {image}"))
    }

    /// Says something of an image, in a form that has a name, unless the same key did so already.
    pub(crate) async fn attest(&self, image: &str, kind: &str, predicate: &Value) -> anyhow::Result<()> {
        let mut command = process::command("cosign");
        command.args(["verify-attestation", "--private-infrastructure", "--type", kind, "--key"]).arg(&self.public);
        if process::ended(command.arg(image)).await?.status.success() {
            return Ok(());
        }
        let file = self.folder.path().join("predicate.json");
        fs_err::write(&file, predicate.to_string())?;
        let mut command = process::command("cosign");
        command.args(["attest", "--yes", "--tlog-upload=false", "--type", kind, "--key", &self.key, "--predicate"]);
        process::run(command.arg(file).arg(image)).await.with_context(|| format!("cannot attest {image}"))
    }
}

/// What the owner of a public key attests of an image, in a form that has a name.
pub(crate) async fn attested(image: &str, kind: &str, key: &Path) -> anyhow::Result<Vec<Value>> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        payload: String,
    }
    let mut command = process::command("cosign");
    command.args(["verify-attestation", "--private-infrastructure", "--type", kind, "--key"]).arg(key);
    let told = process::text(command.arg(image))
        .await
        .with_context(|| format!("{} attests no {kind} of {image}", key.display()))?;
    let statement = |line: &str| {
        let Envelope { payload } = serde_json::from_str(line)?;
        Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
    };
    told.lines().map(statement).collect()
}

/// Bails unless an image is signed by the owner of a public key.
pub(crate) async fn verify(image: &str, key: &Path) -> anyhow::Result<()> {
    let mut command = process::command("cosign");
    command.args(["verify", "--private-infrastructure", "--key"]).arg(key);
    process::run(command.arg(image)).await.with_context(|| format!("{image} is not signed by {}", key.display()))
}
