//! Parsers of untrusted bytes, each with its invariants. The tool's source files are included by path, because the tool
//! is a binary without a library.

#![expect(dead_code, unused_imports, reason = "no target uses all of it")]

mod archive;
#[path = "../../src/domain/mod.rs"]
mod domain;
mod listing;

use domain::image_tag::ImageTagTemplate;
use domain::lock::Lock;
use domain::range::Range;
use domain::stack::Stack;
use domain::version::Scheme;

const SCHEMES: [Scheme; 8] = [
    Scheme::Semver,
    Scheme::Dotted,
    Scheme::Calver,
    Scheme::Build,
    Scheme::Precompiled,
    Scheme::Commit,
    Scheme::Snapshot,
    Scheme::Tag,
];

/// A version parses back to itself, and it and its tag are safe in paths, URLs and commands.
pub fn versions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let range = Range::parse(text);
    for scheme in SCHEMES {
        let Ok(version) = scheme.parse(text) else { continue };
        let again = scheme.parse(version.as_str()).expect("a version reads back");
        assert_eq!(again, version);
        assert!(version.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
        if let Some(range) = &range {
            range.contains(&version);
        }
    }
}

/// The parts of an image's tag compose the same tag, also with any other template.
pub fn tags(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, tag) = text.split_once('\n').unwrap_or(("", text));
    let ours = "v{date}-{flavor}-r{revision}-llamacpp-opencode-{opencode}-manager-{manager}";
    for template in [ours, template] {
        let Ok(template) = ImageTagTemplate::parse(template) else { continue };
        if let Ok(parts) = template.parse_tag(tag) {
            assert_eq!(template.compose(&parts).expect("what was read composes").as_str(), tag);
        }
    }
}

/// A parsed lock can be written, and parses back the same.
pub fn locks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(lock) = Lock::parse(text) {
        let written = lock.to_text().expect("a lock that was read can be written");
        assert_eq!(Lock::parse(&written).expect("what was written can be read"), lock);
        lock.epoch();
    }
    let _ = Stack::parse(text);
}

/// A valid archive has no entry outside of its folder.
pub fn archives(data: &[u8]) {
    for name in archive::names(data).unwrap_or_default() {
        let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
        assert!(!leaves, "{name:?}");
    }
}

/// Listings parse without a panic.
pub fn listings(data: &[u8]) {
    use listing::release::Release;
    for release in serde_json::from_slice::<Vec<Release>>(data).unwrap_or_default() {
        release.date();
        release.repository();
        release.missing(["a.zip".to_owned()]);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        listing::apt(text);
    }
}
