//! Downloads: hashed while streaming, resumed after interruptions, stored for later runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use futures_util::TryStreamExt as _;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};
use sha2::Digest as _;

use super::{Http, HttpError, Reply, WHOLE_FILE, encoding, error, is_fleeting, read, retry, within};
use crate::domain::digest::Sha256;
use crate::io::progress;
use crate::io::store::{Entry, Partial, Store, hashed};

/// A finished transfer.
struct Streamed {
    sha256: Sha256,
    size: u64,
    /// The final address and the headers; `None` if the known file is unchanged.
    answer: Option<(String, HeaderMap)>,
}

impl Http {
    /// The digest and size of a file. `label` is for the progress bar.
    pub(crate) async fn hash(&self, url: &str, label: &str) -> Result<(Sha256, u64), HttpError> {
        Box::pin(self.file(url, label, None)).await
    }

    /// The same, and writes the file.
    pub(crate) async fn download(&self, url: &str, label: &str, into: &Path) -> Result<(Sha256, u64), HttpError> {
        Box::pin(self.file(url, label, Some(into))).await
    }

    /// Downloads a file of a known digest into the store, resuming an earlier download. Returns the digest and size of
    /// the server's file, and whether it was in the store already.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        label: &str,
        wanted: &Sha256,
    ) -> Result<(Sha256, u64, bool), HttpError> {
        let store = self.store.as_ref().ok_or(HttpError::NoStore)?;
        if let Some(file) = store.file(wanted) {
            let size = file.metadata().map(|data| data.len()).unwrap_or_default();
            return Ok((wanted.clone(), size, true));
        }
        if self.offline {
            return Err(HttpError::Offline { url: url.to_owned() });
        }
        let key = self.file_key(url);
        let partial = store.partial(&key).ok_or(HttpError::NoStore)?;
        let is_resumed = partial.file.metadata().is_ok_and(|data| data.len() > 0);
        let target = Target::Partial(&partial);
        let stream = || retry::run(|| within(url, WHOLE_FILE, self.stream(url, label, None, &target)));
        let mut streamed = stream().await?;
        if is_resumed && streamed.sha256 != *wanted {
            // The earlier part may be wrong.
            partial.file.set_len(0).map_err(|source| keeping(url, source))?;
            streamed = stream().await?;
        }
        let Streamed { sha256, size, answer } = streamed;
        let (from, headers) = answer.unwrap_or_default();
        let entry = Entry::new(&from, &headers, sha256.clone(), size);
        store.adopt(&key, &partial, &entry).map_err(|source| keeping(url, source))?;
        Ok((sha256, size, false))
    }

    /// The file of a digest, if the store has it.
    pub(crate) fn stored(&self, sha256: &Sha256) -> Option<PathBuf> {
        self.store.as_ref()?.file(sha256)
    }

    fn file_key(&self, url: &str) -> String {
        Store::key(&format!("file {}", self.mirrors.rewrite(url)), &HeaderMap::new())
    }

    async fn file(&self, url: &str, label: &str, into: Option<&Path>) -> Result<(Sha256, u64), HttpError> {
        let key = self.file_key(url);
        let known = self.store.as_ref().and_then(|store| {
            let entry = store.find(&key)?;
            let file = store.file(&entry.sha256)?;
            Some((entry, file))
        });
        let copied = |file: &Path| match into {
            Some(into) => fs_err::copy(file, into).map(drop).map_err(|source| keeping(url, source)),
            None => Ok(()),
        };
        if self.offline {
            let (entry, file) = known.ok_or_else(|| HttpError::Offline { url: url.to_owned() })?;
            copied(&file)?;
            return Ok((entry.sha256, entry.size));
        }
        let partial = self.store.as_ref().and_then(|store| store.partial(&key));
        if let Some(partial) = &partial {
            // Without a known digest, a partial download of an earlier run cannot be verified.
            partial.file.set_len(0).map_err(|source| keeping(url, source))?;
        }
        let target = partial.as_ref().map_or(Target::Anew(into), Target::Partial);
        let entry = known.as_ref().map(|(entry, _)| entry);
        let streamed = retry::run(|| within(url, WHOLE_FILE, self.stream(url, label, entry, &target))).await?;
        let Streamed { sha256, size, answer } = streamed;
        match (answer, partial, &self.store, known) {
            (None, _, _, Some((_, file))) => copied(&file)?,
            (Some((from, headers)), Some(partial), Some(store), _) => {
                let entry = Entry::new(&from, &headers, sha256.clone(), size);
                let file = store.adopt(&key, &partial, &entry).map_err(|source| keeping(url, source))?;
                copied(&file)?;
                if is_fleeting(&headers) {
                    store.forget(&key);
                }
            }
            _ => {}
        }
        Ok((sha256, size))
    }

    async fn stream(
        &self,
        url: &str,
        label: &str,
        known: Option<&Entry>,
        target: &Target<'_>,
    ) -> Result<Streamed, HttpError> {
        let keep = |source| keeping(url, source);
        let mut part = target.part().map_err(keep)?;
        let asked = part.as_ref().map(Part::headers).unwrap_or_default();
        let (response, from) = match self.follow(url, asked, known, true).await {
            // The server's file is not longer than our part: it is another file.
            Err(error) if part.is_some() && error.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => {
                part = None;
                self.follow(url, HeaderMap::new(), known, true).await?
            }
            answer => answer?,
        };
        if let Some(known) = known.filter(|_| response.status() == StatusCode::NOT_MODIFIED) {
            return Ok(Streamed { sha256: known.sha256.clone(), size: known.size, answer: None });
        }
        if error::is_page(response.headers()) && !label.ends_with("html") {
            let Reply { headers, body } = read(url, response).await?;
            let title = error::page(&headers, &body).unwrap_or_default();
            return Err(HttpError::Page { url: url.to_owned(), title });
        }
        // Some servers declare the encoding of an archive, whose bytes are the file all the same.
        if let Some(encoding) = encoding(response.headers()).filter(|_| !label.ends_with("gz")) {
            return Err(HttpError::Encoded { url: url.to_owned(), encoding });
        }
        let part = match (response.status(), part) {
            (StatusCode::PARTIAL_CONTENT, Some(part)) if part.goes_on_with(&response) => Some(part),
            (StatusCode::PARTIAL_CONTENT, _) => return Err(HttpError::OtherPart { url: url.to_owned() }),
            _ => None,
        };
        let mut file = target.open(part.is_some(), response.headers()).map_err(keep)?;
        let (mut hasher, mut size) = part.map(|part| (part.hasher, part.size)).unwrap_or_default();
        let bar = progress::download(label, response.content_length().map(|left| left + size));
        bar.inc(size);
        let headers = response.headers().clone();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|source| HttpError::transport(url, source))? {
            hasher.update(&chunk);
            if let Some(file) = &mut file {
                file.write_all(&chunk).map_err(keep)?;
            }
            let length = chunk.len() as u64;
            size += length;
            bar.inc(length);
        }
        Ok(Streamed { sha256: Sha256::from_bytes(&hasher.finalize()), size, answer: Some((from, headers)) })
    }
}

