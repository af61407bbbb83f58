//! An image under test, started as compose starts it, and requests to its services.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::Request;
use crate::domain::service::Endpoint;
use crate::domain::setting::Generator;
use crate::domain::stack::Stack;
use crate::engine::compose;
use crate::engine::container::{Container, Options, Volume};
use crate::engine::docker::Docker;
use crate::engine::probe;
use crate::io::http;

/// What all starts of a smoke test have in common.
#[derive(Debug)]
pub(super) struct Bench<'a> {
    pub(super) docker: &'a Docker,
    pub(super) stack: &'a Stack,
    pub(super) image: &'a str,
    /// llama.cpp's model.
    pub(super) model: PathBuf,
    /// Timeout of one of its turns, in seconds.
    pub(super) turn: u64,
    pub(super) web: Client,
    /// For files that are mounted; the container's user can read it.
    pub(super) scratch: &'a Path,
    /// Where screenshots and logs are written.
    pub(super) output: &'a Path,
    pub(super) quick: bool,
}

/// A container with the same port numbers inside and outside, as with compose.
#[derive(Debug)]
pub(super) struct Running<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) container: Container,
    options: Options,
    /// By the names of their settings.
    ports: BTreeMap<String, u16>,
    /// The generated secrets, by name.
    pub(super) secrets: BTreeMap<String, String>,
    pub(super) started: Instant,
}

/// For requests with quick responses; turns of a model have their own timeout.
const ONE_REQUEST: Duration = Duration::from_secs(20);
/// The ports, by their settings. That of Mission Control's page serves `/_stack`, too.
pub(super) const PAGE: &str = "MISSION_CONTROL_PORT";
pub(super) const DASHBOARD: &str = "CONVEX_DASHBOARD_PORT";
pub(super) const BACKEND: &str = "CONVEX_BACKEND_PORT";
pub(super) const SITE: &str = "CONVEX_SITE_PORT";
pub(super) const GATEWAY: &str = "OPENCLAW_PORT";
pub(super) const OPENCODE: &str = "OPENCODE_PORT";
pub(super) const MANAGER: &str = "MANAGER_PORT";
pub(super) const LLAMA: &str = "LLAMACPP_PORT";
/// The model's path in the container.
pub(super) const MODEL: &str = "/models/smoke.gguf";
/// The setting of llama.cpp's key.
pub(super) const LLAMA_KEY: &str = "LLAMACPP_API_KEY";

impl<'a> Bench<'a> {
    pub(super) fn new(request: &Request<'a>, scratch: &'a Path, model: PathBuf, turn: u64) -> anyhow::Result<Self> {
        http::install_tls();
        // All requests stay on this machine, whatever proxy its user has set.
        let web = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(ONE_REQUEST);
        let &Request { docker, stack, image, output, quick, .. } = request;
        Ok(Self { docker, stack, image, model, turn, web: web.build()?, scratch, output, quick })
    }

    /// Starts the image as compose would, with the model and further settings, without waiting until it is up.
    pub(super) async fn start(&'a self, volume: &Volume, more: &[(&str, &str)]) -> anyhow::Result<Running<'a>> {
        self.start_with(volume, more, |_| ()).await
    }

    /// Like [`start`](Self::start), with changed options.
    pub(super) async fn start_with(
        &'a self,
        volume: &Volume,
        more: &[(&str, &str)],
        change: impl FnOnce(&mut Options),
    ) -> anyhow::Result<Running<'a>> {
        // Other ports than the defaults: all references must follow.
        let ports = compose::free_ports(self.stack)?;
        // llama.cpp counts its tokens, which shows that a turn reached it.
        let given = [("LLAMACPP_MODEL", MODEL), ("LLAMA_ARG_ENDPOINT_METRICS", "1")];
        let given = given.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut options = Options {
            environment: ports.iter().map(|(name, port)| (name.clone(), port.to_string())).chain(given).collect(),
            ports: ports.values().map(|port| (*port, *port)).collect(),
            mounts: vec![format!("type=bind,source={},target={MODEL},readonly", self.model.display())],
            ..Options::default()
        };
        change(&mut options);
        let started = Instant::now();
        let container = self.container(volume, &options).await?;
        Ok(Running { bench: self, container, options, ports, secrets: BTreeMap::new(), started })
    }

