//! The HTTP client for everything, GitHub's API included: proxies, certificates, retries, redirects, time limits and
//! mirrors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;

use super::store::{Entry, Store};
use crate::domain::mirror::Mirrors;

mod error;
mod files;
mod retry;

pub(crate) use error::{HttpError, Refusal, json};
pub(crate) use retry::again;

/// GitHub refuses requests without one.
pub(crate) const USER_AGENT: &str = concat!("mission-control-xtask/", env!("CARGO_PKG_VERSION"));

const CONNECT: Duration = Duration::from_secs(10);
/// `--timeout`: seconds without data after which a transfer fails, also in child processes.
static STALL: AtomicU64 = AtomicU64::new(30);
/// Limits for whole transfers: a server that sends a byte now and then never stalls.
const WHOLE_TEXT: Duration = Duration::from_secs(180);
const WHOLE_FILE: Duration = Duration::from_secs(60 * 60);
/// The longest reply other than a file, in bytes.
pub(crate) const LONGEST_TEXT: usize = 64 << 20;
/// How much of an error reply is read, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;
const REDIRECTS: usize = 10;

pub(crate) fn set_timeout(seconds: u64) {
    STALL.store(seconds, Ordering::Relaxed);
}

pub(crate) fn timeout() -> u64 {
    STALL.load(Ordering::Relaxed)
}

/// The HTTP client of a run. It applies the mirrors; callers use the original addresses.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    mirrors: Mirrors,
    /// The cache that runs share, if it is used.
    store: Option<Store>,
    /// Use the store only.
    offline: bool,
}

/// How a run uses the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Not at all.
    Unused,
    /// Reads and writes it.
    Shared,
    /// Uses nothing else: `--offline`.
    Alone,
}

/// Who may reuse a stored reply.
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
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            // Hash the file, not a compressed form of it.
            .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
            .connect_timeout(CONNECT)
            .read_timeout(Duration::from_secs(timeout()))
            // Followed by `follow`, which applies mirrors; GitHub's client must see them.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(HttpError::Client)?;
        Ok(Self { client, mirrors, store: None, offline: false })
    }

    pub(crate) fn with(mut self, memory: Memory) -> Self {
        self.store = Some(memory).filter(|memory| *memory != Memory::Unused).and_then(|_| Store::open());
        self.offline = memory == Memory::Alone;
        self
    }

    /// Deletes entries of the store that are unused for a month.
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

    /// A text (UTF-8).
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

    /// The same with more headers; `Accept` is added if it is not among them.
    pub(crate) async fn json_as<T: DeserializeOwned>(&self, url: &str, mut headers: HeaderMap) -> Result<T, HttpError> {
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        let Reply { body, .. } = self.get(url, headers).await?;
        json(url, &body)
    }

    /// The headers and body of a reply, after redirects.
    pub(crate) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForThisLogin, true)).await
    }

    /// The same for a reply that does not depend on the token.
    pub(crate) async fn get_public(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForAll, true)).await
    }

    /// A document that is not stored, such as a token.
    pub(crate) async fn fleeting_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        json(url, &Box::pin(self.whole(url, HeaderMap::new(), Keep::Nothing, true)).await?.body)
    }

    /// The same as `get` without mirrors and redirects: a redirect is an error.
    pub(crate) async fn get_here(&self, url: &str, headers: HeaderMap) -> Result<Reply, HttpError> {
        Box::pin(self.whole(url, headers, Keep::ForThisLogin, false)).await
    }

    async fn whole(&self, url: &str, headers: HeaderMap, keep: Keep, follows: bool) -> Result<Reply, HttpError> {
        let store = self.store.as_ref().filter(|_| keep != Keep::Nothing);
        let asked = if follows { self.mirrors.rewrite(url) } else { url.to_owned() };
        let mut key_headers = headers.clone();
        if keep == Keep::ForAll {
            key_headers.remove(AUTHORIZATION);
        }
        let key = Store::key(&asked, &key_headers);
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
        let ask = async || {
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
        let (reply, from) = retry::run(|| within(url, WHOLE_TEXT, ask())).await?;
        if let (Some(store), Some(from)) = (store, from)
            && !is_fleeting(&reply.headers)
        {
            store.keep(&key, &from, &reply.headers, &reply.body);
        }
        Ok(reply)
    }

    /// Sends a request and follows redirects, applying mirrors to each. At the address that `known` came from, the request
    /// is conditional: an unchanged reply is 304.
    async fn follow(
        &self,
        url: &str,
        mut headers: HeaderMap,
        known: Option<&Entry>,
        follows: bool,
    ) -> Result<(Response, String), HttpError> {
        let mut asked = if follows { self.mirrors.rewrite(url) } else { url.to_owned() };
        for _ in 0..=REDIRECTS {
            let condition = known.filter(|known| known.from == asked).and_then(|known| {
                let headers = known.headers();
                let tagged = headers.get(ETAG).map(|tag| (IF_NONE_MATCH, tag.clone()));
                tagged.or_else(|| headers.get(LAST_MODIFIED).map(|date| (IF_MODIFIED_SINCE, date.clone())))
            });
            let condition: HeaderMap = condition.into_iter().collect();
            let is_conditional = !condition.is_empty();
            let request = self.client.get(&asked).headers(headers.clone()).headers(condition);
            let response = request.send().await.map_err(|source| HttpError::transport(&asked, source))?;
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
            // Do not send credentials to another origin.
            if Url::parse(&next).is_ok_and(|next| next.origin() != from.origin()) {
                headers.remove(AUTHORIZATION);
            }
            asked = next;
        }
        Err(HttpError::Redirects { url: url.to_owned() })
    }
}

/// Whether the reply must not be stored.
fn is_fleeting(headers: &HeaderMap) -> bool {
    headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).is_some_and(|value| value.contains("no-store"))
}

/// Turns a status other than 2xx into an error.
async fn accepted(url: &str, response: Response) -> Result<Response, HttpError> {
    if response.status().is_success() {
        return Ok(response);
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    // The body is for the message only: an incomplete one will do.
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

/// Decodes gzip, which some caches send although it was not requested.
fn decoded(url: &str, headers: &HeaderMap, body: Vec<u8>) -> Result<Vec<u8>, HttpError> {
    use std::io::Read as _;
    let Some(encoding) = encoding(headers) else { return Ok(body) };
    let mut whole = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(body.as_slice()).take(LONGEST_TEXT as u64 + 1);
    let is_gzip = matches!(encoding.as_str(), "gzip" | "x-gzip");
    let is_decoded = is_gzip && decoder.read_to_end(&mut whole).is_ok();
    if !is_decoded {
        return Err(HttpError::Encoded { url: url.to_owned(), encoding });
    }
    if whole.len() > LONGEST_TEXT { Err(HttpError::TooLong { url: url.to_owned() }) } else { Ok(whole) }
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().ok()?.trim().to_ascii_lowercase();
    (!encoding.is_empty() && encoding != "identity").then_some(encoding)
}

async fn within<T>(
    url: &str,
    limit: Duration,
    whole: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let slow = |_| Err(HttpError::Slow { url: url.to_owned(), seconds: limit.as_secs() });
    tokio::time::timeout(limit, whole).await.unwrap_or_else(slow)
}

/// Installs the TLS provider of the process: reqwest is built without one.
pub(crate) fn install_tls() {
    // An error means that one is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
