//! GitHub's REST API through octocrab: where it is, who asks, what a refusal means.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::BodyExt as _;
use octocrab::Octocrab;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use super::error::GithubError;
use super::release::Release;
use crate::domain::mirror::Mirrors;
use crate::io::http;

const PUBLIC_API: &str = "https://api.github.com";
/// The most that GitHub gives (docs.github.com, "List releases").
const PER_PAGE: u32 = 100;
const REDIRECTS: usize = 5;
/// As for other downloads: a connection that breaks or a 5xx may pass.
const TRIES: u32 = 3;

/// One page of a listing.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) releases: Vec<Release>,
    /// Where the next page is (`Link: …; rel="next"`).
    pub(crate) next: Option<String>,
}

/// The client of one run. Pages and releases are kept for the run, because several components come from
/// one repository and an hour has 60 requests for who has no token.
pub(crate) struct Client {
    octocrab: Octocrab,
    /// Without a final `/`.
    base: String,
    mirrors: Mirrors,
    has_token: bool,
    pages: Kept<Page>,
    releases: Kept<Release>,
    /// Repositories that have moved: the name in `stack.toml`, and the new one where GitHub tells it.
    renamed: Mutex<BTreeMap<String, Option<String>>>,
}

/// Replies by address. The cell lets whoever asks second wait for the first instead of asking too.
type Kept<T> = Mutex<BTreeMap<String, Arc<OnceCell<Arc<T>>>>>;

/// A reply, before anyone looked at its body.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Where it came from after redirects.
    url: String,
    redirected: Option<String>,
}

impl Client {
    /// `GITHUB_API_URL` says where the API is (GitHub's own variable, set in Actions too); `GITHUB_TOKEN`,
    /// then `GH_TOKEN`, hold the token.
    pub(crate) fn from_env(mirrors: &Mirrors) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let api = variable("GITHUB_API_URL").unwrap_or_else(|| PUBLIC_API.to_owned());
        let token = variable("GITHUB_TOKEN").or_else(|| variable("GH_TOKEN"));
        Self::new(mirrors, api.trim_end_matches('/'), token.map(|token| SecretString::from(token.trim().to_owned())))
    }

    fn new(mirrors: &Mirrors, api: &str, token: Option<SecretString>) -> anyhow::Result<Self> {
        http::install_tls();
        let base = mirrors.rewrite(api);
        if !base.starts_with("https://") && !base.starts_with("http://") {
            bail!("GITHUB_API_URL is no http(s) address: {}", base.escape_debug());
        }
        // Only the API gets the token: a mirror is somebody else, even when it answers in the API's place.
        let token = token.filter(|_| base == api);
        let mut builder = Octocrab::builder()
            .base_uri(base.as_str())
            .with_context(|| format!("GITHUB_API_URL or its mirror is no address: {base}"))?
            .set_connect_timeout(Some(Duration::from_secs(10)))
            .set_read_timeout(Some(Duration::from_secs(30)));
        let has_token = token.is_some();
        if let Some(token) = token {
            builder = builder.personal_token(token);
        }
        let octocrab = builder.build().context("cannot set up the client of GitHub's API")?;
        let mirrors = mirrors.clone();
        let (pages, releases, renamed) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { octocrab, base, mirrors, has_token, pages, releases, renamed })
    }

    /// The first page of a repository's releases.
    pub(crate) async fn first_page(&self, repo: &str) -> Result<Arc<Page>, GithubError> {
        match self.page(repo, &format!("{}/repos/{repo}/releases?per_page={PER_PAGE}", self.base)).await {
            Err(GithubError::NotFound { url }) => Err(GithubError::NoRepository { repo: repo.to_owned(), url }),
            result => result,
        }
    }

    /// A page whose address came with the one before.
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

    /// A listing tells all that the release's own address would: whoever asks for one of them next is spared
    /// the request.
    fn keep_releases(&self, repo: &str, releases: &[Release]) {
        let mut kept = self.releases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for release in releases.iter().filter(|release| !release.draft) {
            let known = || Arc::new(OnceCell::new_with(Some(Arc::new(release.clone()))));
            kept.entry(self.tag_url(repo, &release.tag_name)).or_insert_with(known);
        }
    }

    fn tag_url(&self, repo: &str, tag: &str) -> String {
        format!("{}/repos/{repo}/releases/tags/{tag}", self.base)
    }

    /// The release of a tag. A draft is 404 here (facts: `github_api.json`).
    pub(crate) async fn release(&self, repo: &str, tag: &str) -> Result<Arc<Release>, GithubError> {
        self.one_release(repo, &self.tag_url(repo, tag)).await
    }

    /// The release that GitHub calls the latest: neither draft nor prerelease.
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

    /// What the people who keep `stack.toml` should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let renamed = self.renamed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let warning = |(old, new): (&String, &Option<String>)| match new {
            Some(new) => {
                format!("warning: GitHub renamed `{old}` to `{new}`: change `repo` in stack.toml to \"{new}\"")
            }
            None => {
                format!("warning: GitHub renamed `{old}`, and does not say to what: look at https://github.com/{old}")
            }
        };
        renamed.iter().map(warning).collect()
    }

    /// Asks until there is an answer that is not about the connection, and makes refusals errors.
    async fn get(&self, url: &str) -> Result<Reply, GithubError> {
        let mut pause = Duration::from_millis(200);
        let mut tries = 1;
        let reply = loop {
            match self.follow(url).await {
                Err(GithubError::Unreachable { .. }) if tries < TRIES => {}
                Ok(reply) if reply.status.is_server_error() && tries < TRIES => {}
                result => break result?,
            }
            tries += 1;
            tokio::time::sleep(pause).await;
            pause *= 4;
        };
        if reply.status.is_success() {
            return Ok(reply);
        }
        Err(GithubError::refused(&reply.url, reply.status, &reply.headers, &reply.body, self.has_token))
    }

    /// One request, with its redirects: a renamed repository answers 301 and `/repositories/<id>/…`.
    /// octocrab would follow by itself, but not back to the API's base address, and would not tell.
    async fn follow(&self, url: &str) -> Result<Reply, GithubError> {
        let mut url = url.to_owned();
        let mut redirected = None;
        for _ in 0..=REDIRECTS {
            let unreachable = |source| GithubError::Unreachable { url: url.clone(), source: Box::new(source) };
            let response = self.octocrab._get(url.as_str()).await.map_err(unreachable)?;
            let (parts, body) = response.into_parts();
            let location = parts.headers.get("location").and_then(|value| value.to_str().ok());
            if let (true, Some(location)) = (parts.status.is_redirection(), location) {
                redirected = Some(location.to_owned());
                url = self.here(location);
                continue;
            }
            let body = body.collect().await.map_err(unreachable)?.to_bytes().to_vec();
            return Ok(Reply { status: parts.status, headers: parts.headers, body, url, redirected });
        }
        Err(GithubError::Redirects { url })
    }

    /// An address that the API gave, at the API's base: GitHub writes `https://api.github.com` into links
    /// and redirects, also where it is reached through a mirror.
    fn here(&self, url: &str) -> String {
        let at_base = |prefix: &str| {
            let rest = url.strip_prefix(prefix)?;
            rest.starts_with(['/', '?']).then(|| format!("{}{rest}", self.base))
        };
        at_base("").or_else(|| at_base(&self.base)).or_else(|| at_base(PUBLIC_API)).unwrap_or_else(|| {
            // Another host. octocrab sends the token to the base's host only.
            self.mirrors.rewrite(url)
        })
    }

    async fn note_rename(&self, repo: &str, reply: &Reply, release: Option<&Release>) {
        let Some(location) = &reply.redirected else { return };
        let full_name = match repository_path(location) {
            Some(RepositoryPath::Name(name)) => Some(name),
            Some(RepositoryPath::Id(path)) => self.full_name(&path).await,
            None => None,
        };
        let full_name = full_name.or_else(|| release.and_then(Release::repository)).filter(|name| name != repo);
        self.renamed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(repo.to_owned(), full_name);
    }

    async fn full_name(&self, path: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Repository {
            full_name: String,
        }
        let reply = self.follow(&format!("{}{path}", self.base)).await.ok()?;
        let repository: Repository = serde_json::from_slice(&reply.body).ok()?;
        super::is_repository(&repository.full_name).then_some(repository.full_name)
    }
}

