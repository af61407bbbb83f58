//! A cache of downloads that runs share: bodies by digest, replies by request. What is missing, damaged or cannot be
//! written is downloaded again.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::domain::digest::Sha256;

/// Entries are deleted after this time without use.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const FOLDERS: [&str; 3] = ["replies", "bodies", "partial"];
/// Headers that are not stored.
const NOT_KEPT: [&str; 5] = ["set-cookie", "content-encoding", "content-length", "transfer-encoding", "connection"];

/// The folder of the cache.
#[derive(Debug, Clone)]
pub(crate) struct Store(PathBuf);

/// A stored reply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The final address: its `ETag` is valid there only.
    pub(crate) from: String,
    headers: Vec<(String, String)>,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

impl Entry {
    pub(crate) fn new(from: &str, headers: &HeaderMap, sha256: Sha256, size: u64) -> Self {
        let kept = |(name, value): (&HeaderName, &HeaderValue)| {
            let is_kept = !NOT_KEPT.contains(&name.as_str()) && !name.as_str().starts_with("x-ratelimit");
            Some((name.to_string(), value.to_str().ok()?.to_owned())).filter(|_| is_kept)
        };
        Self { from: from.to_owned(), headers: headers.iter().filter_map(kept).collect(), sha256, size }
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let header = |(name, value): &(String, String)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
        self.headers.iter().filter_map(header).collect()
    }
}

impl Store {
    /// Opens `$XDG_CACHE_HOME/mission-control-xtask`, or the same below `~/.cache`; `None` if it cannot be created.
    pub(crate) fn open() -> Option<Self> {
        let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = set.or_else(|| Some(std::env::home_dir().filter(|home| home.is_absolute())?.join(".cache")))?;
        Self::at(&caches.join("mission-control-xtask"))
    }

    fn at(folder: &Path) -> Option<Self> {
        for below in FOLDERS {
            fs_err::create_dir_all(folder.join(below)).ok()?;
        }
        // Replies to authenticated requests are private.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs_err::set_permissions(folder, private).ok()?;
        Some(Self(folder.to_owned()))
    }

    /// The key of a request. Replies may depend on the login.
    pub(crate) fn key(url: &str, headers: &HeaderMap) -> String {
        let mut hasher = sha2::Sha256::new();
        hasher.update(url);
        for name in [reqwest::header::ACCEPT, AUTHORIZATION] {
            hasher.update("\n");
            hasher.update(headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default());
        }
        Sha256::from_bytes(&hasher.finalize()).to_string()
    }

    pub(crate) fn find(&self, key: &str) -> Option<Entry> {
        let path = self.0.join("replies").join(key);
        let entry = serde_json::from_slice(&fs_err::read(&path).ok()?).ok()?;
        touch(&path);
        Some(entry)
    }

    /// The body of a digest, if it is here and undamaged.
    pub(crate) fn body(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        let path = self.path(sha256);
        let bytes = fs_err::read(&path).ok()?;
        (Sha256::of(&bytes) == *sha256).then(|| touch(&path))?;
        Some(bytes)
    }

    /// The file of a digest, if it is here and undamaged.
    pub(crate) fn file(&self, sha256: &Sha256) -> Option<PathBuf> {
        let path = self.path(sha256);
        is_undamaged(&path, sha256.as_str()).then(|| touch(&path))?;
        Some(path)
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        self.0.join("bodies").join(sha256.as_str())
    }

    /// Stores a reply, which came from the address `from`.
    pub(crate) fn keep(&self, key: &str, from: &str, headers: &HeaderMap, body: &[u8]) {
        let entry = Entry::new(from, headers, Sha256::of(body), body.len() as u64);
        // An error, such as a full disk, only means that the next run downloads it again.
        let _ = self.write(&self.path(&entry.sha256), body).and_then(|()| self.note(key, &entry));
    }

    fn note(&self, key: &str, entry: &Entry) -> std::io::Result<()> {
        self.write(&self.0.join("replies").join(key), &serde_json::to_vec(entry)?)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(self.0.join("partial"))?;
        std::io::Write::write_all(&mut temporary, bytes)?;
        temporary.persist(path).map(drop).map_err(|error| error.error)
    }

