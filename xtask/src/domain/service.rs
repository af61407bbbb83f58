//! The services of the image: one table drives ports, supervision, health checks and documents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One service, as `stack.toml` describes it.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Whose version it shows.
    #[serde(default)]
    pub(crate) component: Option<String>,
    /// The file of it that a stand-in replaces, and says so in.
    #[serde(default)]
    pub(crate) program: Option<String>,
    /// The setting that turns it off.
    #[serde(default)]
    pub(crate) switch: Option<String>,
    /// When it cannot stay up, the container ends.
    #[serde(default)]
    pub(crate) critical: bool,
    /// Something to do once, that has no port and no process afterwards.
    #[serde(default)]
    pub(crate) oneshot: bool,
    /// Services that are ready before this one is started.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Services that it speaks to.
    #[serde(default)]
    pub(crate) uses: Vec<Use>,
    /// Where browsers reach it, with settings in braces.
    #[serde(default)]
    pub(crate) link: Option<String>,
    /// What it keeps, as folders below `/data`.
    #[serde(default)]
    pub(crate) data: Vec<String>,
    /// What a backup leaves out and a restore leaves alone: paths below `/data`. A `*` at the end stands for the rest of
    /// a name, here and in the three below.
    #[serde(default)]
    pub(crate) caches: Vec<String>,
    /// The same, unless a backup with models is asked for.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// What a newer version changes for good when it opens it: kept before that, and brought back by a rollback.
    #[serde(default)]
    pub(crate) migrates: Vec<String>,
    /// What of that is left out, because no version changes it.
    #[serde(default)]
    pub(crate) apart: Vec<String>,
    /// What asks it to stop.
    #[serde(default)]
    pub(crate) signal: Signal,
    /// Seconds until it is called failed when it is not ready.
    pub(crate) ready_within: u32,
    /// Seconds for which its check may fail before it is restarted.
    #[serde(default = "hung_after")]
    pub(crate) hung_after: u32,
    /// The setting that says whether all is unhealthy while it starts; without one, it is.
    #[serde(default)]
    pub(crate) start_counts: Option<String>,
    /// Seconds until it is killed when it does not stop.
    pub(crate) stop_within: u32,
    /// Where it answers, for each port that it publishes.
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Where it answers when it has no port.
    #[serde(default)]
    pub(crate) socket: Option<Socket>,
    /// What it may reach beside the system; without walls it reaches everything.
    #[serde(default)]
    pub(crate) walls: Option<Walls>,
}

/// A socket below the folder of what ends with the container, and the path that answers when it is up.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    pub(crate) file: String,
    pub(crate) path: String,
}

/// What a confined service may reach beside the system, which it reads. Paths are absolute.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Walls {
    /// Folders that it reads and writes.
    pub(crate) reach: Vec<String>,
    /// Its home, in one of those.
    pub(crate) home: String,
    /// Its temp folder, in one of those; it is emptied at each start.
    pub(crate) temporary: String,
    /// Another service that it starts and stops.
    #[serde(default)]
    pub(crate) controls: Option<String>,
    /// The part of the temp folder that its agents' shells write; they read all of it.
    #[serde(default)]
    pub(crate) shell_temporary: Option<String>,
    /// What its agents' shells reach of that, beside home and temp folder; a `*` stands for names without a leading dot.
    #[serde(default)]
    pub(crate) shell: Vec<String>,
    /// Folders in which those shells see names, and nothing else.
    #[serde(default)]
    pub(crate) shell_lists: Vec<String>,
}

/// An arrow of the picture: who speaks to whom about what.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    pub(crate) service: String,
    pub(crate) about: String,
    /// It is of no use without.
    #[serde(default)]
    pub(crate) required: bool,
}

