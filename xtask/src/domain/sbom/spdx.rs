//! SPDX 2.3.

use serde_json::{Value, json};

use super::license::{self, License};
use super::{Bill, Part};

const UNKNOWN: &str = "NOASSERTION";

pub(crate) fn spdx(bill: &Bill) -> Value {
    let image = Part {
        name: bill.name.clone(),
        version: bill.digest.to_string(),
        license: None,
        purl: bill.purl(),
        sha256: Some(bill.digest.hex().to_owned()),
        url: None,
    };
    let parts = std::iter::once(&image).chain(&bill.parts).enumerate();
    let contains = (1..=bill.parts.len())
        .map(|at| json!({ "spdxElementId": id(0), "relationshipType": "CONTAINS", "relatedSpdxElement": id(at) }));
    let describes =
        json!({ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": id(0) });
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", bill.name, bill.arch),
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}-{}", bill.name, bill.digest.hex()),
        "creationInfo": {
            "created": bill.created,
            "creators": [format!("Tool: {}-{}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))],
        },
        "packages": parts.map(|(at, part)| package(at, part)).collect::<Vec<_>>(),
        "relationships": std::iter::once(describes).chain(contains).collect::<Vec<_>>(),
    })
}

fn id(at: usize) -> String {
    format!("SPDXRef-Package-{at}")
}

fn package(at: usize, part: &Part) -> Value {
    let license = part.license.as_deref().map(license::read);
    let mut package = json!({
        "SPDXID": id(at),
        "name": part.name,
        "versionInfo": part.version,
        "downloadLocation": part.url.as_deref().unwrap_or(UNKNOWN),
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": match license {
            Some(License::Id(text) | License::Expression(text)) => text,
            Some(License::Name(_)) | None => UNKNOWN,
        },
        "copyrightText": UNKNOWN,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl,
        }],
    });
    if let Some(sha256) = &part.sha256 {
        package["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    if let Some(License::Name(name)) = license {
        package["licenseComments"] = format!("as declared: {name}").into();
    }
    package
}
