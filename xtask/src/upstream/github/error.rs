//! Errors of GitHub's API.

use chrono::{DateTime, Utc};
use reqwest::StatusCode;
use serde::Deserialize;

use crate::domain::text::shown;
use crate::io::http::{HttpError, Refusal};

#[derive(Debug, thiserror::Error)]
pub(crate) enum GithubError {
    #[error("cannot reach GitHub at {url}")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("cannot send a request to GitHub")]
    Client(#[source] Box<octocrab::Error>),
    #[error("GitHub refuses {url}: the rate limit is used up{}", say_reset(*.resets))]
    RateLimit { url: String, resets: Option<DateTime<Utc>>, has_token: bool },
    #[error("GitHub does not accept the token (GITHUB_TOKEN or GH_TOKEN): {message}")]
    Token { message: String },
    #[error("GitHub answers 404 Not Found to {url}")]
    NotFound { url: String },
    /// A private repository is 404, too.
    #[error("GitHub has no repository `{repo}`, or it is private ({url} is 404)")]
    NoRepository { repo: String, url: String },
    /// 422: a listing ends at 1,000 (or 10,000) results.
    #[error("GitHub's listing ends before {url}: {message}")]
    ListingEnds { url: String, message: String },
    #[error("GitHub answers {status} to {url}: {message}")]
    Refused { url: String, status: StatusCode, message: String },
    #[error(transparent)]
    Http(HttpError),
    #[error("{url} redirects in circles")]
    Redirects { url: String },
}

impl From<HttpError> for GithubError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Transport { url, source } => Self::Unreachable { url, source },
            error => Self::Http(error),
        }
    }
}

impl From<octocrab::Error> for GithubError {
    /// Unwraps the errors of our own transport.
    fn from(error: octocrab::Error) -> Self {
        match error {
            octocrab::Error::Service { source, backtrace } => match source.downcast::<HttpError>() {
                Ok(error) => (*error).into(),
                Err(source) => Self::Client(Box::new(octocrab::Error::Service { source, backtrace })),
            },
            error => Self::Client(Box::new(error)),
        }
    }
}

fn say_reset(moment: Option<DateTime<Utc>>) -> String {
    moment.map(|moment| format!("; it resets at {}", moment.format("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default()
}

impl GithubError {
    /// The hint for it.
    pub(crate) fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::RateLimit { has_token: false, .. } => {
                "set GITHUB_TOKEN (or GH_TOKEN): a token raises the limit from 60 to 5,000 requests an hour"
            }
            Self::RateLimit { .. } => "wait until then; the token is used already",
            Self::Unreachable { .. } => {
                "check the network and HTTPS_PROXY, or set another address with GITHUB_API_URL or --mirror"
            }
            Self::Token { .. } => "create a new token, or unset the variable: public data needs none",
            Self::Http(error) => return crate::error::advice(error),
            _ => return None,
        };
        Some(advice.to_owned())
    }

    /// Interprets an error status. Rate limits (docs.github.com, "Rate limits for the REST API") are 403 or 429,
    /// with `retry-after`, or `x-ratelimit-remaining: 0` and `x-ratelimit-reset`, or neither.
    pub(super) fn refused(url: String, refusal: &Refusal, has_token: bool) -> Self {
        let message = message(&refusal.body);
        match refusal.status {
            StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS if refusal.is_throttled() => {
                Self::RateLimit { url, resets: refusal.retry_at(Utc::now()), has_token }
            }
            StatusCode::UNAUTHORIZED if has_token => Self::Token { message },
            StatusCode::NOT_FOUND => Self::NotFound { url },
            StatusCode::UNPROCESSABLE_ENTITY => Self::ListingEnds { url, message },
            status => Self::Refused { url, status, message },
        }
    }
}

/// GitHub's message, on one line and cut.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let text = match serde_json::from_slice::<Message>(body) {
        Ok(Message { message }) => message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = shown(&text, 200);
    if text.is_empty() { "no reason given".to_owned() } else { text }
}