/// A port and the question that tells whether somebody answers there.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Endpoint {
    /// The setting that moves the port.
    pub(crate) setting: String,
    pub(crate) port: u16,
    /// Where the program itself listens, on the container's loopback; what the front serves from files has none.
    #[serde(default)]
    pub(crate) inner: Option<u16>,
    pub(crate) path: String,
    /// Status codes that mean "up": some services answer 401 or 404 when they are well.
    pub(crate) accept: Vec<u16>,
    /// Seconds that one request may take.
    #[serde(default = "longest_request")]
    pub(crate) time_limit: u32,
    /// Published on the host's loopback only, whatever else is published where.
    #[serde(default)]
    pub(crate) loopback: bool,
    /// What the program itself checks; a request that carries one needs no sign-in.
    #[serde(default)]
    pub(crate) credentials: Vec<Credential>,
    /// Path prefixes that need no sign-in.
    #[serde(default)]
    pub(crate) open: Vec<String>,
    /// Path prefixes that nobody reaches through the front.
    #[serde(default)]
    pub(crate) closed: Vec<String>,
    /// Below each path prefix, only these paths exist for the front; a `*` at the end stands for anything.
    #[serde(default)]
    pub(crate) only: BTreeMap<String, Vec<String>>,
    /// The program has ids with slashes in its paths, which clients encode, and no rule hangs on its paths.
    #[serde(default)]
    pub(crate) encoded_slashes: bool,
}

/// An `Authorization` header that a program accepts, made from a secret.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) scheme: AuthScheme,
    /// The setting that holds it.
    pub(crate) secret: String,
    /// The user of a `Basic` one.
    #[serde(default)]
    pub(crate) user: Option<String>,
    /// The path prefix that it opens; without one, all.
    #[serde(default)]
    pub(crate) below: Option<String>,
    /// The front adds it to requests of the owner's own pages.
    #[serde(default)]
    pub(crate) given: bool,
}

/// RFC 7617, RFC 6750, and the scheme of Convex's admin keys.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum AuthScheme {
    Basic,
    Bearer,
    Convex,
}

/// OpenCode never answers some requests of its first seconds: whoever asks must give up and ask again.
const LONGEST_REQUEST: u32 = 3;

fn longest_request() -> u32 {
    LONGEST_REQUEST
}

/// Some looks are needed to tell a hang from one late answer.
const SHORTEST_HANG: u32 = 30;

/// A busy machine answers late; what has not answered for this long will not.
fn hung_after() -> u32 {
    60
}

/// The signals that programs handle to stop: a closed set.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Signal {
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    #[serde(rename = "SIGINT")]
    Int,
    #[serde(rename = "SIGQUIT")]
    Quit,
}

/// What is wrong with the table of services.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ServiceError {
    #[error("service name `{0}` is not made of lowercase letters, digits and hyphens")]
    Name(String),
    #[error("there are two services `{0}`")]
    Twice(String),
    #[error("service `{service}` names `{other}`, which is not a service")]
    Dangling { service: String, other: String },
    #[error("services wait for each other or stop before each other: {}", .0.join(", "))]
    Circle(Vec<String>),
    #[error("port {port} belongs to `{first}` and `{second}`")]
    Port { port: u16, first: String, second: String },
    #[error("service `{service}`: {what}")]
    Field { service: String, what: String },
}

/// Whether a text is of lowercase letters, digits and these.
fn is_lower(text: &str, more: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || more.contains(&byte))
}

/// Checks what serde cannot: names, references, ports and circles.
pub(crate) fn check(services: &[Service]) -> Result<(), ServiceError> {
    let mut names = BTreeMap::new();
    let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
    for service in services {
        if !service.name.starts_with(|first: char| first.is_ascii_lowercase()) || !is_lower(&service.name, b"-") {
            return Err(ServiceError::Name(service.name.clone()));
        }
        if names.insert(service.name.as_str(), service).is_some() {
            return Err(ServiceError::Twice(service.name.clone()));
        }
        service.check_fields().map_err(|what| ServiceError::Field { service: service.name.clone(), what })?;
        for port in service.endpoints.iter().flat_map(|endpoint| [Some(endpoint.port), endpoint.inner]).flatten() {
            if let Some(first) = ports.insert(port, &service.name) {
                let (first, second) = (first.to_owned(), service.name.clone());
                return Err(ServiceError::Port { port, first, second });
            }
        }
    }
    for service in services {
        for other in service.neighbours() {
            if !names.contains_key(other) {
                let (service, other) = (service.name.clone(), other.to_owned());
                return Err(ServiceError::Dangling { service, other });
            }
        }
    }
    stop_order(services).map(drop)
}

