//! Reads zip and tar archives through, entry by entry.

use std::io::{self, BufReader, Read, Seek};

use tar::EntryType;
use zip::{ZipArchive, ZipReadOptions};

use super::ReadError;
use super::entries::{Entries, EntryError, What};

/// A link's target is a path.
const LONGEST_TARGET: u64 = 4096;

pub(super) fn zip<R: Read + Seek>(file: R, entries: &mut Entries) -> Result<(), ReadError> {
    let mut archive = ZipArchive::new(file).map_err(ReadError::Zip)?;
    if archive.has_duplicate_names() || archive.has_overlapping_entries().map_err(ReadError::Zip)? {
        return Err(ReadError::Overlapping);
    }
    for index in 0..archive.len() {
        let raw = archive.by_index_raw(index).map_err(ReadError::Zip)?;
        let name = String::from_utf8_lossy(raw.name_raw()).into_owned();
        if raw.encrypted() {
            return Err(EntryError::Encrypted(name).into());
        }
        drop(raw);
        let options = ZipReadOptions::new().enforce_header_consistency(true);
        let mut file = archive.by_index_with_options(index, options).map_err(ReadError::Zip)?;
        let what = if file.is_symlink() {
            let mut target = String::new();
            (&mut file).take(LONGEST_TARGET).read_to_string(&mut target).map_err(ReadError::Io)?;
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
    // The reader of tar skips contents by itself; what comes out of the decompression is what counts.
    let limit = entries.limit();
    let mut counted = BufReader::new(file.take(limit + 1));
    let result = tar_entries(&mut counted, entries);
    // The rest holds the last checksum.
    let result = result.and_then(|()| io::copy(&mut counted, &mut io::sink()).map(|_| ()).map_err(ReadError::Io));
    if counted.get_ref().limit() == 0 {
        return Err(EntryError::Bomb(limit).into());
    }
    result
}

fn tar_entries(file: impl Read, entries: &mut Entries) -> Result<(), ReadError> {
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().map_err(ReadError::Io)? {
        let entry = entry.map_err(ReadError::Io)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = entry.link_name_bytes().map(|target| text(&target)).unwrap_or_default();
        let what = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => What::File,
            EntryType::Directory => What::Folder,
            EntryType::Symlink => What::Symlink(target),
            EntryType::Link => What::Hardlink(target),
            // A comment for all that follows.
            EntryType::XGlobalHeader => continue,
            _ => What::Special,
        };
        entries.add(&text(&entry.path_bytes()), &what)?;
    }
    Ok(())
}

/// Unpacks an entry to nowhere, to its checksum.
fn through(file: &mut impl Read, entries: &mut Entries) -> Result<(), ReadError> {
    let mut chunk = vec![0; 64 << 10];
    loop {
        match file.read(&mut chunk).map_err(ReadError::Io)? {
            0 => return Ok(()),
            count => entries.grow(count as u64)?,
        }
    }
}
