//! An image under test, started as compose starts it, and requests to its services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::Request;
use crate::domain::setting::Generator;
use crate::domain::stack::Stack;
use crate::engine::compose;
use crate::engine::container::{Container, Options, Volume};
use crate::engine::docker::Docker;
use crate::engine::probe::{self, Target};
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
/// The port of Mission Control's page, which serves `/_stack` too.
pub(super) const PAGE: &str = "MISSION_CONTROL_PORT";
/// The model's path in the container.
pub(super) const MODEL: &str = "/models/smoke.gguf";

impl<'a> Bench<'a> {
    pub(super) fn new(request: &Request<'a>, scratch: &'a Path, model: PathBuf, turn: u64) -> anyhow::Result<Self> {
        http::install_tls();
        // All requests stay on this machine, whatever proxy its user has set.
        let web = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(ONE_REQUEST);
        let &Request { docker, stack, image, output, quick, .. } = request;
        Ok(Self { docker, stack, image, model, turn, web: web.build()?, scratch, output, quick })
    }

    /// Other ports than the defaults: all references must follow.
    pub(super) fn moved_ports(&self) -> anyhow::Result<BTreeMap<String, u16>> {
        compose::free_ports(self.stack)
    }

    /// Starts the image on a volume, without waiting until it is up.
    pub(super) async fn start(
        &'a self,
        volume: &Volume,
        ports: BTreeMap<String, u16>,
        more: &[(&str, String)],
    ) -> anyhow::Result<Running<'a>> {
        let options = self.options(&ports, more);
        self.launch(volume, ports, options).await
    }

    /// The options that compose would start it with, on those ports, with the model and further settings.
    pub(super) fn options(&self, ports: &BTreeMap<String, u16>, more: &[(&str, String)]) -> Options {
        let mut environment: BTreeMap<String, String> =
            ports.iter().map(|(setting, port)| (setting.clone(), port.to_string())).collect();
        let given = [
            ("LLAMACPP_MODEL", MODEL),
            // llama.cpp counts its tokens, which shows that a turn reached it.
            ("LLAMA_ARG_ENDPOINT_METRICS", "1"),
        ];
        environment.extend(given.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Options {
            environment,
            ports: ports.values().map(|port| (*port, *port)).collect(),
            mounts: vec![format!("type=bind,source={},target={MODEL},readonly", self.model.display())],
            ..Options::default()
        }
    }

    pub(super) async fn launch(
        &'a self,
        volume: &Volume,
        ports: BTreeMap<String, u16>,
        options: Options,
    ) -> anyhow::Result<Running<'a>> {
        let started = Instant::now();
        let container = Container::start(self.docker, self.image, volume, &options).await?;
        Ok(Running { bench: self, container, options, ports, secrets: BTreeMap::new(), started })
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

    /// Requests every port until it answers; times count from `since`.
    pub(super) async fn ask_ports(&self, since: Instant) -> anyhow::Result<Vec<probe::Answered>> {
        let mut targets = Vec::new();
        for service in &self.bench.stack.services {
            for endpoint in &service.endpoints {
                let address = SocketAddr::from(([127, 0, 0, 1], self.port(&endpoint.setting)?));
                targets.push(Target { service: &service.name, endpoint, address });
            }
        }
        probe::ask_all(&self.container, &targets, since).await
    }

    /// Replaces the container by a new one with the same settings, on the volume.
    pub(super) async fn replace(&mut self, volume: &Volume) -> anyhow::Result<()> {
        // The ports must be free for the new container.
        self.container.remove().await?;
        self.started = Instant::now();
        self.container = Container::start(self.bench.docker, self.bench.image, volume, &self.options).await?;
        Ok(())
    }

    /// Returns when a service has failed according to `status`: waiting longer is in vain.
    async fn given_up(&self) -> anyhow::Error {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            // Early in the start, `status` may not work yet.
            let Ok(status) = self.status().await else { continue };
            let failed: Vec<String> = failed(&status).collect();
            if !failed.is_empty() {
                return anyhow::anyhow!("{}", failed.join("; "));
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
            if value.len() < length {
                bail!("{} is {} characters long, which is not a secret of its kind", setting.name, value.len());
            }
        }
        Ok(secrets)
    }

    /// Returns which programs are stand-ins of the rehearsal, by their version.
    pub(super) async fn stand_ins(&self) -> anyhow::Result<String> {
        let status = self.status().await?;
        let services = status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parts: Vec<&str> =
            services.iter().filter(|it| it["standIn"] == true).filter_map(|it| it["name"].as_str()).collect();
        Ok(if parts.is_empty() { "nothing: all is real".to_owned() } else { parts.join(", ") })
    }

    /// The output of `status --json`.
    pub(super) async fn status(&self) -> anyhow::Result<Value> {
        // It exits with 1 when a service is down, but prints the status as well.
        let ended = self.container.try_exec(&["status", "--json"]).await?;
        serde_json::from_str(&ended.output)
            .with_context(|| format!("the output of `status --json` is {:?}", ended.output))
    }
}

/// Services that have failed, with the reason, in the output of `status --json`.
fn failed(status: &Value) -> impl Iterator<Item = String> {
    let services = status["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed = services.iter().filter(|service| service["state"] == "failed");
    failed.map(|it| format!("{} failed: {}", it["name"].as_str().unwrap_or("?"), it["detail"].as_str().unwrap_or("?")))
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
        if self.status != status {
            bail!("it answers {} instead of {status}: {}", self.status, start_of(&self.body));
        }
        Ok(self)
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
