//! What `upstream/github/archive.rs` reads with.

#[path = "../../src/upstream/github/archive/entries.rs"]
mod entries;
#[path = "../../src/upstream/github/archive/reading.rs"]
mod reading;

use std::io::Cursor;

use entries::Entries;
use flate2::read::MultiGzDecoder;
use reading::Kind;

/// The names in an archive, where it is one that may be unpacked.
pub(crate) fn names(data: &[u8]) -> Option<Vec<String>> {
    let mut entries = Entries::new(data.len() as u64);
    match Kind::of_start(data)? {
        Kind::Zip => reading::zip(Cursor::new(data), &mut entries).ok()?,
        Kind::Gzip => reading::tar(MultiGzDecoder::new(data), &mut entries).ok()?,
        Kind::Tar => reading::tar(data, &mut entries).ok()?,
        // The program of that name reads it.
        Kind::Xz => return None,
    }
    Some(entries.into_names())
}
