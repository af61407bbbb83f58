//! GitHub's REST API through octocrab: its address, the token, errors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::error::GithubError;
use super::files::Checksums;
use super::release::{Release, repository_at};
use crate::domain::host::is_repository;
use crate::domain::mirror::Mirrors;
use crate::io::http::{self, Http, HttpError, Refusal};
use crate::io::locked;
use crate::upstream::{Kept, keep};

const PUBLIC_API: &str = "https://api.github.com";
/// The maximum (docs.github.com, "List releases").
const PER_PAGE: u32 = 100;
const REDIRECTS: usize = 5;

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) releases: Vec<Release>,
    /// The address of the next page (`Link: …; rel="next"`).
    pub(crate) next: Option<String>,
}

/// The client of one run. It caches pages and releases: several components come from one repository, and without a
/// token there are only 60 requests an hour.
pub(crate) struct Client {
    octocrab: Octocrab,
    /// Without a final `/`.
    base: String,
    mirrors: Mirrors,
    has_token: bool,
    pages: Kept<Page>,
    releases: Kept<Release>,
    /// Lists of checksums, which are needed when a release is checked and when it is pinned.
    pub(super) lists: Kept<Checksums>,
    /// Renamed repositories: the name in `stack.toml`, and the new one if known.
    renamed: Mutex<BTreeMap<String, Option<String>>>,
    left: Mutex<Option<Left>>,
    calls: AtomicUsize,
}

/// octocrab's transport: the HTTP client of this program, with the token for the API only.
#[derive(Clone)]
struct WayOut {
    http: Http,
    base: String,
    token: Option<SecretString>,
}

impl WayOut {
    async fn pass(self, request: Request<OctoBody>) -> Result<Response<Full<Bytes>>, HttpError> {
        let url = request.uri().to_string();
        let mut headers = request.headers().clone();
        headers.remove(CONTENT_LENGTH);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        let at_base = url.strip_prefix(&self.base).is_some_and(|rest| rest.starts_with(['/', '?']));
        if let Some(token) = self.token.as_ref().filter(|_| at_base) {
            let bearer = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
            let mut bearer = bearer.map_err(|_| HttpError::Login)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let (status, headers, body) = match self.http.get_here(&url, headers).await {
            Ok(reply) => (StatusCode::OK, reply.headers, reply.body),
            // Interpreted by `GithubError::refused`.
            Err(HttpError::Status { refusal, .. } | HttpError::Throttled { refusal, .. }) => {
                (refusal.status, refusal.headers, refusal.body)
            }
            Err(error) => return Err(error),
        };
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// How much a run used GitHub's API.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Usage {
    calls: usize,
    left: Option<Left>,
}

/// The rate limit in the last reply.
#[derive(Debug, Clone, Copy, Serialize)]
struct Left {
    remaining: u64,
    limit: u64,
    resets: DateTime<Utc>,
}

impl Left {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        let resets = i64::try_from(number("x-ratelimit-reset")?).ok()?;
        let resets = DateTime::from_timestamp(resets, 0)?;
        Some(Self { remaining: number("x-ratelimit-remaining")?, limit: number("x-ratelimit-limit")?, resets })
    }
}

/// A reply, whose body is not parsed yet.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// The address after redirects.
    url: String,
    redirected: Option<String>,
}

