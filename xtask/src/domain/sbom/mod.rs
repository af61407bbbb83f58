//! Software bills of materials in the formats of `CycloneDX` and SPDX. They depend on the image and the lock only, so the
//! same image has the same bytes.

mod cyclonedx;
pub(crate) mod license;
mod spdx;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::arch::Arch;
use super::digest::OciDigest;
use super::lock::{Lock, Pin, Pinned, file_for};
use super::stack::Stack;

pub(crate) use cyclonedx::cyclonedx;
pub(crate) use spdx::spdx;

/// A package found in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) version: String,
    /// As its author writes it.
    pub(crate) license: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// With its Debian architecture, which may be `all`.
    Debian(String),
    Npm,
}

/// One component in a bill.
#[derive(Debug)]
struct Part {
    name: String,
    version: String,
    license: Option<String>,
    /// Package URL.
    purl: String,
    sha256: Option<String>,
    url: Option<String>,
}

/// The contents of a bill.
#[derive(Debug)]
pub(crate) struct Bill {
    name: String,
    title: String,
    arch: Arch,
    /// Of the image's manifest.
    digest: OciDigest,
    created: String,
    parts: Vec<Part>,
}

impl Bill {
    /// `packages` are those found in the image; other components are taken from the lock.
    pub(crate) fn new(stack: &Stack, lock: &Lock, arch: Arch, digest: OciDigest, packages: &[Package]) -> Self {
        let pinned = lock.components.iter().filter_map(|(name, pin)| {
            let component = stack.components.get(name)?;
            Part::pinned(name, component.license.clone(), pin, arch)
        });
        let mut parts: Vec<Part> = pinned.chain(packages.iter().map(Part::found)).collect();
        parts.sort_by(|one, other| one.purl.cmp(&other.purl));
        parts.dedup_by(|one, other| one.purl == other.purl);
        let (name, title) = (stack.image.name.clone(), stack.image.title.clone());
        Self { name, title, arch, digest, created: lock.created(), parts }
    }

    /// The package URLs that a bill must contain, by component: pins with digest or commit.
    pub(crate) fn pins(stack: &Stack, lock: &Lock, arch: Arch) -> Vec<(String, String)> {
        let pinned = lock.components.iter().filter(|(name, _)| stack.components.contains_key(*name));
        pinned.filter_map(|(name, pin)| Some((name.clone(), Part::pinned(name, None, pin, arch)?.purl))).collect()
    }

    fn purl(&self) -> String {
        format!("pkg:oci/{}@{}?arch={}", self.name, encoded(self.digest.as_str()), self.arch.oci())
    }
}

impl Part {
    /// A component of the lock that no package manager lists in the image.
    fn pinned(name: &str, license: Option<String>, pin: &Pin, arch: Arch) -> Option<Self> {
        let version = pin.version.clone();
        let (purl, sha256, url) = match &pin.pinned {
            Pinned::Files(files) => {
                let file = file_for(files, arch)?;
                let (url, sha256) = (file.url.as_str(), file.sha256.as_str());
                let what = format!("download_url={}&checksum={}", encoded(url), encoded(&format!("sha256:{sha256}")));
                let purl = format!("pkg:generic/{name}@{}?{what}", encoded(&version));
                (purl, Some(sha256.to_owned()), Some(url.to_owned()))
            }
            Pinned::Git(git) => {
                let url = format!("git+{}@{}", git.repository, git.commit);
                let purl = format!("pkg:generic/{name}@{}?vcs_url={}", encoded(&version), encoded(&url));
                (purl, None, Some(url))
            }
            Pinned::Image(image) => {
                let digest = image.platforms.get(&arch)?;
                let short = image.name.rsplit('/').next().unwrap_or(&image.name);
                let place = format!("repository_url={}&tag={}", encoded(&image.name), encoded(&version));
                let purl = format!("pkg:oci/{short}@{}?arch={}&{place}", encoded(digest.as_str()), arch.oci());
                (purl, Some(digest.hex().to_owned()), None)
            }
            // Found in the image, or only needed to build it.
            Pinned::Npm(_) | Pinned::Packages(_) => return None,
        };
        Some(Self { name: name.to_owned(), version, license, purl, sha256, url })
    }

