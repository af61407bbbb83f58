//! The services of the image: one table for ports, supervision, health checks and documentation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::text::{is_lower, is_special};

/// One service of `stack.toml`.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) title: String,
    /// The component whose version it shows.
    pub(crate) component: Option<String>,
    /// Its program file, in which a rehearsal's stand-in identifies itself.
    pub(crate) program: Option<String>,
    /// The setting that turns it off.
    pub(crate) switch: Option<String>,
    /// The container ends if it cannot stay up.
    #[serde(default)]
    pub(crate) critical: bool,
    /// It runs once, and has no port.
    #[serde(default)]
    pub(crate) oneshot: bool,
    /// Services that must be ready before it starts.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Services that it connects to.
    #[serde(default)]
    pub(crate) uses: Vec<Use>,
    /// Its address for browsers, with settings in braces.
    pub(crate) link: Option<String>,
    /// Its folders below `/data`.
    #[serde(default)]
    pub(crate) data: Vec<String>,
    /// Paths below `/data` that backups omit and restores keep. A `*` at the end matches the rest of a name, here and in
    /// the next three fields.
    #[serde(default)]
    pub(crate) caches: Vec<String>,
    /// The same, unless a backup includes models.
    #[serde(default)]
    pub(crate) models: Vec<String>,
    /// State that newer versions migrate: saved before an update, and restored by a rollback.
    #[serde(default)]
    pub(crate) migrates: Vec<String>,
    /// Parts of that state that no version migrates, and that are not saved.
    #[serde(default)]
    pub(crate) apart: Vec<String>,
    /// The signal that stops it.
    #[serde(default)]
    pub(crate) signal: Signal,
    /// Seconds within which it must be ready.
    pub(crate) ready_within: u32,
    /// Seconds that its check may fail before it is restarted.
    #[serde(default = "hung_after")]
    pub(crate) hung_after: u32,
    /// The setting with the seconds that its start may take before the container is unhealthy.
    pub(crate) start_counts: Option<String>,
    /// Seconds within which it must stop before it is killed.
    pub(crate) stop_within: u32,
    /// Its published ports.
    #[serde(default)]
    pub(crate) endpoints: Vec<Endpoint>,
    /// Its socket, if it has no port.
    pub(crate) socket: Option<Socket>,
    /// Its sandbox; without one it can access everything.
    pub(crate) sandbox: Option<Sandbox>,
}

/// A socket below `/run/stack`, and the path to check.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Socket {
    pub(crate) file: String,
    pub(crate) path: String,
}

/// What a confined service can access besides the system, which it can read. Paths are absolute.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Sandbox {
    /// Folders that it can read and write.
    pub(crate) reach: Vec<String>,
    /// Its home directory, in one of those.
    pub(crate) home: String,
    /// Its temporary folder, in one of those; emptied at each start.
    pub(crate) temporary: String,
    /// A service that it starts and stops.
    pub(crate) controls: Option<String>,
    /// The part of the temporary folder that its agents' shells can write; they can read all of it.
    pub(crate) shell_temporary: Option<String>,
    /// What its agents' shells can access besides home and temporary folder; `*` matches names without a leading dot.
    #[serde(default)]
    pub(crate) shell: Vec<String>,
    /// Folders that those shells can only list.
    #[serde(default)]
    pub(crate) shell_lists: Vec<String>,
}

/// An arrow in the picture of services: a connection and its purpose.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Use {
    pub(crate) service: String,
    pub(crate) about: String,
    /// The service is useless without it.
    #[serde(default)]
    pub(crate) required: bool,
}

/// A port and its check.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Endpoint {
    /// The setting that changes the port.
    pub(crate) setting: String,
    pub(crate) port: u16,
    /// The program's own port on the container's loopback; none for files that the front serves.
    pub(crate) inner: Option<u16>,
    pub(crate) path: String,
    /// Status codes that mean "up": some services answer 401 or 404.
    pub(crate) accept: Vec<u16>,
    /// Time limit of one request, in seconds.
    #[serde(default = "longest_request")]
    pub(crate) time_limit: u32,
    /// Always published on the host's loopback only.
    #[serde(default)]
    pub(crate) loopback: bool,
    /// Credentials that the program checks itself; a request with one needs no sign-in.
    #[serde(default)]
    pub(crate) credentials: Vec<Credential>,
    /// Path prefixes that need no sign-in.
    #[serde(default)]
    pub(crate) open: Vec<String>,
    /// Path prefixes that the front refuses.
    #[serde(default)]
    pub(crate) closed: Vec<String>,
    /// The only paths that the front allows below each prefix; a `*` at the end matches anything.
    #[serde(default)]
    pub(crate) only: BTreeMap<String, Vec<String>>,
    /// Allow encoded slashes: the program's paths have ids with slashes, and no rule depends on its paths.
    #[serde(default)]
    pub(crate) encoded_slashes: bool,
}

