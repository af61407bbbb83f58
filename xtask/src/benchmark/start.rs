//! The time to start all services together, each by itself, and all one after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::machine::Ticks;
use crate::domain::service::Service;
use crate::domain::stack::Stack;
use crate::engine::container::{Container, Options, Volume};
use crate::engine::docker::Docker;
use crate::engine::probe;

/// Timeout of a start.
const PATIENCE: Duration = Duration::from_secs(600);
/// The model's path in the container.
const MODEL: &str = "/models/benchmark.gguf";
/// It starts with the container in every order: the container's start creates the admin key that others need, and only
/// when Convex is on.
const FIRST: &str = "convex";

/// Waits for the services of its arguments, then prints when each became ready. It waits for s6's notifications and
/// sends no requests, which would take part of the measured time. Each service's check has left a mark file when it
/// succeeded.
const WAIT: &str = r#"
until s6-svwait -U "${@/#//run/stack/scan/}" 2>/dev/null; do sleep 0.1; done
for name; do printf 'ready %s %s\n' "$name" "$(stat --format %.Y "/run/stack/state/$name/ready")"; done
"#;

/// Starts services one after the other, like hand-written start scripts: each starts when the previous one answers a
/// request, sent every two seconds. Five arguments per service: name, port, path, accepted codes, timeout of a request
/// in seconds. Without a port it waits for the service to become ready, as a script waits for a command.
const ONE_AFTER_THE_OTHER: &str = r#"
while (($# > 0)); do
	until s6-svc -u "/run/stack/scan/$1" 2>/dev/null; do sleep 0.1; done
	if [ -z "$2" ]; then
		s6-svwait -U "/run/stack/scan/$1"
	else
		until code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time "$5" --noproxy '*' \
			"http://127.0.0.1:$2$3") && [[ " $4 " == *" $code "* ]]; do
			sleep 2
		done
	fi
	printf 'ready %s %s\n' "$1" "$EPOCHREALTIME"
	shift 5
done
"#;

/// The end of both scripts: prints the clock, and the container's processor time by either version of control groups.
const NOW: &str = r#"
printf 'now %s\n' "$EPOCHREALTIME"
if [ -e /sys/fs/cgroup/cpu.stat ]; then
	grep usage_usec /sys/fs/cgroup/cpu.stat || true
elif [ -e /sys/fs/cgroup/cpuacct/cpuacct.usage ]; then
	printf 'usage_nsec %s\n' "$(</sys/fs/cgroup/cpuacct/cpuacct.usage)"
fi
"#;

/// What is started, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "way", content = "service", rename_all = "kebab-case")]
pub(crate) enum Way {
    Together,
    /// All together, on the volume of an earlier start.
    Again,
    OneAfterTheOther,
    /// One service, with all others off except those that it needs.
    Alone(String),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Together => f.pad("all together"),
            Self::Again => f.pad("all together, again"),
            Self::OneAfterTheOther => f.pad("one after the other"),
            Self::Alone(service) => f.pad(&format!("{service} alone")),
        }
    }
}

/// Figures of one start, from `docker run` with a new volume.
#[derive(Debug, Serialize)]
pub(crate) struct Timed {
    #[serde(flatten)]
    pub(crate) way: Way,
    /// Seconds until the last service was ready.
    pub(crate) seconds: f64,
    /// Seconds until each was ready.
    pub(crate) ready: BTreeMap<String, f64>,
    /// The container's processor seconds until then.
    pub(crate) cpu_seconds: Option<f64>,
    /// The share of the machine that other processes used meanwhile.
    pub(crate) others: Option<f64>,
}

/// What all starts have in common.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) stack: &'a Stack,
    pub(crate) image: &'a str,
    /// llama.cpp's model; without one it starts as a router.
    pub(crate) model: Option<&'a Path>,
    pub(crate) cores: usize,
}

/// A running container. Fields drop in order: the container before its volume.
#[derive(Debug)]
pub(crate) struct Up {
    pub(crate) container: Container,
    _volume: Volume,
}