impl Client {
    /// Reads `GITHUB_API_URL`, which Actions sets, and the token from `GITHUB_TOKEN` or `GH_TOKEN`.
    pub(crate) fn from_env(http: &Http) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let api = variable("GITHUB_API_URL").unwrap_or_else(|| PUBLIC_API.to_owned());
        let token = variable("GITHUB_TOKEN").or_else(|| variable("GH_TOKEN"));
        Self::new(http, api.trim_end_matches('/'), token.map(|token| SecretString::from(token.trim().to_owned())))
    }

    fn new(http: &Http, api: &str, token: Option<SecretString>) -> anyhow::Result<Self> {
        let base = http.mirrors().rewrite(api);
        if reqwest::Url::parse(&base).is_err() || !base.starts_with("https://") && !base.starts_with("http://") {
            bail!("GITHUB_API_URL or its mirror is not an http(s) address: {}", base.escape_debug());
        }
        // A mirror of the API does not get the token.
        let token = token.filter(|_| base == api);
        let has_token = token.is_some();
        let way_out = WayOut { http: http.clone(), base: base.clone(), token };
        let service = tower::service_fn(move |request| way_out.clone().pass(request));
        let octocrab = OctocrabBuilder::new_empty().with_service(service).with_auth(AuthState::None).build();
        let octocrab = octocrab.context("cannot set up the client of GitHub's API")?;
        let mirrors = http.mirrors().clone();
        let (pages, releases, renamed, left) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let (lists, calls) = (Mutex::default(), AtomicUsize::new(0));
        Ok(Self { octocrab, base, mirrors, has_token, pages, releases, lists, renamed, left, calls })
    }

    /// The first page of a repository's releases.
    pub(crate) async fn first_page(&self, repo: &str) -> Result<Arc<Page>, GithubError> {
        match self.page(repo, &format!("{}/repos/{repo}/releases?per_page={PER_PAGE}", self.base)).await {
            Err(GithubError::NotFound { url }) => Err(GithubError::NoRepository { repo: repo.to_owned(), url }),
            result => result,
        }
    }

    /// A further page.
    pub(crate) async fn page(&self, repo: &str, url: &str) -> Result<Arc<Page>, GithubError> {
        keep(&self.pages, url, async {
            let reply = self.get(url).await?;
            let next = next_link(&reply.headers).map(|next| self.here(&next));
            let releases: Vec<Release> = parse(&reply)?;
            self.note_rename(repo, &reply, releases.first()).await;
            self.keep_releases(repo, &releases);
            Ok(Page { releases, next })
        })
        .await
    }

    /// Caches the releases of a listing, which are the same as at their own addresses.
    fn keep_releases(&self, repo: &str, releases: &[Release]) {
        let mut kept = locked(&self.releases);
        for release in releases.iter().filter(|release| !release.draft) {
            let known = || Arc::new(OnceCell::new_with(Some(Arc::new(release.clone()))));
            kept.entry(self.tag_url(repo, &release.tag_name)).or_insert_with(known);
        }
    }

    fn tag_url(&self, repo: &str, tag: &str) -> String {
        format!("{}/repos/{repo}/releases/tags/{tag}", self.base)
    }

    /// The release of a tag. A draft is 404.
    pub(crate) async fn release(&self, repo: &str, tag: &str) -> Result<Arc<Release>, GithubError> {
        self.one_release(repo, &self.tag_url(repo, tag)).await
    }

    /// GitHub's latest release, which is neither a draft nor a prerelease.
    pub(crate) async fn latest(&self, repo: &str) -> Result<Arc<Release>, GithubError> {
        self.one_release(repo, &format!("{}/repos/{repo}/releases/latest", self.base)).await
    }

    async fn one_release(&self, repo: &str, url: &str) -> Result<Arc<Release>, GithubError> {
        keep(&self.releases, url, async {
            let reply = self.get(url).await?;
            let release: Release = parse(&reply)?;
            self.note_rename(repo, &reply, Some(&release)).await;
            Ok(release)
        })
        .await
    }

    /// The unverified provenance of a file by its digest (`sha256:…`): Sigstore bundles.
    pub(crate) async fn attestations(&self, repo: &str, digest: &str) -> Result<Vec<Value>, GithubError> {
        #[derive(Deserialize)]
        struct Attestations {
            attestations: Vec<Attestation>,
        }
        #[derive(Deserialize)]
        struct Attestation {
            #[serde(default)]
            bundle: Value,
        }
        let url = format!("{}/repos/{repo}/attestations/{digest}?predicate_type=provenance", self.base);
        match self.get(&url).await {
            // A file without attestations is 404, which is not in the store for --offline.
            Err(GithubError::NotFound { .. } | GithubError::Http(HttpError::Offline { .. })) => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(reply) => {
                let Attestations { attestations } = parse(&reply)?;
                Ok(attestations.into_iter().map(|one| one.bundle).filter(Value::is_object).collect())
            }
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let left = *locked(&self.left);
        Usage { calls: self.calls.load(Ordering::Relaxed), left }
    }

    /// Warnings about renamed repositories, and the rate limit.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let renamed = locked(&self.renamed);
        let warning = |(old, new): (&String, &Option<String>)| match new {
            Some(new) => {
                format!("warning: GitHub renamed `{old}` to `{new}`: change `repo` in stack.toml to \"{new}\"")
            }
            None => {
                format!("warning: GitHub renamed `{old}`: look at https://github.com/{old} for the new name")
            }
        };
        let left = locked(&self.left).map(|Left { remaining, limit, resets }| {
            let until = resets.format("%H:%M UTC");
            format!("note: GitHub's API has {remaining} of {limit} requests left until {until}")
        });
        renamed.iter().map(warning).chain(left).collect()
    }

    /// Sends a request, with retries; an error status is an error.
    async fn get(&self, url: &str) -> Result<Reply, GithubError> {
        let reply = self.follow(url).await?;
        if let Some(left) = Left::read(&reply.headers) {
            *locked(&self.left) = Some(left);
        }
        if reply.status.is_success() {
            return Ok(reply);
        }
        let Reply { status, headers, body, url, .. } = reply;
        Err(GithubError::refused(url, &Refusal { status, headers, body }, self.has_token))
    }

    /// Sends a request and follows redirects: a renamed repository answers 301 and `/repositories/<id>/…`. octocrab would
    /// follow them without the API's base address, and would not report them.
    async fn follow(&self, url: &str) -> Result<Reply, GithubError> {
        let mut url = url.to_owned();
        let mut redirected = None;
        for _ in 0..=REDIRECTS {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let response = self.octocrab._get(url.as_str()).await?;
            let (parts, body) = response.into_parts();
            let location = parts.headers.get("location").and_then(|value| value.to_str().ok());
            if let (true, Some(location)) = (parts.status.is_redirection(), location) {
                redirected = Some(location.to_owned());
                url = self.here(location);
                continue;
            }
            let body = body.collect().await?.to_bytes().to_vec();
            return Ok(Reply { status: parts.status, headers: parts.headers, body, url, redirected });
        }
        Err(GithubError::Redirects { url })
    }

    /// Rewrites an address in a reply to the API's base: links and redirects have `https://api.github.com` even behind a
    /// mirror.
    fn here(&self, url: &str) -> String {
        let at_base = |prefix: &str| {
            let rest = url.strip_prefix(prefix)?;
            rest.starts_with(['/', '?']).then(|| format!("{}{rest}", self.base))
        };
        at_base("").or_else(|| at_base(&self.base)).or_else(|| at_base(PUBLIC_API)).unwrap_or_else(|| {
            // Another host does not get the token.
            self.mirrors.rewrite(url)
        })
    }

    async fn note_rename(&self, repo: &str, reply: &Reply, release: Option<&Release>) {
        let Some(location) = &reply.redirected else { return };
        let full_name = match location.split_once("/repositories/") {
            Some((_, rest)) => self.full_name(rest).await,
            None => location.split_once("/repos/").and_then(|(_, rest)| repository_at(rest)),
        };
        let full_name = full_name.or_else(|| release.and_then(Release::repository)).filter(|name| name != repo);
        locked(&self.renamed).insert(repo.to_owned(), full_name);
    }

    /// The name of a repository, by what follows `/repositories/` in an address: its number, and more.
    async fn full_name(&self, rest: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Repository {
            full_name: String,
        }
        let id: u64 = rest.split(['/', '?']).next()?.parse().ok()?;
        let reply = self.follow(&format!("{}/repositories/{id}", self.base)).await.ok()?;
        let repository: Repository = serde_json::from_slice(&reply.body).ok()?;
        is_repository(&repository.full_name).then_some(repository.full_name)
    }
}

