//! Starts an image as its users do, and requests every port of the service table.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::join_all;
use serde::Serialize;

use super::container::{Container, Options, Volume};
use super::docker::Docker;
use super::loaded::Loaded;
use crate::domain::service::Endpoint;
use crate::domain::stack::Stack;
use crate::error;
use crate::io::{http, process};

/// Timeout until all services are up: OpenClaw alone takes half a minute on two cores.
const PATIENCE: Duration = Duration::from_secs(300);
/// OpenCode never responds to some requests of its first seconds, so a probe must time out and retry.
const ONE_REQUEST: Duration = Duration::from_secs(3);

/// A port that has responded.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answered {
    pub(crate) service: String,
    pub(crate) port: u16,
    pub(crate) status: u16,
    /// From the container's start to the first accepted response.
    pub(crate) seconds: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Probed {
    pub(crate) answered: Vec<Answered>,
    /// From the container's start until it was healthy.
    pub(crate) healthy_after: f64,
    /// The duration of `docker stop`.
    pub(crate) stopped_after: f64,
}

impl Probed {
    pub(crate) fn summary(&self) -> String {
        let ports: Vec<String> = self.answered.iter().map(|answered| answered.port.to_string()).collect();
        format!(
            "{} ports answered ({}); healthy after {:.1} s, stopped in {:.1} s",
            ports.len(),
            ports.join(" "),
            self.healthy_after,
            self.stopped_after
        )
    }
}

/// Loads the image of a layout and probes it like [`image`].
pub(crate) async fn layout(docker: &Docker, stack: &Stack, layout: &Path) -> anyhow::Result<Probed> {
    let loaded = Loaded::from_layout(docker, layout).await?;
    image(docker, stack, loaded.name()).await
}

/// Starts an image of the engine, requests every port, waits for its health check, and stops it.
pub(crate) async fn image(docker: &Docker, stack: &Stack, image: &str) -> anyhow::Result<Probed> {
    let ports = stack.endpoints().map(|it| (it.port, 0)).collect();
    let volume = Volume::create(docker, &[]).await?;
    let options = Options { ports, environment: stack.example_settings(), ..Options::default() };
    let started = Instant::now();
    let container = Container::start(docker, image, &volume, &options).await?;
    match probed(&container, stack, started).await {
        Err(error) => Err(error.context(last_words(&container).await)),
        probed => probed,
    }
}

async fn probed(container: &Container, stack: &Stack, started: Instant) -> anyhow::Result<Probed> {
    let answered = ask_all(container, stack, started, async |endpoint| container.address(endpoint.port).await).await?;
    let healthy_after = wait_healthy(container, started).await?;
    let stopping = Instant::now();
    let exit_code = container.stop().await?;
    // 137: it did not stop in time and was killed.
    ensure!(exit_code == 0, "the container ended with exit code {exit_code} when it was stopped");
    Ok(Probed { answered, healthy_after, stopped_after: stopping.elapsed().as_secs_f64() })
}

/// The end of a container's log, for an error.
pub(crate) async fn last_words(container: &Container) -> String {
    let logs = container.logs().await.unwrap_or_default();
    format!("the end of the container's log:\n    {}", process::tail(&logs, 25))
}

/// Requests every port until all have responded; the error names those that have not. `address` is where a port of the
/// table is published.
pub(crate) async fn ask_all(
    container: &Container,
    stack: &Stack,
    started: Instant,
    address: impl AsyncFn(&Endpoint) -> anyhow::Result<SocketAddr>,
) -> anyhow::Result<Vec<Answered>> {
    let client = client()?;
    let answer = async |service: &str, endpoint: &Endpoint| {
        let asked = async {
            let url = format!("http://{}{}", address(endpoint).await?, endpoint.path);
            ask(&client, container, &url, endpoint, started).await
        };
        let status = asked.await.with_context(|| format!("`{service}` does not answer on port {}", endpoint.port))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Answered { service: service.to_owned(), port: endpoint.port, status, seconds })
    };
    let mut answers = Vec::new();
    for service in &stack.services {
        answers.extend(service.endpoints.iter().map(|endpoint| answer(&service.name, endpoint)));
    }
    error::all(join_all(answers).await)
}

/// A client for ports of this machine, which ignores its user's proxy.
pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    http::install_tls();
    let client = reqwest::Client::builder().timeout(ONE_REQUEST).redirect(reqwest::redirect::Policy::none());
    Ok(client.no_proxy().build()?)
}

/// Returns the status if the table accepts it, or else a description of the response.
pub(super) async fn ask_once(client: &reqwest::Client, url: &str, endpoint: &Endpoint) -> Result<u16, String> {
    match client.get(url).send().await {
        Ok(response) if endpoint.accept.contains(&response.status().as_u16()) => Ok(response.status().as_u16()),
        Ok(response) => Err(format!("status {}", response.status())),
        Err(error) => Err(error.without_url().to_string()),
    }
}

async fn ask(
    client: &reqwest::Client,
    container: &Container,
    url: &str,
    endpoint: &Endpoint,
    started: Instant,
) -> anyhow::Result<u16> {
    let mut last = String::from("no answer");
    while started.elapsed() < PATIENCE {
        match ask_once(client, url, endpoint).await {
            Ok(status) => return Ok(status),
            Err(why) => last = why,
        }
        let health = container.health().await?;
        ensure!(matches!(health.as_str(), "starting" | "healthy" | "unhealthy"), "the container is {health}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    bail!("no accepted response to GET {} within {} s: {last}", endpoint.path, PATIENCE.as_secs())
}

/// Waits until the image's health check succeeds.
pub(crate) async fn wait_healthy(container: &Container, started: Instant) -> anyhow::Result<f64> {
    loop {
        let health = container.health().await?;
        match health.as_str() {
            "healthy" => return Ok(started.elapsed().as_secs_f64()),
            "starting" | "unhealthy" if started.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            "starting" | "unhealthy" => {
                let status = container.try_exec(&["status", "--check"]).await?;
                bail!("the container is {health} after {} s: {}", started.elapsed().as_secs(), status.output.trim());
            }
            other => bail!("the container is {other} after {} s", started.elapsed().as_secs()),
        }
    }
}
