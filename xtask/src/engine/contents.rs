//! The packages in an image, read from its layers.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context as _, ensure};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use serde::Deserialize;
use serde_json::Value;

use super::layout;
use crate::domain::sbom::{Kind, Package};

/// The largest package description, in bytes.
const LARGEST: u64 = 1 << 20;

/// The Debian and npm packages in the image of a layout. Fails if there are none of a kind: then its layers were not
/// understood.
pub(crate) fn packages(folder: &Path) -> anyhow::Result<Vec<Package>> {
    let mut packages = BTreeSet::new();
    for (_, blob) in layout::parts(folder)?.layers {
        read_layer(&blob, &mut packages).with_context(|| format!("cannot read the layer {}", blob.display()))?;
    }
    let is_debian = |package: &Package| matches!(package.kind, Kind::Debian(_));
    for (kind, wanted) in [("Debian", true), ("npm", false)] {
        let found = packages.iter().any(|package| is_debian(package) == wanted);
        ensure!(found, "there is no {kind} package in the image's layers");
    }
    Ok(packages.into_iter().collect())
}

fn read_layer(blob: &Path, packages: &mut BTreeSet<Package>) -> anyhow::Result<()> {
    for entry in archive(blob)?.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        let is_status = path == "var/lib/dpkg/status";
        let is_debian = is_status || path.starts_with("var/lib/dpkg/status.d/");
        if !is_debian && !is_package(&path) {
            continue;
        }
        // The list of all Debian packages is larger.
        let limit = if is_status { LARGEST * 64 } else { LARGEST };
        ensure!(entry.size() <= limit, "{} has more than {limit} bytes", path.escape_debug());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        if is_debian { packages.extend(debian(&text)) } else { packages.extend(npm(&text)) }
    }
    Ok(())
}

/// Opens a layer, whose first bytes show its compression.
pub(super) fn archive(blob: &Path) -> anyhow::Result<tar::Archive<Box<dyn Read>>> {
    let mut blob = BufReader::new(fs_err::File::open(blob)?);
    Ok(tar::Archive::new(match blob.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Frames(Some(Box::new(StreamingDecoder::new(blob)?)))),
        _ => Box::new(blob),
    }))
}

/// Reads all frames of a zstd file, by the decoder of the current one; `None` at the end.
struct Frames(Option<Box<StreamingDecoder<BufReader<fs_err::File>, FrameDecoder>>>);

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(mut frame) = self.0.take() {
            let read = frame.read(buffer)?;
            if read > 0 {
                self.0 = Some(frame);
                return Ok(read);
            }
            let mut rest = frame.into_inner();
            if !rest.fill_buf()?.is_empty() {
                self.0 = Some(Box::new(StreamingDecoder::new(rest).map_err(std::io::Error::other)?));
            }
        }
        Ok(0)
    }
}

/// Whether a path is that of an installed package's package.json, of npm or pnpm.
fn is_package(path: &str) -> bool {
    let Some((_, name)) = path.strip_suffix("/package.json").and_then(|path| path.rsplit_once("node_modules/")) else {
        return false;
    };
    name.split('/').count() == if name.starts_with('@') { 2 } else { 1 }
}

#[derive(Deserialize)]
struct Description {
    name: String,
    version: String,
    #[serde(default)]
    license: Value,
    /// The field before npm 2.
    #[serde(default)]
    licenses: Vec<Value>,
}

fn npm(text: &str) -> Option<Package> {
    let Description { name, version, license, licenses } = serde_json::from_str(text).ok()?;
    let license = if license.is_null() { licenses.into_iter().next().unwrap_or_default() } else { license };
    let license = license.as_str().or(license["type"].as_str()).map(str::to_owned);
    Some(Package { kind: Kind::Npm, name, version, license })
}

/// The installed packages in a dpkg status file.
fn debian(text: &str) -> Vec<Package> {
    let package = |paragraph: &str| {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_owned())
        };
        if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let kind = Kind::Debian(field("Architecture")?);
        Some(Package { kind, name: field("Package")?, version: field("Version")?, license: None })
    };
    text.split("\n\n").filter_map(package).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_recognized_by_their_path() {
        for (path, expected) in [
            ("opt/a/node_modules/b/package.json", true),
            ("opt/a/node_modules/@s/b/package.json", true),
            ("opt/m/node_modules/.pnpm/b@1/node_modules/@s/b/package.json", true),
            ("opt/a/node_modules/b/dist/package.json", false),
            ("opt/a/node_modules/@s/package.json", false),
            ("opt/a/package.json", false),
        ] {
            assert_eq!(is_package(path), expected, "{path}");
        }
    }

    #[test]
    fn old_and_new_descriptions_are_read() {
        let license = |text: &str| npm(&format!(r#"{{"name":"a","version":"1",{text}}}"#)).unwrap().license;
        assert_eq!(license(r#""license":"MIT""#).as_deref(), Some("MIT"));
        assert_eq!(license(r#""license":{"type":"ISC"}"#).as_deref(), Some("ISC"));
        assert_eq!(license(r#""licenses":[{"type":"BSD"}]"#).as_deref(), Some("BSD"));
        assert_eq!(license(r#""x":1"#), None);
        assert_eq!(npm(r#"{"type":"module"}"#), None);
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2\nDepends: b\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
        let kind = Kind::Debian("amd64".to_owned());
        let package = Package { kind, name: "a".to_owned(), version: "1:2".to_owned(), license: None };
        assert_eq!(debian(status), [package]);
    }

    #[test]
    fn layers_of_every_compression_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let description = br#"{"name":"a","version":"1"}"#;
        let mut header = tar::Header::new_gnu();
        header.set_size(description.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, "node_modules/a/package.json", &description[..]).unwrap();
        let plain = builder.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &plain).unwrap();
        let frame = |part: &[u8]| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
        let two_frames = [frame(&plain[..700]), frame(&plain[700..])].concat();
        for (name, bytes) in [("plain", plain), ("gzip", gzip.finish().unwrap()), ("zstd", two_frames)] {
            let blob = folder.path().join(name);
            fs_err::write(&blob, bytes).unwrap();
            let mut packages = BTreeSet::new();
            read_layer(&blob, &mut packages).unwrap();
            assert_eq!(packages.len(), 1, "{name}");
        }
    }
}