fn keeping(url: &str, source: std::io::Error) -> HttpError {
    HttpError::Keep { url: url.to_owned(), source }
}

/// The target of a transfer.
enum Target<'a> {
    /// A file, or none, that each try writes anew.
    Anew(Option<&'a Path>),
    /// Resumed by each try.
    Partial(&'a Partial),
}

/// The part that an earlier try downloaded.
struct Part {
    hasher: sha2::Sha256,
    size: u64,
    tag: HeaderValue,
}

impl Target<'_> {
    /// The downloaded part, if it has a strong `ETag` to request the rest with (RFC 9110 13.1.5).
    fn part(&self) -> std::io::Result<Option<Part>> {
        let Self::Partial(partial) = self else { return Ok(None) };
        let size = partial.file.metadata()?.len();
        let tag = fs_err::read(partial.tag()).ok().and_then(|tag| HeaderValue::from_bytes(&tag).ok());
        let Some(tag) = tag.filter(|tag| size > 0 && !tag.is_empty()) else { return Ok(None) };
        let (hasher, size) = hashed(&partial.path)?;
        Ok(Some(Part { hasher, size, tag }))
    }

    fn open(&self, goes_on: bool, headers: &HeaderMap) -> std::io::Result<Option<std::fs::File>> {
        match self {
            Self::Anew(path) => path.map(|path| Ok(fs_err::File::create(path)?.into_parts().0)).transpose(),
            Self::Partial(partial) => {
                if !goes_on {
                    partial.file.set_len(0)?;
                    let tag = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
                    fs_err::write(partial.tag(), tag.map(HeaderValue::as_bytes).unwrap_or_default())?;
                }
                Ok(Some(partial.file.try_clone()?))
            }
        }
    }
}

impl Part {
    fn headers(&self) -> HeaderMap {
        let range = HeaderValue::try_from(format!("bytes={}-", self.size));
        range.into_iter().flat_map(|range| [(RANGE, range), (IF_RANGE, self.tag.clone())]).collect()
    }

    fn goes_on_with(&self, response: &Response) -> bool {
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.size)))
    }
}