impl Bench<'_> {
    /// All ways, in the order of the table.
    pub(crate) fn ways(&self) -> Vec<Way> {
        let alone = self.with_switch().map(|service| Way::Alone(service.name.clone()));
        [Way::Together, Way::Again, Way::OneAfterTheOther].into_iter().chain(alone).collect()
    }

    /// The services that can be switched off; sites have no switch.
    fn with_switch(&self) -> impl Iterator<Item = &Service> {
        self.stack.services.iter().filter(|service| service.switch.is_some() && !service.is_site())
    }

    /// The services that are on while `name` is measured: itself and all that it needs, transitively.
    pub(crate) fn company(&self, name: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        let mut left = vec![name];
        while let Some(name) = left.pop() {
            let Some(service) = self.stack.services.iter().find(|service| service.name == name) else { continue };
            if !found.contains(&service.name.as_str()) {
                found.push(&service.name);
                left.extend(service.requires());
            }
        }
        found
    }

    /// Starts the image and waits until the services are ready.
    pub(crate) async fn start(&self, way: &Way) -> anyhow::Result<(Timed, Up)> {
        let volume = Volume::create(self.docker, &[]).await?;
        if *way == Way::Again {
            let (_, container) = self.start_on(&volume, &Way::Together).await?;
            container.stop().await?;
            container.remove().await?;
        }
        let (timed, container) = self.start_on(&volume, way).await?;
        Ok((timed, Up { container, _volume: volume }))
    }

    async fn start_on(&self, volume: &Volume, way: &Way) -> anyhow::Result<(Timed, Container)> {
        let (options, words) = (self.options(way), self.words(way)?);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let before = Ticks::now();
        let started = Instant::now();
        let container = Container::start(self.docker, self.image, volume, &options).await?;
        let output = match tokio::time::timeout(PATIENCE, container.exec(&words)).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err(error.context(probe::last_words(&container).await)),
            Err(_) => {
                let status = container.try_exec(&["status", "--check"]).await?.output;
                let words = probe::last_words(&container).await;
                bail!("not up after {} s: {}\n{words}", PATIENCE.as_secs(), status.trim());
            }
        };
        // Both clocks are read at the same time, except for the end of `docker exec`, so the engine may run on a
        // machine with another clock.
        let elapsed = started.elapsed().as_secs_f64();
        let readings =
            Readings::parse(&output).with_context(|| format!("cannot read when services were ready: {output}"))?;
        let ready: BTreeMap<String, f64> =
            readings.ready.into_iter().map(|(name, moment)| (name, elapsed - (readings.now - moment))).collect();
        let seconds = ready.values().copied().fold(0.0, f64::max);
        let others = Ticks::now().zip(before).zip(readings.cpu_seconds);
        let others = others.and_then(|((after, before), cpu)| after.others(before, cpu, self.cores, elapsed));
        if *way != Way::OneAfterTheOther {
            self.confirm(&container, ready.keys()).await?;
        }
        Ok((Timed { way: way.clone(), seconds, ready, cpu_seconds: readings.cpu_seconds, others }, container))
    }

    fn options(&self, way: &Way) -> Options {
        let on: Vec<&str> = match way {
            Way::Together | Way::Again => self.stack.services.iter().map(|service| service.name.as_str()).collect(),
            Way::OneAfterTheOther => vec![FIRST],
            Way::Alone(name) => self.company(name),
        };
        let mut options = Options::default();
        for service in &self.stack.services {
            // Services may share a switch: it is on if one of them is.
            let Some(switch) = &service.switch else { continue };
            let is_on = on.contains(&service.name.as_str());
            if is_on || !options.environment.contains_key(switch) {
                options.environment.insert(switch.clone(), is_on.to_string());
            }
        }
        if let Some(model) = self.model {
            options.environment.insert("LLAMACPP_MODEL".to_owned(), MODEL.to_owned());
            options.mounts.push(format!("type=bind,source={},target={MODEL},readonly", model.display()));
        }
        options
    }

    /// The command that runs inside the container to start the services or wait for them.
    fn words(&self, way: &Way) -> anyhow::Result<Vec<String>> {
        let services = self.stack.services.iter().filter(|service| !service.is_site());
        let (script, arguments): (&str, Vec<String>) = match way {
            Way::Together | Way::Again => (WAIT, services.map(|service| service.name.clone()).collect()),
            Way::Alone(name) => (WAIT, self.company(name).into_iter().map(str::to_owned).collect()),
            Way::OneAfterTheOther => (ONE_AFTER_THE_OTHER, self.in_order()?.into_iter().flat_map(questions).collect()),
        };
        let command = ["bash", "-c", &format!("{script}{NOW}"), "benchmark"].map(str::to_owned);
        Ok(command.into_iter().chain(arguments).collect())
    }

    /// The services that have a switch; those that others need come first.
    fn in_order(&self) -> anyhow::Result<Vec<&Service>> {
        let mut left: Vec<&Service> = self.with_switch().collect();
        let mut order: Vec<&Service> = Vec::new();
        let first = left.iter().position(|service| service.name == FIRST).context("there is no Convex")?;
        order.push(left.remove(first));
        while !left.is_empty() {
            let there = |name: &str| order.iter().any(|service| service.name == name);
            let next = left.iter().position(|service| service.requires().all(there));
            order.push(left.remove(next.context("services need each other")?));
        }
        Ok(order)
    }

    /// Compares with the image's own status.
    async fn confirm(&self, container: &Container, names: impl Iterator<Item = &String>) -> anyhow::Result<()> {
        let status = container.status().await?;
        for name in names {
            let mut all = status["services"].as_array().into_iter().flatten();
            let state = all.find(|service| service["name"] == name.as_str()).map_or(&Value::Null, |it| &it["state"]);
            // Without a model llama.cpp runs and reports what is missing.
            let is_fine = state == "up" || state == "not configured";
            ensure!(is_fine, "`{name}` was ready, but `status --json` says {state}");
        }
        Ok(())
    }
}