    /// Starts a container of the image with those options only.
    pub(super) async fn container(&self, volume: &Volume, options: &Options) -> anyhow::Result<Container> {
        Container::start(self.docker, self.image, volume, options).await
    }

    /// Runs such a container to its end; returns its exit code and log.
    pub(super) async fn run(&self, volume: &Volume, options: &Options) -> anyhow::Result<(i32, String)> {
        let container = self.container(volume, options).await?;
        let ended = tokio::time::timeout(Duration::from_secs(60), container.wait()).await;
        Ok((ended.context("it does not end")??, container.logs().await?))
    }

    /// A random name that nothing else in the container's data has.
    pub(super) fn nonce() -> String {
        format!("smoke{:x}", fastrand::u64(..))
    }
}

impl Running<'_> {
    pub(super) fn port(&self, setting: &str) -> anyhow::Result<u16> {
        self.ports.get(setting).copied().with_context(|| format!("no service has the port {setting}"))
    }

    pub(super) fn address(&self, setting: &str) -> anyhow::Result<SocketAddr> {
        Ok((Ipv4Addr::LOCALHOST, self.port(setting)?).into())
    }

    /// Where the program behind the port listens in the container.
    pub(super) fn inner_port(&self, setting: &str) -> Option<u16> {
        self.bench.stack.endpoints().find(|it| it.setting == setting)?.inner
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.ports.values().copied()
    }

    /// The settings of all ports.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.bench.stack.endpoints().map(|endpoint| endpoint.setting.as_str())
    }

    /// The port's origin for browsers: `http://127.0.0.1:PORT`, or the same with https.
    pub(super) fn origin(&self, setting: &str) -> anyhow::Result<String> {
        let scheme = if self.options.environment.contains_key("TLS_CERT_FILE") { "https" } else { "http" };
        Ok(format!("{scheme}://127.0.0.1:{}", self.port(setting)?))
    }

    pub(super) fn get(&self, setting: &str, path: &str) -> anyhow::Result<RequestBuilder> {
        Ok(self.bench.web.request(Method::GET, format!("{}{path}", self.origin(setting)?)))
    }

    pub(super) fn post(&self, setting: &str, path: &str, body: &Value) -> anyhow::Result<RequestBuilder> {
        Ok(self.bench.web.request(Method::POST, format!("{}{path}", self.origin(setting)?)).json(body))
    }

    /// A generated secret, by the image's `secrets` command.
    pub(super) fn secret(&self, name: &str) -> anyhow::Result<&str> {
        self.secrets.get(name).map(String::as_str).with_context(|| format!("the image has no secret {name}"))
    }

    /// Waits until every port answers and the container is healthy.
    pub(super) async fn up(&self) -> anyhow::Result<(Vec<probe::Answered>, f64)> {
        let up = async {
            let answered = self.ask_ports(self.started).await?;
            let healthy_after = probe::wait_healthy(&self.container, self.started).await?;
            Ok((answered, healthy_after))
        };
        tokio::select! {
            result = up => result,
            failed = self.given_up() => Err(failed),
        }
    }

    /// The same, in words.
    pub(super) async fn healthy(&self) -> anyhow::Result<String> {
        let (_, healthy_after) = self.up().await?;
        Ok(format!("healthy after {healthy_after:.1} s"))
    }

    /// The status of a request that a process in the container sends; `words` are curl's arguments.
    pub(super) async fn curl(&self, words: &[&str]) -> anyhow::Result<String> {
        let curl = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
        self.container.exec(&[&curl[..], words].concat()).await
    }

    /// Runs a module with Node.js in the container; returns the JSON that it prints.
    pub(super) async fn node(&self, module: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let node = ["node", "--input-type=module", "-e", module];
        Ok(serde_json::from_str(&self.container.exec(&[&node[..], arguments].concat()).await?)?)
    }

    /// Waits until no service has a problem according to `status`.
    pub(super) async fn settled(&self) -> anyhow::Result<()> {
        until(|| async { Ok((self.container.try_exec(&["status", "--check"]).await?.code == 0).then_some(())) }).await
    }

    /// Requests every port until it answers; times count from `since`.
    pub(super) async fn ask_ports(&self, since: Instant) -> anyhow::Result<Vec<probe::Answered>> {
        let address = async |endpoint: &Endpoint| self.address(&endpoint.setting);
        probe::ask_all(&self.container, self.bench.stack, since, address).await
    }

    /// Replaces the container by a new one with the same settings, on the volume.
    pub(super) async fn replace(&mut self, volume: &Volume) -> anyhow::Result<()> {
        // The ports must be free for the new container.
        self.container.remove().await?;
        self.started = Instant::now();
        self.container = self.bench.container(volume, &self.options).await?;
        Ok(())
    }

    /// Returns when a service has failed according to `status`: waiting longer is in vain.
    async fn given_up(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            // Early in the start, `status` may not work yet.
            let Ok(status) = self.container.status().await else { continue };
            let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
            let failed = services(&status).iter().filter(|it| it["state"] == "failed");
            let failed = failed.map(|it| format!("{} failed: {}", text(&it["name"]), text(&it["detail"])));
            if let Err(failed) = ensure_none("", "; ", failed) {
                return failed;
            }
        }
    }

    /// Reads all generated secrets from the image.
    pub(super) async fn read_secrets(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let listed = self.container.exec(&["secrets"]).await?;
        let mut secrets = BTreeMap::new();
        for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
            secrets.insert(name.to_owned(), self.container.exec(&["secrets", name]).await?);
        }
        for setting in self.bench.stack.settings.iter().filter(|setting| setting.generated.is_some()) {
            let value = secrets.get(&setting.name).with_context(|| format!("{} was not made", setting.name))?;
            let length = match setting.generated {
                Some(Generator::Hex64) => 64,
                Some(Generator::Token) => 40,
                Some(Generator::Jwt) => 1000,
                Some(Generator::ConvexAdminKey) | None => 20,
            };
            let (name, found) = (&setting.name, value.len());
            ensure!(found >= length, "{name} is {found} characters long, which is not a secret of its kind");
        }
        Ok(secrets)
    }

    /// Returns which programs are stand-ins of the rehearsal, by their version.
    pub(super) async fn stand_ins(&self) -> anyhow::Result<String> {
        let status = self.container.status().await?;
        let parts = services(&status).iter().filter(|it| it["standIn"] == true);
        let parts: Vec<&str> = parts.filter_map(|it| it["name"].as_str()).collect();
        Ok(if parts.is_empty() { "nothing: all is real".to_owned() } else { parts.join(", ") })
    }
}