/// An `Authorization` header that a program accepts, made from a secret.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credential {
    pub(crate) scheme: AuthScheme,
    /// The setting with the secret.
    pub(crate) secret: String,
    /// The user name, for `Basic`.
    pub(crate) user: Option<String>,
    /// The path prefix that it is for; all without one.
    pub(crate) below: Option<String>,
    /// The front adds it to requests of the service's own page.
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

/// OpenCode never answers some requests in its first seconds, so they must be repeated.
const LONGEST_REQUEST: u32 = 3;

fn longest_request() -> u32 {
    LONGEST_REQUEST
}

/// Several checks are needed to tell a hang from one late answer.
const SHORTEST_HANG: u32 = 30;

/// A busy machine answers late, but not this late.
fn hung_after() -> u32 {
    60
}

/// The signals that stop programs.
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
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ServiceError(String);

/// Checks names, references, ports and circles.
pub(crate) fn check(services: &[Service]) -> Result<(), ServiceError> {
    let wrong = |what: String| Err(ServiceError(what));
    let mut names = BTreeSet::new();
    let mut ports: BTreeMap<u16, &str> = BTreeMap::new();
    for service in services {
        let name = service.name.as_str();
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !is_lower(name, b"-") {
            return wrong(format!("service name `{name}` is not made of lowercase letters, digits and hyphens"));
        }
        if !names.insert(name) {
            return wrong(format!("there are two services `{name}`"));
        }
        service.check_fields().map_err(|what| ServiceError(format!("service `{name}`: {what}")))?;
        for port in service.endpoints.iter().flat_map(|endpoint| [Some(endpoint.port), endpoint.inner]).flatten() {
            if let Some(first) = ports.insert(port, name) {
                return wrong(format!("both `{first}` and `{name}` have port {port}"));
            }
        }
    }
    for service in services {
        if let Some(other) = service.neighbours().find(|other| !names.contains(other)) {
            return wrong(format!("service `{}` names `{other}`, which is not a service", service.name));
        }
    }
    stop_order(services).map(drop)
}

/// The stop order: a service stops before those it uses. Each inner list stops at once.
pub(crate) fn stop_order(services: &[Service]) -> Result<Vec<Vec<&Service>>, ServiceError> {
    let mut left: Vec<&Service> = services.iter().collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let (later, now): (Vec<&Service>, Vec<&Service>) = left
            .iter()
            .partition(|service| left.iter().any(|other| other.neighbours().any(|name| name == service.name)));
        if now.is_empty() {
            let names: Vec<&str> = later.iter().map(|service| service.name.as_str()).collect();
            return Err(ServiceError(format!("services depend on each other in a circle: {}", names.join(", "))));
        }
        order.push(now);
        left = later;
    }
    Ok(order)
}

/// The longest time that stopping all services takes, in seconds.
pub(crate) fn stop_within(services: &[Service]) -> Result<u32, ServiceError> {
    let slowest = |at_once: &Vec<&Service>| at_once.iter().map(|service| service.stop_within).max().unwrap_or_default();
    Ok(stop_order(services)?.iter().map(slowest).sum())
}

/// The longest time until all services without `start-counts` are ready, in seconds: along the longest chain of `needs`.
pub(crate) fn start_within(services: &[Service]) -> u32 {
    fn chain(service: &Service, services: &[Service]) -> u32 {
        let needed = services.iter().filter(|other| service.needs.contains(&other.name));
        service.ready_within + needed.map(|other| chain(other, services)).max().unwrap_or_default()
    }
    let counting = services.iter().filter(|service| service.start_counts.is_none());
    counting.map(|service| chain(service, services)).max().unwrap_or_default()
}

impl Endpoint {
    /// All its absolute paths.
    fn paths(&self) -> impl Iterator<Item = &String> {
        let below = self.credentials.iter().filter_map(|credential| credential.below.as_ref());
        std::iter::once(&self.path).chain(&self.open).chain(&self.closed).chain(self.only.keys()).chain(below)
    }

