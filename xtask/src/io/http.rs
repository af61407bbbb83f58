//! The one way to the network: proxies, certificates, retries, redirects, time limits and mirrors are decided here,
//! for GitHub's API (`upstream::github::client`) as for everything else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::progress::{Bars, Waiting};
use super::store::{Entry, Store};
use crate::domain::digest::Sha256;
use crate::domain::mirror::Mirrors;

mod error;
mod files;
mod retry;

pub(crate) use error::{HttpError, Refusal, json, shown};
pub(crate) use retry::again;

/// What this program calls itself; GitHub refuses requests without a name.
pub(crate) const USER_AGENT: &str = concat!("mission-control-xtask/", env!("CARGO_PKG_VERSION"));

const CONNECT: Duration = Duration::from_secs(10);
/// `--timeout`: a transfer that stands still for so many seconds has broken off, whichever program it is of.
static STALL: AtomicU64 = AtomicU64::new(30);
/// A server that sends a byte now and then never stalls; these end it.
const WHOLE_TEXT: Duration = Duration::from_secs(180);
const WHOLE_FILE: Duration = Duration::from_secs(60 * 60);
/// Metadata is small; a longer reply is not what was asked for.
pub(crate) const LONGEST_TEXT: usize = 64 << 20;
/// As much of a refusal as is worth reading.
const LONGEST_REFUSAL: usize = 64 << 10;
const REDIRECTS: usize = 10;

pub(crate) fn set_timeout(seconds: u64) {
    STALL.store(seconds, Ordering::Relaxed);
}

pub(crate) fn timeout() -> u64 {
    STALL.load(Ordering::Relaxed)
}

/// The one HTTP client of a run. Addresses are rewritten through the mirrors here, and nowhere above.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    mirrors: Mirrors,
    bars: Bars,
    /// What earlier runs read, where it is used.
    store: Option<Store>,
    /// Nobody is asked: what earlier runs read has to do.
    offline: bool,
}

/// What a run has to do with what others read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing, as if there were no others.
    Unused,
    /// It uses it, and adds to it.
    Shared,
    /// Nobody is asked: it has to do.
    Alone,
}

/// Whom a reply is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    ForThisLogin,
    ForAll,
}

/// A reply with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn new(mirrors: Mirrors) -> anyhow::Result<Self> {
        install_tls();
        let mut headers = HeaderMap::new();
        // What is hashed must be the file, and not a compressed form of it.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .connect_timeout(CONNECT)
            .read_timeout(Duration::from_secs(timeout()))
            // Followed here, where mirrors are known; and GitHub's client must see them.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(HttpError::Client)?;
        Ok(Self { client, mirrors, bars: Bars::default(), store: None, offline: false })
    }

    pub(crate) fn with(mut self, memory: Memory) -> Self {
        self.store = Some(memory).filter(|memory| *memory != Memory::Unused).and_then(|_| Store::open());
        self.offline = memory == Memory::Alone;
        self
    }

    /// Deletes from the store what nobody asked for in a month.
    pub(crate) fn prune(&self) {
        if let Some(store) = &self.store {
            store.prune();
        }
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    pub(crate) fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// Tells a person whose answers are not there yet.
    pub(crate) fn waiting(&self, names: impl IntoIterator<Item = String>) -> Waiting {
        self.bars.waiting(names)
    }

    /// A small text.
    pub(crate) async fn text(&self, url: &str) -> Result<String, HttpError> {
        let Reply { headers, body } = self.get(url, HeaderMap::new()).await?;
        if let Some(title) = error::page(&headers, &body) {
            return Err(HttpError::Page { url: url.to_owned(), title });
        }
        String::from_utf8(body).map_err(|_| HttpError::NoText { url: url.to_owned() })
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        self.json_as(url, HeaderMap::new()).await
    }

    /// The same, with headers of its own; `Accept` is added where it is not among them.
    pub(crate) async fn json_as<T: DeserializeOwned>(&self, url: &str, headers: HeaderMap) -> Result<T, HttpError> {
        let mut headers = headers;
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let Reply { body, .. } = self.get(url, headers).await?;
        json(url, &body)
    }

    /// The headers and the whole body of a reply, after redirects.
    pub(crate) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForThisLogin, true)).await
    }

    /// The same of what is the same for everybody, whatever the token that it is asked with.
    pub(crate) async fn get_public(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForAll, true)).await
    }

    /// A document that is for this moment only: a token.
    pub(crate) async fn fleeting_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        json(url, &Box::pin(self.whole(url, HeaderMap::new(), Keep::Nothing, true)).await?.body)
    }

    /// The same as `get` for one address as it is: a redirect is given back as what it is, a refusal.
    pub(crate) async fn get_here(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForThisLogin, false)).await
    }

    async fn whole(&self, url: &str, headers: HeaderMap, keep: Keep, follows: bool) -> Result<Reply, HttpError> {
        let store = self.store.as_ref().filter(|_| keep != Keep::Nothing);
        let asked = if follows { self.mirrors.rewrite(url) } else { url.to_owned() };
        let mut told = headers.clone();
        if keep == Keep::ForAll {
            told.remove(AUTHORIZATION);
        }
        let key = Store::key(&asked, &told);
        let known = store.and_then(|store| {
            let entry = store.find(&key)?;
            let body = store.body(&entry.sha256)?;
            Some((entry, body))
        });
        if self.offline {
            let known = known.map(|(entry, body)| Reply { headers: entry.headers(), body });
            return known.ok_or_else(|| HttpError::Offline { url: url.to_owned() });
        }
        let entry = known.as_ref().map(|(entry, _)| entry);
        let (reply, from) = retry::run(|| async {
            let whole = async {
                let (response, from) = self.follow(url, headers.clone(), entry, follows).await?;
                match &known {
                    Some((entry, body)) if response.status() == StatusCode::NOT_MODIFIED => {
                        let mut headers = entry.headers();
                        headers.extend(response.headers().clone());
                        Ok((Reply { headers, body: body.clone() }, None))
                    }
                    _ => Ok((read(url, response).await?, Some(from))),
                }
            };
            within(url, WHOLE_TEXT, whole).await
        })
        .await?;
        if let (Some(store), Some(from)) = (store, from)
            && !is_fleeting(&reply.headers)
        {
            let sha256 = Sha256::of(&reply.body);
            store.keep(&key, &Entry::new(&from, &reply.headers, sha256, reply.body.len() as u64), &reply.body);
        }
        Ok(reply)
    }

    /// A request with its redirects, which mirrors hold for, too. Where `known` came from, it is asked for only if it
    /// changed: the answer is 304 then.
    async fn follow(
        &self,
        url: &str,
        mut headers: HeaderMap,
        known: Option<&Entry>,
        follows: bool,
    ) -> Result<(Response, String), HttpError> {
        let mut asked = if follows { self.mirrors.rewrite(url) } else { url.to_owned() };
        for _ in 0..=REDIRECTS {
            let mut headers_here = headers.clone();
            let condition = known.filter(|known| known.from == asked).and_then(|known| {
                let headers = known.headers();
                let tagged = headers.get(ETAG).map(|tag| (IF_NONE_MATCH, tag.clone()));
                tagged.or_else(|| headers.get(LAST_MODIFIED).map(|date| (IF_MODIFIED_SINCE, date.clone())))
            });
            let is_conditional = condition.is_some();
            headers_here.extend(condition);
            let response = self.send(&asked, headers_here).await?;
            if is_conditional && response.status() == StatusCode::NOT_MODIFIED {
                return Ok((response, asked));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location.filter(|_| follows && response.status().is_redirection()) else {
                return Ok((accepted(&asked, response).await?, asked));
            };
            let bad = || HttpError::Redirect { url: url.to_owned(), to: location.escape_debug().to_string() };
            let from = response.url();
            let to = from.join(location).map_err(|_| bad())?;
            if from.scheme() == "https" && to.scheme() != "https" {
                return Err(bad());
            }
            let next = self.mirrors.rewrite(to.as_str());
            // A login is for the server that asked for it.
            if Url::parse(&next).is_ok_and(|next| next.origin() != from.origin()) {
                headers.remove(AUTHORIZATION);
            }
            asked = next;
        }
        Err(HttpError::Redirects { url: url.to_owned() })
    }

    async fn send(&self, url: &str, headers: HeaderMap) -> Result<Response, HttpError> {
        self.client.get(url).headers(headers).send().await.map_err(|source| HttpError::transport(url, source))
    }
}

