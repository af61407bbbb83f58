//! `CycloneDX` 1.6.

use serde_json::{Value, json};

use super::license::{self, License};
use super::{Bill, Part};

pub(crate) fn cyclonedx(bill: &Bill) -> Value {
    let hex = bill.digest.hex();
    // A UUID for custom use (RFC 9562, version 8), made from the image's digest.
    let serial = format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[12..15], &hex[15..18], &hex[18..30]);
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{serial}"),
        "version": 1,
        "metadata": {
            "timestamp": bill.created,
            "tools": { "components": [{ "type": "application", "name": env!("CARGO_PKG_NAME") }] },
            "component": {
                "type": "container",
                "bom-ref": bill.purl(),
                "name": bill.name,
                "version": bill.digest,
                "description": bill.title,
                "hashes": [{ "alg": "SHA-256", "content": hex }],
                "purl": bill.purl(),
            },
        },
        "components": bill.parts.iter().map(component).collect::<Vec<_>>(),
        "dependencies": [{
            "ref": bill.purl(),
            "dependsOn": bill.parts.iter().map(|part| part.purl.as_str()).collect::<Vec<_>>(),
        }],
    })
}

fn component(part: &Part) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": part.purl, "name": part.name, "version": part.version, "purl": part.purl,
    });
    if let Some(license) = &part.license {
        component["licenses"] = json!([match license::read(license) {
            License::Id(id) => json!({ "license": { "id": id } }),
            License::Expression(expression) => json!({ "expression": expression }),
            License::Name(name) => json!({ "license": { "name": name } }),
        }]);
    }
    if let Some(sha256) = &part.sha256 {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if let Some(url) = &part.url {
        let kind = if url.starts_with("git+") { "vcs" } else { "distribution" };
        component["externalReferences"] = json!([{ "type": kind, "url": url.trim_start_matches("git+") }]);
    }
    component
}