    fn check(&self) -> Result<(), String> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\`$|".contains(&byte);
        if self.port == 0 {
            return Err("port 0 is not allowed".into());
        }
        if let Some(path) = self.paths().find(|path| !path.starts_with('/') || !path.bytes().all(plain)) {
            return Err(format!("path {path:?} is not an absolute path"));
        }
        if let Some(path) = self.only.values().flatten().find(|path| path.is_empty() || !is_lower(path, b"-/*")) {
            return Err(format!("`only` lists {path:?}, which is not a relative path of lowercase letters"));
        }
        if self.credentials.iter().any(|one| (one.scheme == AuthScheme::Basic) != one.user.is_some()) {
            return Err("only a Basic credential has a user, and it must have one".into());
        }
        if self.accept.is_empty() || !self.accept.iter().all(|code| (100..600).contains(code)) {
            return Err(format!("accept of port {} lists no status codes", self.port));
        }
        if !(1..=LONGEST_REQUEST).contains(&self.time_limit) {
            return Err(format!("time-limit of port {} is not 1 to {LONGEST_REQUEST} seconds", self.port));
        }
        Ok(())
    }
}

impl Service {
    /// Services that must not be turned off while it is on.
    pub(crate) fn requires(&self) -> impl Iterator<Item = &str> {
        let used = self.uses.iter().filter(|used| used.required && !self.needs.contains(&used.service));
        self.needs.iter().chain(used.map(|used| &used.service)).map(String::as_str)
    }

    /// Whether the front serves it from files, without a process.
    pub(crate) fn is_site(&self) -> bool {
        !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.inner.is_none())
    }

    /// Services that it waits for, uses or controls.
    fn neighbours(&self) -> impl Iterator<Item = &str> {
        let controlled = self.sandbox.iter().filter_map(|sandbox| sandbox.controls.as_ref());
        self.needs.iter().chain(self.uses.iter().map(|used| &used.service)).chain(controlled).map(String::as_str)
    }

    fn check_fields(&self) -> Result<(), String> {
        if is_special(&self.title, "\"\\`$|") {
            return Err(format!("title {:?} has characters that are special in scripts or tables", self.title));
        }
        let ways = [self.oneshot, !self.endpoints.is_empty(), self.socket.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err("it must have endpoints, a socket or `oneshot`, and only one of them".into());
        }
        if self.ready_within == 0 || self.stop_within == 0 || self.hung_after < SHORTEST_HANG {
            return Err(format!("ready-within and stop-within must be at least 1, and hung-after {SHORTEST_HANG}"));
        }
        if let Some(folder) = self.data.iter().find(|folder| folder.is_empty() || !is_lower(folder, b"-")) {
            return Err(format!("data folder {folder:?} is not one plain name"));
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
        if let Some(sandbox) = &self.sandbox {
            sandbox.check()?;
        }
        if let Some(Use { about, .. }) = self.uses.iter().find(|used| is_special(&used.about, "\"|`$")) {
            return Err(format!("{about:?} has characters that are special in a picture"));
        }
        self.endpoints.iter().try_for_each(Endpoint::check)
    }
}

impl Sandbox {
    /// Folders that no agent may access.
    const KEPT: [&str; 3] = ["/data/secrets", "/data/home", "/run/stack/secrets"];