/// Whether a server says that a reply is not to be kept.
fn is_fleeting(headers: &HeaderMap) -> bool {
    headers.get(CACHE_CONTROL).and_then(|told| told.to_str().ok()).is_some_and(|told| told.contains("no-store"))
}

/// Makes an error of a reply that is none to what was asked.
async fn accepted(url: &str, response: Response) -> Result<Response, HttpError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    // What a refusal says is a nicety: a body that breaks off is told as far as it came.
    while let Ok(Some(chunk)) = chunks.try_next().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_REFUSAL {
            break;
        }
    }
    let body = decoded(url, &headers, body).unwrap_or_default();
    Err(HttpError::refused(url, Refusal { status, headers, body }, chrono::Utc::now()))
}

async fn read(url: &str, response: Response) -> Result<Reply, HttpError> {
    let headers = response.headers().clone();
    let too_long = || HttpError::TooLong { url: url.to_owned() };
    if response.content_length().is_some_and(|length| length > LONGEST_TEXT as u64) {
        return Err(too_long());
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.try_next().await.map_err(|source| HttpError::transport(url, source))? {
        if body.len() + chunk.len() > LONGEST_TEXT {
            return Err(too_long());
        }
        body.extend_from_slice(&chunk);
    }
    let body = decoded(url, &headers, body)?;
    Ok(Reply { headers, body })
}

/// Some caches answer with what they hold, gzip, whoever asks.
fn decoded(url: &str, headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, HttpError> {
    use std::io::Read as _;
    match encoding(headers) {
        None => Ok(body),
        Some(encoding) if encoding == "gzip" || encoding == "x-gzip" => {
            let mut whole = Vec::new();
            let limit = LONGEST_TEXT as u64 + 1;
            let read = flate2::read::MultiGzDecoder::new(body.as_slice()).take(limit).read_to_end(&mut whole);
            match read {
                Err(_) => Err(HttpError::Encoded { url: url.to_owned(), encoding }),
                Ok(_) if whole.len() > LONGEST_TEXT => Err(HttpError::TooLong { url: url.to_owned() }),
                Ok(_) => Ok(whole),
            }
        }
        Some(encoding) => Err(HttpError::Encoded { url: url.to_owned(), encoding }),
    }
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let told = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
    (!told.is_empty() && told != "identity").then_some(told)
}

async fn within<T>(
    url: &str,
    limit: Duration,
    whole: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    match tokio::time::timeout(limit, whole).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::Slow { url: url.to_owned(), seconds: limit.as_secs() }),
    }
}

/// reqwest is built without a TLS provider of its own: the process installs one, once.
pub(crate) fn install_tls() {
    // An error says that one is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
