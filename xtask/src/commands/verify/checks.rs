//! Verifies a pin by its kind. An upstream that does not answer is an error, not a finding.

use anyhow::Context as _;

use crate::domain::lock::Pinned;
use crate::domain::trust::Trust;
use crate::upstream::{Checked, Finding, Upstream, debian, git, github, npm, oci};

pub(super) async fn check(up: Upstream<'_>, name: &str) -> anyhow::Result<Checked> {
    let pin = up.lock.components.get(name).with_context(|| format!("`{name}` is not pinned"))?;
    let mut checked = match &pin.pinned {
        Pinned::Files(_) => {
            github::verify(up, name, pin, github::Depth::Files).await.map_err(|error| github::advised(error, name))
        }
        Pinned::Npm(_) => npm::verify(up, name, pin).await,
        Pinned::Git(_) => git::verify(up, name, pin).await,
        Pinned::Image(image) => oci::verify(up, image).await,
        Pinned::Packages(_) => debian::verify(up, name, pin).await,
    }?;
    let before = pin.trust.filter(|before| *before < Trust::Attested || !checked.unchecked);
    let wanted = before.max(up.stack.component(name)?.trust);
    if let (Some(wanted), Some((found, _))) = (wanted, checked.trust)
        && found < wanted
    {
        let what = format!("the trust in {name} {}", pin.version);
        checked.findings.push(Finding::Weaker { what, wanted, found });
    }
    Ok(checked)
}
