//! The parsers of `upstream/github/archive.rs`.

#[path = "../../src/upstream/github/archive/entries.rs"]
mod entries;
#[path = "../../src/upstream/github/archive/reading.rs"]
mod reading;

use std::io::Cursor;

use entries::Entries;
use flate2::read::MultiGzDecoder;
use reading::Kind;

/// Returns the names in an archive; `None` if it must not be unpacked.
pub(crate) fn names(data: &[u8]) -> Option<Vec<String>> {
    let mut entries = Entries::new(data.len() as u64);
    match Kind::of_start(data)? {
        Kind::Zip => reading::zip(Cursor::new(data), &mut entries).ok()?,
        Kind::Gzip => reading::tar(MultiGzDecoder::new(data), &mut entries).ok()?,
        Kind::Tar => reading::tar(data, &mut entries).ok()?,
        // Decompressed by the program `xz`.
        Kind::Xz => return None,
    }
    Some(entries.into_names())
}