    fn check(&self) -> Result<(), String> {
        let within = |path: &str, folder: &str| {
            path == folder || path.strip_prefix(folder).is_some_and(|it| it.starts_with('/'))
        };
        let inner = || [&self.home, &self.temporary].into_iter().chain(&self.shell).chain(&self.shell_lists);
        let plain = |path: &str| path.starts_with('/') && !path.contains("..") && is_lower(path, b"-./*");
        if let Some(path) = self.reach.iter().chain(&self.shell_temporary).chain(inner()).find(|path| !plain(path)) {
            return Err(format!("{path:?} in its sandbox is not a plain absolute path"));
        }
        for folder in &self.reach {
            if let Some(kept) = Self::KEPT.iter().find(|kept| within(kept, folder.trim_end_matches('/'))) {
                return Err(format!("its sandbox has {folder:?}, which contains {kept}"));
            }
        }
        if let Some(path) = self.shell_temporary.as_ref().filter(|path| !within(path, &self.temporary)) {
            return Err(format!("{path:?} is outside of its temporary folder"));
        }
        if let Some(path) = inner().find(|path| !self.reach.iter().any(|folder| within(path, folder))) {
            return Err(format!("{path:?} is outside of its sandbox"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One service for each name with its other fields.
    fn table(rows: &[(&str, &str)]) -> Vec<Service> {
        let service = |(name, more): &(&str, &str)| {
            let oneshot = if more.contains("endpoints") { "" } else { "oneshot = true\n" };
            let text = format!("name = {name:?}\ntitle = \"T\"\nready-within = 1\nstop-within = 1\n{oneshot}{more}");
            toml::from_str(&text).unwrap()
        };
        rows.iter().map(service).collect()
    }

    const USES_A: &str = "uses = [{ service = \"a\", about = \"x\" }]";
    const NEEDS_B: &str = "needs = [\"b\"]";

    #[test]
    fn users_stop_before_what_they_use() {
        let services = table(&[("b", ""), ("a", NEEDS_B), ("front", USES_A), ("alone", "")]);
        let order = stop_order(&services).unwrap();
        let names = |at_once: &Vec<&Service>| at_once.iter().map(|service| service.name.clone()).collect::<Vec<_>>();
        assert_eq!(order.iter().map(names).collect::<Vec<_>>(), [vec!["front", "alone"], vec!["a"], vec!["b"]]);
    }

    #[test]
    fn the_start_time_is_that_of_the_longest_chain() {
        let mut rows = vec![("b", ""), ("a", NEEDS_B), ("top", "needs = [\"a\"]")];
        assert_eq!(start_within(&table(&rows)), 3);
        rows.push(("slow", "needs = [\"top\"]\nstart-counts = \"A\""));
        assert_eq!(start_within(&table(&rows)), 3);
    }

    #[test]
    fn names_ports_references_and_circles_are_checked() {
        let endpoint = "endpoints = [{ setting = \"A_PORT\", port = 80, path = \"/\", accept = [200] }]";
        for (rows, expected) in [
            (&[("a", ""), ("a", "")][..], "there are two services `a`"),
            (&[("a;id", "")], "service name `a;id` is not made of lowercase letters, digits and hyphens"),
            (&[("a", NEEDS_B)], "service `a` names `b`, which is not a service"),
            (&[("a", endpoint), ("b", endpoint)], "both `a` and `b` have port 80"),
            (&[("a", NEEDS_B), ("b", USES_A), ("c", "")], "services depend on each other in a circle: a, b"),
        ] {
            assert_eq!(check(&table(rows)).unwrap_err().to_string(), expected);
        }
    }

    fn assert_field_is_refused(fields: &str) {
        let message = check(&table(&[("a", fields)])).unwrap_err().to_string();
        assert!(message.starts_with("service `a`: "), "{fields}: {message}");
    }

    #[test]
    fn a_sandbox_excludes_secrets_and_contains_home_and_shells() {
        let sandbox = |reach: &[&str], home: &str, shell: &str| {
            format!(
                "sandbox = {{ reach = {reach:?}, home = {home:?}, temporary = \"/data/a/t\", shell = [{shell:?}] }}"
            )
        };
        check(&table(&[("a", &sandbox(&["/data/a", "/tmp"], "/data/a/.home", "/data/a/*"))])).unwrap();
        for (reach, home, shell) in [
            (&["/data", "/data/a"][..], "/data/a/h", "/data/a"),
            (&["/", "/data/a"], "/data/a/h", "/data/a"),
            (&["/data/secrets", "/data/a"], "/data/a/h", "/data/a"),
            (&["/data/a/../secrets", "/data/a"], "/data/a/h", "/data/a"),
            (&["/data/a"], "/data/ab", "/data/a"),
            (&["/data/a"], "/data/a/h", "/data/b"),
            (&["/data/a"], "/data/a/$(id)", "/data/a"),
        ] {
            assert_field_is_refused(&sandbox(reach, home, shell));
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_checked_is_refused() {
        for endpoint in [
            "port = 80, path = \"x\", accept = [200]",
            "port = 80, path = \"/$(id)\", accept = [200]",
            "port = 80, path = \"/\", accept = []",
            "port = 80, path = \"/\", accept = [20]",
            "port = 80, path = \"/\", accept = [200], time-limit = 4",
            "port = 0, path = \"/\", accept = [200]",
        ] {
            assert_field_is_refused(&format!("endpoints = [{{ setting = \"P\", {endpoint} }}]"));
        }
    }
}