fn parse<T: DeserializeOwned>(reply: &Reply) -> Result<T, GithubError> {
    Ok(http::json(&reply.url, &reply.body)?)
}

/// The `rel="next"` address of a `Link` header (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"").then(|| address.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(mirrors: Mirrors) -> Http {
        Http::new(mirrors).unwrap()
    }

    #[tokio::test]
    async fn links_of_the_public_api_are_rewritten_to_the_base() {
        let client = Client::new(&http(Mirrors::default()), "http://127.0.0.1:1/api/v3", None).unwrap();
        for (given, asked) in [
            (
                "https://api.github.com/repositories/1/releases?page=2",
                "http://127.0.0.1:1/api/v3/repositories/1/releases?page=2",
            ),
            ("http://127.0.0.1:1/api/v3/repos/a/b", "http://127.0.0.1:1/api/v3/repos/a/b"),
            ("/repositories/1", "http://127.0.0.1:1/api/v3/repositories/1"),
            ("https://api.github.com.example/x", "https://api.github.com.example/x"),
        ] {
            assert_eq!(client.here(given), asked);
        }
    }

    #[tokio::test]
    async fn a_mirror_of_the_api_does_not_get_the_token() {
        let mirrors = Mirrors::new(vec!["https://api.github.com=http://127.0.0.1:1".parse().unwrap()]);
        let token = || Some(SecretString::from("secret".to_owned()));
        assert!(!Client::new(&http(mirrors), PUBLIC_API, token()).unwrap().has_token);
        assert!(Client::new(&http(Mirrors::default()), "http://127.0.0.1:1", token()).unwrap().has_token);
    }

    #[tokio::test]
    async fn an_invalid_api_address_is_refused() {
        for api in ["", "api.github.com", "ftp://api.github.com", "https://a b"] {
            assert!(Client::new(&http(Mirrors::default()), api, None).is_err(), "{api}");
        }
    }

    #[test]
    fn the_next_page_is_read_from_the_link_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(next_link(&headers), None);
        let link = "<https://api.github.com/r?page=1>; rel=\"prev\", <https://api.github.com/r?page=3>; rel=\"next\"";
        headers.insert("link", link.parse().unwrap());
        assert_eq!(next_link(&headers).as_deref(), Some("https://api.github.com/r?page=3"));
        headers.insert("link", "<https://api.github.com/r?page=1>; rel=\"first\"".parse().unwrap());
        assert_eq!(next_link(&headers), None);
    }
}