/// Gives what is kept under an address, or asks for it. A failure is not kept.
async fn keep<T>(
    kept: &Kept<T>,
    url: &str,
    ask: impl Future<Output = Result<T, GithubError>>,
) -> Result<Arc<T>, GithubError> {
    let cell = {
        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(kept.entry(url.to_owned()).or_default())
    };
    cell.get_or_try_init(|| async { ask.await.map(Arc::new) }).await.cloned()
}

fn parse<T: DeserializeOwned>(reply: &Reply) -> Result<T, GithubError> {
    serde_json::from_slice(&reply.body).map_err(|source| GithubError::Json { url: reply.url.clone(), source })
}

/// The `rel="next"` address of a `Link` header (RFC 8288, as GitHub writes it).
fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get("link")?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"").then(|| address.to_owned())
    })
}

enum RepositoryPath {
    /// `owner/name`.
    Name(String),
    /// `/repositories/<id>`.
    Id(String),
}

/// Which repository an address of the API is about.
fn repository_path(location: &str) -> Option<RepositoryPath> {
    if let Some((_, rest)) = location.split_once("/repositories/") {
        let id = rest.split(['/', '?']).next().filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))?;
        return Some(RepositoryPath::Id(format!("/repositories/{id}")));
    }
    let (_, rest) = location.split_once("/repos/")?;
    let mut parts = rest.split(['/', '?']);
    let name = format!("{}/{}", parts.next()?, parts.next()?);
    super::is_repository(&name).then_some(RepositoryPath::Name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn links_of_the_public_api_lead_back_to_the_base() {
        let client = Client::new(&Mirrors::default(), "http://127.0.0.1:1/api/v3", None).unwrap();
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
        assert!(!Client::new(&mirrors, PUBLIC_API, token()).unwrap().has_token);
        assert!(Client::new(&Mirrors::default(), "http://127.0.0.1:1", token()).unwrap().has_token);
    }

    #[tokio::test]
    async fn an_api_that_is_no_address_is_refused() {
        for api in ["", "api.github.com", "ftp://api.github.com", "https://a b"] {
            assert!(Client::new(&Mirrors::default(), api, None).is_err(), "{api}");
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
