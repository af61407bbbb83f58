//! Reads zip and tar archives, entry by entry.

use std::io::{self, BufReader, Read, Seek};

use tar::EntryType;
use zip::{ZipArchive, ZipReadOptions};

use super::entries::{Entries, EntryError, What};

/// The longest path of a link's target, in bytes.
const LONGEST_TARGET: u64 = 4096;

/// What is wrong with the format of an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("its name is that of {expected}, but it starts like {found}")]
    Magic { expected: Kind, found: String },
    #[error("it is truncated or damaged")]
    Io(#[from] io::Error),
    #[error("it is truncated or damaged")]
    Zip(#[from] zip::result::ZipError),
    #[error("two of its entries have one name, or share their bytes")]
    Overlapping,
    #[error(transparent)]
    Entry(#[from] EntryError),
}

/// The formats of upstreams' archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Zip,
    Gzip,
    Xz,
    Tar,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zip => "a zip archive",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Tar => "a tar archive",
        })
    }
}

impl Kind {
    /// The format by the file name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let endings = [
            (".zip", Self::Zip),
            (".tar.gz", Self::Gzip),
            (".tgz", Self::Gzip),
            (".tar.xz", Self::Xz),
            (".txz", Self::Xz),
            (".tar", Self::Tar),
        ];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| kind)
    }

    pub(super) fn of_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if start.starts_with(b"\x1f\x8b") {
            Some(Self::Gzip)
        } else if start.starts_with(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if start.get(257..262) == Some(b"ustar") {
            Some(Self::Tar)
        } else {
            None
        }
    }
}

pub(super) fn zip<R: Read + Seek>(file: R, entries: &mut Entries) -> Result<(), ReadError> {
    let mut archive = ZipArchive::new(file)?;
    if archive.has_duplicate_names() || archive.has_overlapping_entries()? {
        return Err(ReadError::Overlapping);
    }
    for index in 0..archive.len() {
        let raw = archive.by_index_raw(index)?;
        let name = String::from_utf8_lossy(raw.name_raw()).into_owned();
        if raw.encrypted() {
            return Err(EntryError::Encrypted(name).into());
        }
        drop(raw);
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let mut file = archive.by_index_with_options(index, options)?;
        let what = if file.is_symlink() {
            let mut target = String::new();
            (&mut file).take(LONGEST_TARGET).read_to_string(&mut target)?;
            What::Symlink(target)
        } else if file.is_dir() {
            What::Folder
        } else {
            What::File
        };
        entries.add(&name, &what)?;
        through(&mut file, entries)?;
    }
    Ok(())
}

pub(super) fn tar<R: Read>(file: R, entries: &mut Entries) -> Result<(), ReadError> {
    // The tar reader skips contents, so count the decompressed bytes.
    let limit = entries.limit;
    let mut counted = BufReader::new(file.take(limit + 1));
    let result = tar_entries(&mut counted, entries);
    // The rest has the last checksum.
    let result = result.and_then(|()| io::copy(&mut counted, &mut io::sink()).map(drop).map_err(ReadError::from));
    if counted.get_ref().limit() == 0 {
        return Err(EntryError::Bomb(limit).into());
    }
    result
}

fn tar_entries(file: impl Read, entries: &mut Entries) -> Result<(), ReadError> {
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries()? {
        let entry = entry?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = entry.link_name_bytes().map(|target| text(&target)).unwrap_or_default();
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => What::File,
            EntryType::Directory => What::Folder,
            EntryType::Symlink => What::Symlink(target),
            EntryType::Link => What::Hardlink(target),
            // A global header, such as a comment.
            EntryType::XGlobalHeader => continue,
            _ => What::Special,
        };
        entries.add(&text(&entry.path_bytes()), &what)?;
    }
    Ok(())
}

/// Reads an entry completely, which verifies its checksum.
fn through(file: &mut impl Read, entries: &mut Entries) -> Result<(), ReadError> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            count => entries.grow(count as u64)?,
        }
    }
}