/// The services in the output of `status --json`.
pub(super) fn services(status: &Value) -> &[Value] {
    status["services"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// One of them.
pub(super) fn service<'a>(status: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    services(status).iter().find(|it| it["name"] == name).with_context(|| format!("{name} is not listed"))
}

/// A response of any status, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    /// Returns the response if it has that status, else an error.
    pub(super) fn expect(self, status: u16) -> anyhow::Result<Self> {
        ensure!(self.status == status, "it answers {} instead of {status}: {}", self.status, start_of(&self.body));
        Ok(self)
    }

    pub(super) fn content_type(&self) -> &str {
        self.headers.get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("it is not JSON: {}", start_of(&self.body)))
    }
}

/// Sends a request; a response of any status counts.
pub(super) async fn ask(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.text().await? })
}

/// Fails with all that was found, if anything was; `what` precedes the list.
pub(super) fn ensure_none<T: ToString>(
    what: &str,
    separator: &str,
    found: impl IntoIterator<Item = T>,
) -> anyhow::Result<()> {
    let found: Vec<String> = found.into_iter().map(|it| it.to_string()).collect();
    ensure!(found.is_empty(), "{what}{}", found.join(separator));
    Ok(())
}

/// The start of a text, to recognize it.
pub(super) fn start_of(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(200) {
        Some((end, _)) => format!("{} ...", &flat[..end]),
        None => flat,
    }
}

/// Polls until there is a value; the timeout of the check around it ends the wait.
pub(super) async fn until<T, F: Future<Output = anyhow::Result<Option<T>>>>(
    mut question: impl FnMut() -> F,
) -> anyhow::Result<T> {
    loop {
        if let Some(answer) = question().await? {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