/// The five arguments of a service. With two ports, scripts use the one where the program listens, behind the front.
fn questions(service: &Service) -> [String; 5] {
    let name = service.name.clone();
    let Some(endpoint) = service.endpoints.first() else {
        return [name, String::new(), String::new(), String::new(), String::new()];
    };
    let port = endpoint.inner.unwrap_or(endpoint.port).to_string();
    let codes: Vec<String> = endpoint.accept.iter().map(u16::to_string).collect();
    [name, port, endpoint.path.clone(), codes.join(" "), endpoint.time_limit.to_string()]
}

/// The scripts' output, by the container's clock.
#[derive(Debug, PartialEq)]
struct Readings {
    ready: Vec<(String, f64)>,
    now: f64,
    cpu_seconds: Option<f64>,
}

impl Readings {
    fn parse(output: &str) -> Option<Self> {
        let (mut ready, mut now, mut cpu_seconds) = (Vec::new(), None, None);
        for line in output.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["ready", name, moment] => ready.push((name.to_owned(), moment.parse().ok()?)),
                ["now", moment] => now = Some(moment.parse().ok()?),
                ["usage_usec", time] => cpu_seconds = Some(time.parse::<f64>().ok()? / 1e6),
                ["usage_nsec", time] => cpu_seconds = Some(time.parse::<f64>().ok()? / 1e9),
                _ => return None,
            }
        }
        Some(Self { ready, now: now?, cpu_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        Stack::parse(include_str!("../../../stack.toml")).unwrap()
    }

    fn bench<'a>(docker: &'a Docker, stack: &'a Stack) -> Bench<'a> {
        Bench { docker, stack, image: "i", model: None, cores: 2 }
    }

    #[test]
    fn alone_means_with_what_it_needs_only() {
        let (docker, stack) = (Docker::default(), stack());
        let bench = bench(&docker, &stack);
        assert_eq!(bench.company("openclaw"), ["openclaw"]);
        assert_eq!(bench.company("manager"), ["manager", "opencode"]);
        assert_eq!(bench.company("convex-setup"), ["convex-setup", "convex"]);
        let options = bench.options(&Way::Alone("manager".to_owned()));
        let on: Vec<&String> =
            options.environment.iter().filter(|(_, value)| *value == "true").map(|(name, _)| name).collect();
        assert_eq!(on, ["MANAGER_ENABLED", "OPENCODE_ENABLED"]);
        assert_eq!(options.environment["CONVEX_SETUP_ENABLED"], "false");
        // It shares its switch with llama.cpp.
        assert_eq!(bench.options(&Way::Alone("model".to_owned())).environment["LLAMACPP_ENABLED"], "true");
    }

    #[test]
    fn the_order_begins_with_convex_and_puts_what_is_needed_first() {
        let (docker, stack) = (Docker::default(), stack());
        let bench = bench(&docker, &stack);
        let order = bench.in_order().unwrap();
        let place = |name: &str| order.iter().position(|service| service.name == name).unwrap();
        assert_eq!(place("convex"), 0);
        assert!(place("opencode") < place("manager"));
        assert_eq!(order.len(), bench.with_switch().count());
        assert_eq!(questions(order[0]), ["convex", "13210", "/version", "200", "3"]);
        assert_eq!(questions(order[place("convex-setup")]), ["convex-setup", "", "", "", ""]);
    }

    #[test]
    fn the_scripts_output_parses_or_is_refused() {
        let readings =
            Readings::parse("ready a 100.25\nready b-c 101.5\nnow 102.000001\nusage_usec 2500000\n").unwrap();
        assert_eq!(readings.ready, [("a".to_owned(), 100.25), ("b-c".to_owned(), 101.5)]);
        assert_eq!((readings.now, readings.cpu_seconds), (102.000_001, Some(2.5)));
        assert_eq!(Readings::parse("ready a 1\nnow 2\n").unwrap().cpu_seconds, None);
        assert_eq!(Readings::parse("ready a\nnow 2\n"), None);
        assert_eq!(Readings::parse("ready a 1\n"), None);
    }
}
