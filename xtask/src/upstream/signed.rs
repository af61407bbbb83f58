//! Clear-signed texts (`OpenPGP`), verified by gpgv with a keyring of the checkout.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::Upstream;
use crate::io::process;

/// The text, if a key of the keyring signed it; `None` for another key, or if it cannot be verified here.
pub(super) async fn text(up: Upstream<'_>, keyring: &Path, signed: &str, url: &str) -> anyhow::Result<Option<String>> {
    let keyring = up.root.join(keyring);
    if !keyring.is_file() {
        bail!("the keyring {} in stack.toml does not exist", keyring.display());
    }
    let folder = tempfile::Builder::new().prefix("xtask-signed-").tempdir()?;
    let (file, output) = (folder.path().join("signed"), folder.path().join("text"));
    fs_err::write(&file, signed)?;
    let mut gpgv = process::command("gpgv");
    gpgv.env("GNUPGHOME", folder.path()).args(["--status-fd=1", "--keyring"]).arg(&keyring);
    let ended = match process::ended(gpgv.arg("--output").arg(&output).arg("--").arg(&file)).await {
        Ok(ended) => ended,
        Err(error) if process::is_missing(&error) => {
            up.notes.add(format!("note: the signature of {url} is not verified: install gpgv"));
            return Ok(None);
        }
        Err(error) => return Err(error).context("cannot verify a signature"),
    };
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    let tells = |word: &str| stdout.lines().any(|line| line.split_whitespace().nth(1) == Some(word));
    if tells("BADSIG") {
        bail!("{url} was changed after it was signed");
    }
    if ended.status.success() && tells("VALIDSIG") {
        let text = fs_err::read_to_string(&output);
        return text.map(Some).with_context(|| format!("cannot read what {url} signs"));
    }
    let by = stdout.lines().find_map(|line| line.split_once("NO_PUBKEY ").map(|(_, key)| format!(" ({})", key.trim())));
    up.notes.add(format!(
        "note: no key of {} signed {url}{}: its signature is ignored",
        keyring.display(),
        by.unwrap_or_default()
    ));
    Ok(None)
}
