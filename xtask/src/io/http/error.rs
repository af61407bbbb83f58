//! Errors of HTTP requests. A server that throttles, a proxy's page and a replaced file have different errors.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::de::DeserializeOwned;

use super::LONGEST_TEXT;
use crate::domain::text::shown;

/// How much of a page's title a message shows, in characters.
const SHOWN: usize = 80;

#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("cannot GET {url}")]
    Transport { url: String, source: reqwest::Error },
    #[error("cannot GET {url}: the server answers {}{}", .refusal.status, say_page(.refusal))]
    Status { url: String, refusal: Box<Refusal> },
    /// 429, 503 or GitHub's 403.
    #[error("cannot GET {url}: the server refuses requests for now ({}){}", .refusal.status, say_until(*.until))]
    Throttled { url: String, until: Option<DateTime<Utc>>, refusal: Box<Refusal> },
    #[error("{url} returns an HTML page{} instead of the file, as a proxy or a login page does", say_title(.title))]
    Page { url: String, title: String },
    #[error("the reply of {url} is not the expected JSON{instead}")]
    Json { url: String, instead: &'static str, source: serde_json::Error },
    #[error("the reply of {url} is not text (UTF-8)")]
    NoText { url: String },
    #[error("the reply of {url} is longer than {LONGEST_TEXT} bytes")]
    TooLong { url: String },
    #[error("{url} is sent with the content encoding `{}`, which was not requested", .encoding.escape_debug())]
    Encoded { url: String, encoding: String },
    #[error("{url} took longer than {seconds} seconds")]
    Slow { url: String, seconds: u64 },
    #[error("{url} redirects to {to}, which is not followed: it is not an https address")]
    Redirect { url: String, to: String },
    #[error("{url} redirects in circles")]
    Redirects { url: String },
    #[error("cannot write the download of {url}")]
    Keep { url: String, source: std::io::Error },
    #[error("{url} sends another part of the file than was requested")]
    OtherPart { url: String },
    #[error("{url} is not in the store, and --offline allows no download")]
    Offline { url: String },
    #[error("the store ($XDG_CACHE_HOME or ~/.cache) cannot be used, or another run downloads this file")]
    NoStore,
    #[error("the token has characters that a header cannot contain")]
    Login,
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
}

/// A reply with an error status.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The start of the body.
    pub(crate) body: Vec<u8>,
}

impl Refusal {
    /// Whether the server limits requests. GitHub uses 403 for it, too (docs.github.com,
    /// "Rate limits for the REST API").
    pub(crate) fn is_throttled(&self) -> bool {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
            StatusCode::FORBIDDEN => {
                self.headers.contains_key(RETRY_AFTER)
                    || self.number("x-ratelimit-remaining") == Some(0)
                    || String::from_utf8_lossy(&self.body).to_ascii_lowercase().contains("rate limit exceeded")
            }
            _ => false,
        }
    }

    /// When to try again: `Retry-After` as seconds or a date (RFC 9110 10.2.3), or GitHub's `x-ratelimit-reset`, which
    /// counts only when nothing remains.
    pub(crate) fn retry_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let after = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::trim);
        if let Some(after) = after {
            return match after.parse::<u32>() {
                Ok(seconds) => now.checked_add_signed(TimeDelta::seconds(seconds.into())),
                Err(_) => DateTime::parse_from_rfc2822(after).ok().map(|date| date.with_timezone(&Utc)),
            };
        }
        if self.number("x-ratelimit-remaining").is_some_and(|left| left > 0) {
            return None;
        }
        DateTime::from_timestamp(self.number("x-ratelimit-reset")?, 0)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.headers.get(name)?.to_str().ok()?.trim().parse().ok()
    }
}

fn say_page(refusal: &Refusal) -> String {
    page(&refusal.headers, &refusal.body)
        .map(|title| format!(" with an HTML page{}", say_title(&title)))
        .unwrap_or_default()
}

fn say_title(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!(" titled `{title}`") }
}