/// The order of stopping: whoever uses another one stops before it. Each inner list stops at once.
pub(crate) fn stop_order(services: &[Service]) -> Result<Vec<Vec<&Service>>, ServiceError> {
    let mut left: Vec<&Service> = services.iter().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let (later, now): (Vec<&Service>, Vec<&Service>) = left
            .iter()
            .partition(|service| left.iter().any(|other| other.neighbours().any(|name| name == service.name)));
        if now.is_empty() {
            return Err(ServiceError::Circle(later.iter().map(|service| service.name.clone()).collect()));
        }
        order.push(now);
        left = later;
    }
    Ok(order)
}

/// Seconds that stopping all takes at most.
pub(crate) fn stop_within(services: &[Service]) -> Result<u32, ServiceError> {
    let slowest = |at_once: &Vec<&Service>| at_once.iter().map(|service| service.stop_within).max().unwrap_or_default();
    Ok(stop_order(services)?.iter().map(slowest).sum())
}

/// Seconds until all whose start counts must be ready: the longest chain of those that wait for each other.
pub(crate) fn start_within(services: &[Service]) -> u32 {
    fn chain(service: &Service, services: &[Service]) -> u32 {
        let needed = services.iter().filter(|other| service.needs.contains(&other.name));
        service.ready_within + needed.map(|other| chain(other, services)).max().unwrap_or_default()
    }
    let counting = services.iter().filter(|service| service.start_counts.is_none());
    counting.map(|service| chain(service, services)).max().unwrap_or_default()
}

impl Endpoint {
    /// Every absolute path of its row.
    fn paths(&self) -> impl Iterator<Item = &String> {
        let below = self.credentials.iter().filter_map(|credential| credential.below.as_ref());
        std::iter::once(&self.path).chain(&self.open).chain(&self.closed).chain(self.only.keys()).chain(below)
    }
}

impl Service {
    /// Whom it cannot do without: these must not be turned off while it is on.
    pub(crate) fn requires(&self) -> impl Iterator<Item = &str> {
        let used = self.uses.iter().filter(|used| used.required && !self.needs.contains(&used.service));
        self.needs.iter().chain(used.map(|used| &used.service)).map(String::as_str)
    }

    /// Files that the front serves: a page with no process of its own.
    pub(crate) fn is_site(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.inner.is_none())
    }

    /// Whom it waits for or speaks to.
    fn neighbours(&self) -> impl Iterator<Item = &str> {
        let controlled = self.walls.iter().filter_map(|walls| walls.controls.as_ref());
        self.needs.iter().chain(self.uses.iter().map(|used| &used.service)).chain(controlled).map(String::as_str)
    }

    fn check_fields(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`' | b'$' | b'|');
        if self.title.chars().any(|char| char.is_control() || matches!(char, '"' | '\\' | '`' | '$' | '|')) {
            return Err(format!(
                "title {:?} has characters that a script or a table would take for its own",
                self.title
            ));
        }
        let ways = [self.oneshot, !self.endpoints.is_empty(), self.socket.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err("it has endpoints, or a socket, or is done once: one of them tells that it is up".into());
        }
        if self.ready_within == 0 || self.stop_within == 0 || self.hung_after < SHORTEST_HANG {
            return Err(format!("ready-within and stop-within are seconds, 1 or more, and hung-after {SHORTEST_HANG}"));
        }
        for folder in &self.data {
            if folder.is_empty() || !is_lower(folder, b"-") {
                return Err(format!("data folder {folder:?} is not one plain name"));
            }
        }
        for path in [&self.caches, &self.models, &self.migrates, &self.apart].into_iter().flatten() {
            let folder = path.split('/').next().unwrap_or_default();
            if path.contains("..") || !is_lower(path.trim_end_matches('*'), b"-./") {
                return Err(format!("{path:?} is not a plain path below /data"));
            }
            if !self.data.iter().any(|own| own == folder) {
                return Err(format!("{path:?} is not below a folder of its `data`"));
            }
        }
        if let Some(walls) = &self.walls {
            walls.check()?;
        }
        for used in &self.uses {
            if used.about.chars().any(|char| char.is_control() || matches!(char, '"' | '|' | '`' | '$')) {
                return Err(format!("{:?} cannot stand in a picture", used.about));
            }
        }
        for endpoint in &self.endpoints {
            if endpoint.port == 0 {
                return Err("port 0 is none".into());
            }
            for path in endpoint.paths() {
                if !path.starts_with('/') || !path.bytes().all(plain) {
                    return Err(format!("path {path:?} is not an absolute path of an address"));
                }
            }
            for path in endpoint.only.values().flatten() {
                if path.is_empty() || !is_lower(path, b"-/*") {
                    return Err(format!("`only` lists {path:?}, which is not a relative path of lowercase letters"));
                }
            }
            for credential in &endpoint.credentials {
                if (credential.scheme == AuthScheme::Basic) != credential.user.is_some() {
                    return Err("a Basic credential has a user, and no other one has".into());
                }
            }
            if endpoint.accept.is_empty() || !endpoint.accept.iter().all(|code| (100..600).contains(code)) {
                return Err(format!("accept of port {} lists no status codes", endpoint.port));
            }
            if !(1..=LONGEST_REQUEST).contains(&endpoint.time_limit) {
                return Err(format!("time-limit of port {} is not 1 to {LONGEST_REQUEST} seconds", endpoint.port));
            }
        }
        Ok(())
    }
}

