//! Verifies a pin, and its trust.

use anyhow::Context as _;

use crate::domain::trust::Trust;
use crate::upstream::{self, Checked, Finding, Upstream};

pub(super) async fn check(up: Upstream<'_>, name: &str) -> anyhow::Result<Checked> {
    let pin = up.lock.components.get(name).with_context(|| format!("`{name}` is not pinned"))?;
    let mut checked = upstream::verify(up, name, pin).await?;
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
