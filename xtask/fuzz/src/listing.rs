//! The parsers of listings: of releases, and of apt.

#[path = "../../src/upstream/github/release.rs"]
pub(crate) mod release;
#[path = "../../src/upstream/debian/uris.rs"]
mod uris;

pub(crate) fn apt(text: &str) {
    let _ = uris::parse(text);
}