fn say_until(until: Option<DateTime<Utc>>) -> String {
    until.map(|until| format!(" until {}", until.format("%Y-%m-%d %H:%M:%S UTC"))).unwrap_or_default()
}

impl HttpError {
    /// `without_url`: our message has the address, and that of a redirect may contain a signature.
    pub(super) fn transport(url: &str, source: reqwest::Error) -> Self {
        Self::Transport { url: url.to_owned(), source: source.without_url() }
    }

    pub(super) fn refused(url: &str, refusal: Refusal, now: DateTime<Utc>) -> Self {
        let (url, refusal) = (url.to_owned(), Box::new(refusal));
        if refusal.is_throttled() {
            return Self::Throttled { url, until: refusal.retry_at(now), refusal };
        }
        Self::Status { url, refusal }
    }

    /// Whether the resource does not exist, as opposed to being unavailable.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.status(), Some(StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { refusal, .. } | Self::Throttled { refusal, .. } => Some(refusal.status),
            _ => None,
        }
    }

    /// `WWW-Authenticate`, if authentication is required.
    pub(crate) fn challenge(&self) -> Option<&str> {
        let Self::Status { refusal, .. } = self else { return None };
        refusal.headers.get(WWW_AUTHENTICATE)?.to_str().ok().filter(|_| refusal.status == StatusCode::UNAUTHORIZED)
    }

    /// Whether an HTML page came instead, as from a proxy.
    pub(crate) fn is_page(&self) -> bool {
        matches!(self, Self::Page { .. } | Self::Json { instead: AN_HTML_PAGE, .. })
    }
}

const AN_HTML_PAGE: &str = ", but an HTML page";

pub(crate) fn json<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|source| {
        let instead = if looks_like_page(body) { AN_HTML_PAGE } else { "" };
        HttpError::Json { url: url.to_owned(), instead, source }
    })
}

pub(super) fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/html")
}

fn looks_like_page(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim_start().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// The title of an HTML page, empty without one; `None` if the reply is not HTML.
pub(super) fn page(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if !is_page(headers) && !looks_like_page(body) {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let from = start + "<title>".len();
        let to = from + lower[from..].find("</title>")?;
        text.get(from..to)
    });
    let words: Vec<&str> = title.unwrap_or_default().split_whitespace().collect();
    Some(shown(&words.join(" "), SHOWN))
}

/// A refusal for tests.
#[cfg(test)]
pub(super) fn refusal(status: u16, headers: &[(&str, &str)], body: &str) -> Refusal {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Refusal { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_recognized_by_its_type_or_its_start() {
        let mut headers = HeaderMap::new();
        let body = b"\n<!DOCTYPE html><head><title>Sign in\n to Example</title>";
        assert_eq!(page(&headers, body).as_deref(), Some("Sign in to Example"));
        assert_eq!(page(&headers, b"<html>oops").as_deref(), Some(""));
        assert_eq!(page(&headers, b"{\"html\": \"<html>\"}"), None);
        headers.insert(CONTENT_TYPE, "Text/HTML; charset=utf-8".parse().unwrap());
        assert_eq!(page(&headers, b"blocked").as_deref(), Some(""));
    }

    #[test]
    fn throttling_pages_and_statuses_have_different_messages() {
        let refused = |status, headers: &[(&str, &str)], body| {
            HttpError::refused("http://x/y", refusal(status, headers, body), Utc::now()).to_string()
        };
        let throttled = "the server refuses requests for now";
        assert!(refused(429, &[], "").contains(throttled));
        assert!(refused(503, &[("retry-after", "9")], "").contains(" until 2"));
        assert!(refused(403, &[("x-ratelimit-remaining", "0")], "").contains(throttled));
        let blocked = "cannot GET http://x/y: the server answers 403 Forbidden with an HTML page titled `Blocked`";
        assert_eq!(refused(403, &[], "<html><title>Blocked</title>"), blocked);
    }
}
