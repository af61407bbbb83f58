//! `--sign`: signatures and attestations with a cosign key, instead of those of a GitHub workflow.

use serde_json::{Value, json};

use super::plan::Plan;
use crate::domain::promise::Promise;
use crate::engine::cosign::Signer;

impl Plan<'_> {
    /// Signs the index and its images, and attests the provenance and the bill of materials of each image.
    pub(super) async fn sign(&self, signer: &Signer, promise: &Promise) -> anyhow::Result<String> {
        let image = |digest: &str| format!("{}@{digest}", self.wanted.repository.name);
        signer.sign(&image(promise.index.as_str())).await?;
        for (arch, digest) in &promise.manifests {
            let name = image(digest.as_str());
            let builder = promise.builders.get(arch).map_or("not recorded", String::as_str);
            signer.attest(&name, "slsaprovenance1", &self.provenance(builder)).await?;
            let bill = fs_err::read_to_string(self.wanted.dist.join(format!("sbom-{arch}.cdx.json")))?;
            signer.attest(&name, "cyclonedx", &serde_json::from_str(&bill)?).await?;
        }
        Ok(format!("{} and its images", promise.index))
    }

    /// SLSA provenance, version 1, with commit and lock.
    fn provenance(&self, builder: &str) -> Value {
        let source = self.annotations.get("org.opencontainers.image.source");
        let source = source.map_or("git".to_owned(), |source| format!("git+{source}"));
        json!({
            "buildDefinition": {
                "buildType": "https://slsa.dev/container-based-build/v0.1",
                "externalParameters": { "tag": self.tag, "source": source },
                "resolvedDependencies": [
                    { "uri": source, "digest": { "gitCommit": self.commit } },
                    { "uri": "versions.lock", "digest": { "sha256": self.lock_digest } },
                ],
            },
            "runDetails": { "builder": { "id": "cargo xtask release", "version": { "buildkit": builder } } },
        })
    }
}