    /// The partial download of a key, locked for this run; `None` while another run has it.
    pub(crate) fn partial(&self, key: &str) -> Option<Partial> {
        let path = self.0.join("partial").join(key);
        let file = fs_err::OpenOptions::new().create(true).read(true).append(true).open(&path).ok()?.into_parts().0;
        file.try_lock().ok()?;
        Some(Partial { file, path })
    }

    /// Moves a finished download to its digest.
    pub(crate) fn adopt(&self, key: &str, partial: &Partial, entry: &Entry) -> std::io::Result<PathBuf> {
        let path = self.path(&entry.sha256);
        fs_err::rename(&partial.path, &path)?;
        let _ = fs_err::remove_file(partial.tag());
        // An error only means that the next run downloads it again.
        let _ = self.note(key, entry);
        Ok(path)
    }

    pub(crate) fn forget(&self, key: &str) {
        let _ = fs_err::remove_file(self.0.join("replies").join(key));
    }

    /// Deletes what is unused for a month.
    pub(crate) fn prune(&self) {
        let old = SystemTime::now().checked_sub(UNUSED);
        let folders = FOLDERS.iter().flat_map(|below| fs_err::read_dir(self.0.join(below)));
        for file in folders.flatten().flatten() {
            if file.metadata().and_then(|data| data.modified()).is_ok_and(|at| Some(at) < old) {
                let _ = fs_err::remove_file(file.path());
            }
        }
    }
}

/// A download that can be resumed.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: std::fs::File,
    pub(crate) path: PathBuf,
}

impl Partial {
    /// The file with its strong `ETag`, if it has one.
    pub(crate) fn tag(&self) -> PathBuf {
        self.path.with_extension("etag")
    }
}

/// Whether a file is there and has this SHA-256, in hexadecimal.
pub(crate) fn is_undamaged(path: &Path, sha256: &str) -> bool {
    hashed(path).is_ok_and(|(hasher, _)| Sha256::from_bytes(&hasher.finalize()).as_str() == sha256)
}

/// The hasher and the size of a file, in bytes.
pub(crate) fn hashed(path: &Path) -> std::io::Result<(sha2::Sha256, u64)> {
    hash_all(&mut fs_err::File::open(path)?)
}

/// The hasher and the size of the rest of a reader, in bytes.
pub(crate) fn hash_all(source: &mut impl Read) -> std::io::Result<(sha2::Sha256, u64)> {
    let mut hasher = sha2::Sha256::new();
    let size = std::io::copy(source, &mut hasher)?;
    Ok((hasher, size))
}

/// Marks a file as used.
fn touch(path: &Path) {
    let now = std::fs::FileTimes::new().set_modified(SystemTime::now());
    // An error only shortens how long it is kept.
    let _ = fs_err::File::open(path).and_then(|file| file.set_times(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_not_returned_and_old_ones_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path()).unwrap();
        let body = b"a reply";
        let sha256 = Sha256::of(body);
        let mut headers = HeaderMap::new();
        headers.insert("etag", "\"1\"".parse().unwrap());
        headers.insert("set-cookie", "secret".parse().unwrap());
        let key = Store::key("http://x/", &headers);
        store.keep(&key, "http://x/", &headers, body);
        let found = store.find(&key).unwrap();
        assert_eq!((found.headers().len(), store.body(&found.sha256).unwrap().as_slice()), (1, body.as_slice()));
        assert_eq!(store.file(&sha256).unwrap(), store.path(&sha256));
        // Another login has its own reply.
        headers.insert(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_ne!(Store::key("http://x/", &headers), key);

        fs_err::write(store.path(&sha256), "b reply").unwrap();
        assert_eq!((store.body(&sha256), store.file(&sha256)), (None, None));
        store.prune();
        assert!(store.find(&key).is_some());
        let old = SystemTime::now() - UNUSED - Duration::from_secs(60);
        let times = std::fs::FileTimes::new().set_modified(old);
        fs_err::File::open(folder.path().join("replies").join(&key)).unwrap().set_times(times).unwrap();
        store.prune();
        assert!(store.find(&key).is_none());
    }
}