    fn found(package: &Package) -> Self {
        let Package { kind, name, version, license } = package;
        let purl = match kind {
            Kind::Debian(arch) => {
                format!("pkg:deb/debian/{}@{}?arch={}", encoded(name), encoded(version), encoded(arch))
            }
            Kind::Npm => {
                let path: Vec<String> = name.split('/').map(encoded).collect();
                format!("pkg:npm/{}@{}", path.join("/"), encoded(version))
            }
        };
        let (name, version, license) = (name.clone(), version.clone(), license.clone());
        Self { name, version, license, purl, sha256: None, url: None }
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encoded(text: &str) -> String {
    const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, &RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill(packages: &[Package]) -> Bill {
        let stack = Stack::parse(include_str!("../../../../stack.toml")).unwrap();
        let lock = Lock::parse(include_str!("../../../testdata/frozen/versions.lock")).unwrap();
        Bill::new(&stack, &lock, Arch::Aarch64, format!("sha256:{}", "a".repeat(64)).parse().unwrap(), packages)
    }

    fn package(kind: Kind, name: &str, version: &str, license: Option<&str>) -> Package {
        Package { kind, name: name.to_owned(), version: version.to_owned(), license: license.map(str::to_owned) }
    }

    #[test]
    fn both_formats_list_the_same_parts_with_versions_digests_and_licenses() {
        let packages = [
            package(Kind::Debian("arm64".to_owned()), "libstdc++6", "1:14.2.0-19", None),
            package(Kind::Npm, "@scope/a", "1.0.0", Some("(MIT OR Apache-2.0)")),
            package(Kind::Npm, "b", "2.0.0", Some("SEE LICENSE IN x")),
            package(Kind::Npm, "c", "3.0.0", Some("ISC")),
            package(Kind::Npm, "c", "3.0.0", Some("ISC")),
        ];
        let bill = bill(&packages);
        let (cyclonedx, spdx) = (cyclonedx(&bill), spdx(&bill));
        let purls = |value: &serde_json::Value, list: &str, purl: fn(&serde_json::Value) -> Option<&str>| {
            let list = value[list].as_array().unwrap().iter();
            list.filter_map(purl).map(str::to_owned).collect::<Vec<_>>()
        };
        let one = purls(&cyclonedx, "components", |part| part["purl"].as_str());
        let mut other = purls(&spdx, "packages", |part| part["externalRefs"][0]["referenceLocator"].as_str());
        assert_eq!(other.remove(0), bill.purl(), "the first is the image itself");
        assert_eq!(one, other);
        for expected in
            ["pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19?arch=arm64", "pkg:npm/%40scope/a@1.0.0", "pkg:npm/c@3.0.0"]
        {
            assert_eq!(one.iter().filter(|purl| *purl == expected).count(), 1, "{expected} in {one:#?}");
        }
        let part = |name: &str| {
            let of = |list: &serde_json::Value| list.as_array().unwrap().iter().find(|it| it["name"] == name).cloned();
            (of(&cyclonedx["components"]).unwrap(), of(&spdx["packages"]).unwrap())
        };
        let (one, other) = part("node");
        assert_eq!(one["hashes"][0]["content"], other["checksums"][0]["checksumValue"]);
        assert!(one["purl"].as_str().unwrap().contains("linux-arm64.tar.xz"), "{one}");
        assert_eq!((&one["licenses"][0]["license"]["id"], &other["licenseDeclared"]), (&"MIT".into(), &"MIT".into()));
        let (one, other) = part("@scope/a");
        assert_eq!(one["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(other["licenseDeclared"], "MIT OR Apache-2.0");
        let (one, other) = part("b");
        assert_eq!(one["licenses"][0]["license"]["name"], "SEE LICENSE IN x");
        assert_eq!(other["licenseDeclared"], "NOASSERTION");
        // Only needed for the build.
        assert!(!cyclonedx.to_string().contains("pnpm"));
    }
}
