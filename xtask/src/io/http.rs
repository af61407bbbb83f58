//! Downloads and plain HTTP metadata. GitHub's REST API has its own client, `upstream::github::client`.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use sha2::Digest as _;

use super::progress::{Bars, Waiting};
use crate::domain::digest::Sha256;
use crate::domain::mirror::Mirrors;

/// What this program calls itself; GitHub refuses requests without a name.
pub(crate) const USER_AGENT: &str = concat!("mission-control-xtask/", env!("CARGO_PKG_VERSION"));

/// How often a request is tried when the connection breaks or the server fails (5xx): upstreams' load
/// balancers answer 502 now and then, and three tries end within two seconds where nobody is there.
const TRIES: u32 = 3;
const CONNECT: Duration = Duration::from_secs(10);
/// A transfer that stands still for so long has broken off.
const STALL: Duration = Duration::from_secs(30);
/// Metadata is small; a longer reply is not what was asked for.
const LONGEST_TEXT: usize = 64 << 20;

/// A request that failed, with what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot {method} {url}")]
    Transport { method: Method, url: String, source: reqwest::Error },
    #[error("cannot {method} {url}: the server answers {status}")]
    Status {
        method: Method,
        url: String,
        status: StatusCode,
        /// `WWW-Authenticate`: what a registry asks for.
        challenge: Option<String>,
    },
    #[error("the reply of {url} is not the JSON that was expected")]
    Json { url: String, source: serde_json::Error },
    #[error("the reply of {url} is longer than {LONGEST_TEXT} bytes or is not UTF-8")]
    NoText { url: String },
    #[error("cannot keep the download of {url}")]
    Keep { url: String, source: std::io::Error },
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

impl HttpError {
    /// Whether what was asked for is not there, as opposed to not to be had right now.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Status { status: StatusCode::NOT_FOUND | StatusCode::GONE, .. })
    }

    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => status.is_server_error(),
            _ => false,
        }
    }
}

/// The one HTTP client of a run. Addresses are rewritten through the mirrors here, and nowhere above.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    mirrors: Mirrors,
    bars: Bars,
}

impl Http {
    pub(crate) fn new(mirrors: Mirrors) -> anyhow::Result<Self> {
        install_tls();
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT)
            .read_timeout(STALL)
            .build()
            .map_err(HttpError::Client)?;
        Ok(Self { client, mirrors, bars: Bars::default() })
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
        let (_, body) = self.get(url, HeaderMap::new()).await?;
        String::from_utf8(body).map_err(|_| HttpError::NoText { url: url.to_owned() })
    }

    pub(crate) async fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, HttpError> {
        let mut headers = HeaderMap::new();
        headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
        let (_, body) = self.get(url, headers).await?;
        serde_json::from_slice(&body).map_err(|source| HttpError::Json { url: url.to_owned(), source })
    }

    /// The headers and the whole body of a reply.
    pub(crate) async fn get(&self, url: &str, headers: HeaderMap) -> Result<(HeaderMap, Vec<u8>), HttpError> {
        retried(|| self.get_once(url, headers.clone())).await
    }

    async fn get_once(&self, url: &str, headers: HeaderMap) -> Result<(HeaderMap, Vec<u8>), HttpError> {
        let response = self.send(url, headers).await?;
        let reply_headers = response.headers().clone();
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|source| transport(url, source))? {
            if body.len() + chunk.len() > LONGEST_TEXT {
                return Err(HttpError::NoText { url: url.to_owned() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((reply_headers, body))
    }

    /// Streams a file through SHA-256 without keeping it; gives its digest and size. `label` names it on
    /// the progress bar.
    pub(crate) async fn hash(&self, url: &str, label: &str) -> Result<(Sha256, u64), HttpError> {
        retried(|| self.stream(url, label, None)).await
    }

    /// The same, and keeps the file.
    pub(crate) async fn download(&self, url: &str, label: &str, into: &Path) -> Result<(Sha256, u64), HttpError> {
        retried(|| self.stream(url, label, Some(into))).await
    }

    async fn stream(&self, url: &str, label: &str, into: Option<&Path>) -> Result<(Sha256, u64), HttpError> {
        let keep = |source| HttpError::Keep { url: url.to_owned(), source };
        // Anew for each try: what a broken transfer left is gone.
        let mut file = into.map(fs_err::File::create).transpose().map_err(keep)?;
        let response = self.send(url, HeaderMap::new()).await?;
        let bar = self.bars.download(label, response.content_length());
        let mut hasher = sha2::Sha256::new();
        let mut size = 0;
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(|source| transport(url, source))? {
            hasher.update(&chunk);
            if let Some(file) = &mut file {
                file.write_all(&chunk).map_err(keep)?;
            }
            let length = chunk.len() as u64;
            size += length;
            bar.advance(length);
        }
        Ok((Sha256::from_bytes(&hasher.finalize()), size))
    }

    async fn send(&self, url: &str, headers: HeaderMap) -> Result<Response, HttpError> {
        let asked = self.mirrors.rewrite(url);
        let response =
            self.client.get(&asked).headers(headers).send().await.map_err(|source| transport(&asked, source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let challenge = response.headers().get(reqwest::header::WWW_AUTHENTICATE);
        let challenge = challenge.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Err(HttpError::Status { method: Method::GET, url: asked, status: response.status(), challenge })
    }
}

/// `without_url`: the address is in our own message already, and the one that a redirect led to may be signed.
fn transport(url: &str, source: reqwest::Error) -> HttpError {
    HttpError::Transport { method: Method::GET, url: url.to_owned(), source: source.without_url() }
}

/// Runs a request again after a failure that may pass, a little later each time.
async fn retried<T, F: Future<Output = Result<T, HttpError>>>(request: impl Fn() -> F) -> Result<T, HttpError> {
    let mut pause = Duration::from_millis(200);
    for _ in 1..TRIES {
        match request().await {
            Err(error) if error.is_worth_another_try() => {
                tokio::time::sleep(pause).await;
                pause *= 4;
            }
            result => return result,
        }
    }
    request().await
}

/// Both reqwest and octocrab are built without a TLS provider of their own: the process installs one, once.
pub(crate) fn install_tls() {
    // An error says that one is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