impl Walls {
    /// Folders that no agent may reach, and those above them.
    const KEPT: [&str; 3] = ["/data/secrets", "/data/home", "/run/stack/secrets"];

    fn check(&self) -> Result<(), String> {
        let within = |path: &str, folder: &str| {
            path == folder || path.strip_prefix(folder).is_some_and(|it| it.starts_with('/'))
        };
        let shells = self.shell.iter().chain(&self.shell_lists);
        for path in
            self.reach.iter().chain([&self.home, &self.temporary]).chain(&self.shell_temporary).chain(shells.clone())
        {
            if !path.starts_with('/') || path.contains("..") || !is_lower(path, b"-./*") {
                return Err(format!("{path:?} in its walls is not a plain absolute path"));
            }
        }
        for folder in &self.reach {
            if let Some(kept) = Self::KEPT.iter().find(|kept| within(kept, folder.trim_end_matches('/'))) {
                return Err(format!("its walls let it reach {folder:?}, and {kept} with it"));
            }
        }
        if let Some(path) = self.shell_temporary.as_ref().filter(|path| !within(path, &self.temporary)) {
            return Err(format!("{path:?} lies outside of its temp folder"));
        }
        for path in [&self.home, &self.temporary].into_iter().chain(shells) {
            if !self.reach.iter().any(|folder| within(path, folder)) {
                return Err(format!("{path:?} lies outside of what its walls let it reach"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Table {
        services: Vec<Service>,
    }

    fn table(text: &str) -> Vec<Service> {
        let defaults = "title = \"T\"\nready-within = 1\nstop-within = 1\n";
        let oneshot = if text.contains("endpoints") { "" } else { "oneshot = true\n" };
        let text = text.replace("[[services]]\n", &format!("[[services]]\n{defaults}{oneshot}"));
        toml::from_str::<Table>(&text).unwrap().services
    }

    fn names(order: &[Vec<&Service>]) -> Vec<Vec<String>> {
        order.iter().map(|at_once| at_once.iter().map(|service| service.name.clone()).collect()).collect()
    }

    #[test]
    fn users_stop_before_what_they_use() {
        let services = table(
            "[[services]]\nname = \"base\"\n[[services]]\nname = \"middle\"\nneeds = [\"base\"]\n\
             [[services]]\nname = \"front\"\nuses = [{ service = \"middle\", about = \"x\" }]\n\
             [[services]]\nname = \"alone\"\n",
        );
        assert_eq!(names(&stop_order(&services).unwrap()), [vec!["front", "alone"], vec!["middle"], vec!["base"]]);
    }

    #[test]
    fn a_start_takes_as_long_as_the_longest_chain_of_those_that_count() {
        let row = |name: &str, more: &str| format!("[[services]]\nname = {name:?}\n{more}");
        let text = row("base", "") + &row("middle", "needs = [\"base\"]\n") + &row("top", "needs = [\"middle\"]\n");
        assert_eq!(start_within(&table(&text)), 3);
        let slow = row("slow", "needs = [\"top\"]\nstart-counts = \"A\"\n");
        assert_eq!(start_within(&table(&(text + &slow))), 3);
    }

    #[test]
    fn a_circle_is_told_with_who_is_in_it() {
        let services = table(
            "[[services]]\nname = \"a\"\nneeds = [\"b\"]\n\
             [[services]]\nname = \"b\"\nuses = [{ service = \"a\", about = \"x\" }]\n[[services]]\nname = \"c\"\n",
        );
        assert_eq!(check(&services), Err(ServiceError::Circle(vec!["a".into(), "b".into()])));
    }

    #[test]
    fn names_ports_and_references_are_checked() {
        let twice = table("[[services]]\nname = \"a\"\n[[services]]\nname = \"a\"\n");
        assert_eq!(check(&twice), Err(ServiceError::Twice("a".into())));
        let hostile = table("[[services]]\nname = \"a;id\"\n");
        assert_eq!(check(&hostile), Err(ServiceError::Name("a;id".into())));
        let dangling = table("[[services]]\nname = \"a\"\nneeds = [\"b\"]\n");
        assert_eq!(check(&dangling), Err(ServiceError::Dangling { service: "a".into(), other: "b".into() }));
        let endpoint = "endpoints = [{ setting = \"A_PORT\", port = 80, path = \"/\", accept = [200] }]\n";
        let ports = table(&format!("[[services]]\nname = \"a\"\n{endpoint}[[services]]\nname = \"b\"\n{endpoint}"));
        assert_eq!(check(&ports), Err(ServiceError::Port { port: 80, first: "a".into(), second: "b".into() }));
    }

    #[test]
    fn walls_keep_what_no_agent_may_reach_and_hold_home_and_shells() {
        let check = |reach: &str, home: &str, shell: &str| {
            let walls = format!(
                "walls = {{ reach = [{reach}], home = {home:?}, temporary = \"/data/a/t\", shell = [{shell:?}] }}\n"
            );
            check(&table(&format!("[[services]]\nname = \"a\"\n{walls}")))
        };
        assert_eq!(check("\"/data/a\", \"/tmp\"", "/data/a/.home", "/data/a/*"), Ok(()));
        for (reach, home, shell) in [
            ("\"/data\", \"/data/a\"", "/data/a/h", "/data/a"),
            ("\"/\", \"/data/a\"", "/data/a/h", "/data/a"),
            ("\"/data/secrets\", \"/data/a\"", "/data/a/h", "/data/a"),
            ("\"/data/a/../secrets\", \"/data/a\"", "/data/a/h", "/data/a"),
            ("\"/data/a\"", "/data/ab", "/data/a"),
            ("\"/data/a\"", "/data/a/h", "/data/b"),
            ("\"/data/a\"", "/data/a/$(id)", "/data/a"),
        ] {
            assert!(matches!(check(reach, home, shell), Err(ServiceError::Field { .. })), "{reach} {home} {shell}");
        }
    }

    #[test]
    fn an_endpoint_that_no_probe_could_ask_is_refused() {
        for endpoint in [
            "{ setting = \"P\", port = 80, path = \"x\", accept = [200] }",
            "{ setting = \"P\", port = 80, path = \"/$(id)\", accept = [200] }",
            "{ setting = \"P\", port = 80, path = \"/\", accept = [] }",
            "{ setting = \"P\", port = 80, path = \"/\", accept = [20] }",
            "{ setting = \"P\", port = 80, path = \"/\", accept = [200], time-limit = 4 }",
            "{ setting = \"P\", port = 0, path = \"/\", accept = [200] }",
        ] {
            let services = table(&format!("[[services]]\nname = \"a\"\nendpoints = [{endpoint}]\n"));
            assert!(matches!(check(&services), Err(ServiceError::Field { .. })), "{endpoint}");
        }
    }
}
