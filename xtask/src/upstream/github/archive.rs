//! Checks that an archive contains the expected file and is safe to unpack. It is read completely, including checksums,
//! without writing its files.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::read::MultiGzDecoder;

use crate::io::process;

mod entries;
mod reading;

use entries::{Entries, EntryError};
use reading::{Kind, ReadError};

/// How many of the archive's names an error lists.
const LISTED: usize = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("`{name}` is not a valid archive")]
    Broken { name: String, source: ReadError },
    #[error("`{name}` must not be unpacked")]
    Harmful { name: String, source: EntryError },
    #[error("`{name}` does not contain `{contains}`, but {}", say_names(.holds))]
    Missing { name: String, contains: String, holds: Vec<String> },
}

fn say_names(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let listed = names.iter().take(LISTED).map(|name| format!("`{}`", name.escape_debug()));
    let more = if names.len() > LISTED { format!(" and {} more", names.len() - LISTED) } else { String::new() };
    listed.collect::<Vec<_>>().join(", ") + &more
}

/// Checks that the archive at `path`, whose upstream name is `name`, has the path `contains`, below its top folder if it
/// has one. A file that is not an archive by its name contains itself only.
pub(super) async fn check(path: &Path, name: &str, contains: &str) -> anyhow::Result<()> {
    let names = match Kind::of_name(name) {
        None => vec![name.to_owned()],
        Some(kind) => read(path, kind).await.map_err(|error| match error.downcast() {
            Ok(ReadError::Entry(source)) => ArchiveError::Harmful { name: name.to_owned(), source }.into(),
            Ok(source) => ArchiveError::Broken { name: name.to_owned(), source }.into(),
            Err(other) => other,
        })?,
    };
    if names.iter().any(|held| is_wanted(held, contains)) {
        return Ok(());
    }
    Err(ArchiveError::Missing { name: name.to_owned(), contains: contains.to_owned(), holds: names }.into())
}

/// The names in an archive; a [`ReadError`] if it is damaged or must not be unpacked.
async fn read(path: &Path, kind: Kind) -> anyhow::Result<Vec<String>> {
    let packed = fs_err::metadata(path)?.len();
    check_start(path, kind)?;
    let (path, kind) = match kind {
        Kind::Xz => (unpacked_xz(path, packed).await?, Kind::Tar),
        kind => (path.to_owned(), kind),
    };
    // Archives can have hundreds of megabytes.
    let names = tokio::task::spawn_blocking(move || list(&path, kind, packed)).await;
    Ok(names.context("the archive's reader panicked")??)
}

fn list(path: &Path, kind: Kind, packed: u64) -> Result<Vec<String>, ReadError> {
    let file = BufReader::new(File::open(path)?);
    let mut entries = Entries::new(packed);
    match kind {
        Kind::Zip => reading::zip(file, &mut entries)?,
        Kind::Gzip => reading::tar(MultiGzDecoder::new(file), &mut entries)?,
        Kind::Tar | Kind::Xz => reading::tar(file, &mut entries)?,
    }
    Ok(entries.into_names())
}

fn check_start(path: &Path, expected: Kind) -> Result<(), ReadError> {
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    let found = match Kind::of_start(&start) {
        Some(found) if found == expected => return Ok(()),
        Some(found) => found.to_string(),
        None if start.is_empty() => "nothing".to_owned(),
        None => format!("`{}`", start[..start.len().min(12)].escape_ascii()),
    };
    Err(ReadError::Magic { expected, found })
}

/// Unpacks the tar archive next to the packed one, after checking its size.
async fn unpacked_xz(path: &Path, packed: u64) -> anyhow::Result<PathBuf> {
    let damaged = |error: anyhow::Error| {
        if process::is_missing(&error) { error } else { ReadError::Io(io::Error::other(format!("{error:#}"))).into() }
    };
    let named = path.with_extension("tar.xz");
    fs_err::rename(path, &named)?;
    let listed = process::text(process::command("xz").args(["--robot", "--list", "--"]).arg(&named)).await;
    let listed = listed.map_err(damaged)?;
    let total = listed.lines().find_map(|line| line.strip_prefix("totals\t")?.split('\t').nth(3)?.parse().ok());
    Entries::new(packed).grow(total.unwrap_or(u64::MAX)).map_err(ReadError::from)?;
    process::run(process::command("xz").args(["--decompress", "--"]).arg(&named)).await.map_err(damaged)?;
    Ok(named.with_extension(""))
}

fn is_wanted(held: &str, contains: &str) -> bool {
    let held = held.strip_prefix("./").unwrap_or(held);
    held == contains || held.split_once('/').is_some_and(|(_, below)| below == contains)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Valid archives of each kind.
    fn archives() -> [(Kind, Vec<u8>); 3] {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let mut tar = tar::Builder::new(Vec::new());
        for name in ["top/bin/tool", "top/LICENSE"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(&[7; 700]).unwrap();
            let mut header = tar::Header::new_gnu();
            header.set_size(700);
            header.set_cksum();
            tar.append_data(&mut header, name, &[7; 700][..]).unwrap();
        }
        let tar = tar.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar).unwrap();
        [(Kind::Zip, zip.finish().unwrap().into_inner()), (Kind::Tar, tar), (Kind::Gzip, gzip.finish().unwrap())]
    }

    fn listed(kind: Kind, bytes: &[u8]) -> Result<Vec<String>, ReadError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        check_start(file.path(), kind)?;
        list(file.path(), kind, bytes.len() as u64)
    }

    #[test]
    fn a_valid_archive_is_read() {
        for (kind, bytes) in archives() {
            assert_eq!(listed(kind, &bytes).unwrap(), ["top/bin/tool", "top/LICENSE"], "{kind}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        /// Damaged archives are read or refused, without a panic or more names than there are.
        #[test]
        fn a_damaged_archive_is_read_or_refused(
            which in 0..3_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in prop::option::of(any::<prop::sample::Index>()),
            pasted in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let (kind, mut bytes) = archives()[which].clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                let at = cut.index(bytes.len());
                bytes.truncate(at);
                bytes.extend(pasted);
            }
            if let Ok(names) = listed(kind, &bytes) {
                prop_assert!(names.len() <= 2, "{names:?}");
            }
        }
    }

    #[test]
    fn a_file_is_found_at_the_top_and_below_the_top_folder() {
        for held in ["bin/node", "./bin/node", "node-v24.21.0-linux-x64/bin/node"] {
            assert!(is_wanted(held, "bin/node"), "{held}");
        }
        for held in ["bin/node/", "a/b/bin/node", "bin/node2", "node", "xbin/node"] {
            assert!(!is_wanted(held, "bin/node"), "{held}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..7).map(|number| number.to_string()).collect();
        assert_eq!(say_names(&names), "`0`, `1`, `2`, `3`, `4` and 2 more");
        assert_eq!(say_names(&[]), "nothing");
    }
}
