//! The entries of an archive: none may be outside of the target folder, replace another one, or be too large.

use std::collections::BTreeMap;

/// The largest unpacked size, as a multiple of the packed one. Programs and pages stay below a tenth of it.
const MOST_GROWTH: u64 = 200;
/// Lower and upper bounds of that size, in bytes.
const SMALL: u64 = 64 << 20;
const LARGEST: u64 = 16 << 30;
const MOST_ENTRIES: usize = 200_000;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("its entry `{}` would be written outside of its folder", .0.escape_debug())]
    Escapes(String),
    #[error("its link `{}` points to `{}`, outside of its folder", .name.escape_debug(), .target.escape_debug())]
    LinkOut { name: String, target: String },
    #[error("its entry `{}` would be written through a link", .0.escape_debug())]
    ThroughLink(String),
    #[error("it contains `{}` twice", .0.escape_debug())]
    Twice(String),
    #[error("its entry `{}` is neither a file, a folder nor a link", .0.escape_debug())]
    Special(String),
    #[error("its entry `{}` is encrypted", .0.escape_debug())]
    Encrypted(String),
    #[error("it would unpack to more than {0} bytes, which is too much for its size")]
    Bomb(u64),
    #[error("it has more than {MOST_ENTRIES} entries")]
    TooMany,
}

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    File,
    /// Relative to the folder of the link.
    Symlink(String),
    /// Relative to the top.
    Hardlink(String),
    Special,
}

#[derive(Debug)]
pub(super) struct Entries {
    pub(super) limit: u64,
    unpacked: u64,
    names: Vec<String>,
    kinds: BTreeMap<Vec<String>, What>,
}

impl Entries {
    pub(super) fn new(packed: u64) -> Self {
        let limit = packed.saturating_mul(MOST_GROWTH).clamp(SMALL, LARGEST);
        Self { limit, unpacked: 0, names: Vec::new(), kinds: BTreeMap::new() }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }

    /// Counts what was unpacked.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), EntryError> {
        self.unpacked = self.unpacked.saturating_add(bytes);
        if self.unpacked > self.limit { Err(EntryError::Bomb(self.limit)) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, name: &str, what: &What) -> Result<(), EntryError> {
        if self.names.len() >= MOST_ENTRIES {
            return Err(EntryError::TooMany);
        }
        let escapes = || EntryError::Escapes(name.to_owned());
        let path = below(&[], name).ok_or_else(escapes)?;
        for length in 1..path.len() {
            if matches!(self.kinds.get(&path[..length]), Some(What::Symlink(_))) {
                return Err(EntryError::ThroughLink(name.to_owned()));
            }
        }
        let out = |target: &String| EntryError::LinkOut { name: name.to_owned(), target: target.clone() };
        match what {
            What::Special => return Err(EntryError::Special(name.to_owned())),
            What::Symlink(target) => {
                let folder = path.split_last().map_or(&[][..], |(_, folder)| folder);
                below(folder, target).ok_or_else(|| out(target))?;
            }
            What::Hardlink(target) => {
                below(&[], target).ok_or_else(|| out(target))?;
            }
            What::Folder | What::File => {}
        }
        if path.is_empty() && *what != What::Folder {
            return Err(escapes());
        }
        // Folders may be listed again; anything else would replace another entry.
        let again = self.kinds.insert(path, what.clone()).is_some_and(|known| known != *what || *what != What::Folder);
        if again {
            return Err(EntryError::Twice(name.to_owned()));
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// Resolves a relative path from a folder; `None` if it leaves the top.
fn below(folder: &[String], path: &str) -> Option<Vec<String>> {
    if path.is_empty() || path.starts_with('/') || path.contains(['\\', '\0']) {
        return None;
    }
    let mut led = folder.to_vec();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                led.pop()?;
            }
            part => led.push(part.to_owned()),
        }
    }
    Some(led)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(entries: &[(&str, What)]) -> Result<(), EntryError> {
        let mut all = Entries::new(1);
        entries.iter().try_for_each(|(name, what)| all.add(name, what))
    }

    fn symlink(target: &str) -> What {
        What::Symlink(target.to_owned())
    }

    #[test]
    fn entries_of_real_archives_are_accepted() {
        let real = [
            ("./", What::Folder),
            ("./node/", What::Folder),
            ("./node/", What::Folder),
            ("./node/bin/node", What::File),
            ("./node/bin/npm", symlink("../lib/node_modules/npm/bin/npm-cli.js")),
            ("./node/lib/libllama.so", symlink("libllama.so.0")),
            ("./node/again", What::Hardlink("./node/bin/node".to_owned())),
        ];
        assert_eq!(add(&real), Ok(()));
    }

    #[test]
    fn entries_outside_of_the_folder_and_duplicates_are_refused() {
        for name in ["/etc/passwd", "../x", "a/../../x", "..", "a\\..\\..\\x", "a\0b", ""] {
            assert_eq!(add(&[(name, What::File)]), Err(EntryError::Escapes(name.to_owned())), "{name}");
        }
        for (name, target) in [("a", "/etc"), ("a", ".."), ("a/b", "../../x"), ("a", "")] {
            assert!(matches!(add(&[(name, symlink(target))]), Err(EntryError::LinkOut { .. })), "{name} {target}");
        }
        assert!(matches!(add(&[("a/b/c", What::Hardlink("../x".into()))]), Err(EntryError::LinkOut { .. })));
        assert_eq!(add(&[("a", symlink("b")), ("a/c", What::File)]), Err(EntryError::ThroughLink("a/c".into())));
        for (one, two) in [(What::File, What::File), (What::File, What::Folder), (symlink("b"), What::File)] {
            assert_eq!(add(&[("a", one), ("./a", two)]), Err(EntryError::Twice("./a".into())));
        }
        assert_eq!(add(&[("a", What::Special)]), Err(EntryError::Special("a".into())));
    }

    #[test]
    fn the_unpacked_size_is_limited() {
        assert_eq!(Entries::new(1).grow(SMALL), Ok(()));
        assert_eq!(Entries::new(1).grow(SMALL + 1), Err(EntryError::Bomb(SMALL)));
        assert_eq!(Entries::new(1 << 20).grow(MOST_GROWTH << 20), Ok(()));
        assert!(Entries::new(u64::MAX).grow(LARGEST + 1).is_err());
    }

    proptest! {
        /// All accepted names are below the top.
        #[test]
        fn accepted_names_stay_in_the_folder(names in prop::collection::vec("[./a\\\\]{0,9}", 1..5)) {
            let mut all = Entries::new(1);
            for name in names {
                if all.add(&name, &What::File).is_ok() {
                    let depth = name.split('/').try_fold(0_i32, |depth, part| match part {
                        "" | "." => Some(depth),
                        ".." => Some(depth - 1).filter(|depth| *depth >= 0),
                        _ => Some(depth + 1),
                    });
                    prop_assert!(depth.is_some_and(|depth| depth > 0) && !name.starts_with('/') && !name.contains('\\'));
                }
            }
        }
    }
}
