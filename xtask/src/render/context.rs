//! The context of templates. Every field is used by a template.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::arch::Arch;
use crate::domain::digest::CommitId;
use crate::domain::lock::{FileFor, FilePin, Lock, PackagePin, Pin, Pinned};
use crate::domain::service::{self, Service};
use crate::domain::setting::{self, Setting};
use crate::domain::stack::{Flavor, Gpu, Image, Stack};

/// Seconds for the supervisor to end, with reserve for slow machines.
const SPARE_SECONDS: u32 = 10;

/// 1980-01-01, in seconds: zip files hold no earlier date.
const IN_1980: i64 = 315_532_800;

#[derive(Debug, Serialize)]
pub(super) struct Context<'a> {
    image: &'a Image,
    lock: LockContext,
    arches: Vec<ArchContext>,
    components: BTreeMap<&'a str, ComponentContext<'a>>,
    services: Vec<ServiceContext<'a>>,
    /// Names of services in stop order; each inner list stops at once.
    stop_order: Vec<Vec<&'a str>>,
    /// Seconds of a start during which failed checks do not count.
    start_period: u32,
    /// The longest time to stop, in seconds, with reserve.
    stop_grace: u32,
    settings: Vec<SettingContext<'a>>,
    gpus: &'a [Gpu],
    /// The flavors that can be built. The first is last, because Docker builds the last stage by default.
    flavors: Vec<FlavorContext<'a>>,
    /// All flavors in stack.toml.
    all_flavors: &'a [Flavor],
}

/// A flavor with its components and ports.
#[derive(Debug, Serialize)]
struct FlavorContext<'a> {
    #[serde(flatten)]
    flavor: &'a Flavor,
    components: Vec<&'a str>,
    ports: Vec<u16>,
}

/// The lock as a whole.
#[derive(Debug, Serialize)]
struct LockContext {
    label: String,
    flavor_label: String,
    sha256: String,
    created: String,
}

/// An architecture in the spellings of the tools that the Dockerfile calls.
#[derive(Debug, Serialize)]
struct ArchContext {
    name: &'static str,
    docker: &'static str,
    npm: &'static str,
}

/// A service with derived values.
#[derive(Debug, Serialize)]
struct ServiceContext<'a> {
    #[serde(flatten)]
    service: &'a Service,
    /// The version of its component; none for the image's own services.
    version: Option<&'a str>,
    /// Services that must not be turned off while it is on.
    requires: Vec<&'a str>,
    /// Whether the front serves it from files, without a process.
    site: bool,
}

/// A setting with its resolved default.
#[derive(Debug, Serialize)]
struct SettingContext<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    resolved: Option<String>,
}

/// One pinned component. Only the fields of its kind of pin are defined: templates that use others fail to render.
#[derive(Debug, Serialize)]
struct ComponentContext<'a> {
    title: &'a str,
    version: &'a str,
    /// The date of its files, in seconds: when it was published, or as early as every archive can say.
    dated: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    artifacts: BTreeMap<FileFor, &'a FilePin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    integrity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    packages: BTreeMap<Arch, Vec<PackageContext<'a>>>,
}

#[derive(Debug, Serialize)]
struct PackageContext<'a> {
    #[serde(flatten)]
    pin: &'a PackagePin,
    file: &'a str,
}

impl<'a> Context<'a> {
    pub(super) fn new(stack: &'a Stack, lock: &'a Lock) -> anyhow::Result<Self> {
        let components = stack.components.iter().filter_map(|(name, component)| {
            let pin = lock.components.get(name)?;
            Some((name.as_str(), ComponentContext::new(&component.title, pin)))
        });
        let services = stack.services.iter().map(|service| ServiceContext {
            service,
            version: service
                .component
                .as_ref()
                .and_then(|name| lock.components.get(name))
                .map(|pin| pin.version.as_str()),
            requires: service.requires().collect(),
            site: service.is_site(),
        });
        let stop_order = service::stop_order(&stack.services)?;
        Ok(Self {
            image: &stack.image,
            lock: LockContext {
                label: stack.image.lock_label(),
                flavor_label: stack.image.flavor_label(),
                sha256: lock.sha256()?.to_string(),
                created: lock.created(),
            },
            arches: Arch::ALL
                .map(|arch| ArchContext { name: arch.as_str(), docker: arch.oci(), npm: arch.npm() })
                .into(),
            components: components.collect(),
            services: services.collect(),
            start_period: service::start_within(&stack.services),
            stop_grace: service::stop_within(&stack.services)? + SPARE_SECONDS,
            stop_order: stop_order
                .iter()
                .map(|at_once| at_once.iter().filter(|it| !it.is_site()).map(|it| it.name.as_str()).collect())
                .collect(),
            settings: stack
                .settings
                .iter()
                .map(|it| SettingContext { setting: it, resolved: setting::resolve(it, &stack.settings) })
                .collect(),
            gpus: &stack.gpus,
            flavors: flavors(stack),
            all_flavors: &stack.flavors,
        })
    }

    /// The values that some templates are rendered for, by kind and name: GPUs, flavors that lack a service, and
    /// Kubernetes workloads.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &'a str, minijinja::Value)> {
        let gpus = self
            .gpus
            .iter()
            .map(|gpu| ("gpu", gpu.name.as_str(), minijinja::Value::from(minijinja::value::Serde(gpu))));
        let flavors =
            self.flavors.iter().map(|it| it.flavor).filter(|flavor| !flavor.without.is_empty()).map(|flavor| {
                ("flavor", flavor.name.as_str(), minijinja::Value::from(minijinja::value::Serde(flavor)))
            });
        gpus.chain(flavors).chain(["statefulset", "pod"].map(|kind| ("workload", kind, minijinja::Value::from(kind))))
    }
}

fn flavors(stack: &Stack) -> Vec<FlavorContext<'_>> {
    let there = stack.flavors.iter().filter(|flavor| flavor.later.is_none()).rev();
    let has = |flavor: &'_ Flavor, service: &'_ Service| !flavor.without.contains(&service.name);
    let context = |flavor| {
        let services = || stack.services.iter().filter(move |service| has(flavor, service));
        let uses = |name: &String| {
            let all = || stack.services.iter().filter(move |service| service.component.as_ref() == Some(name));
            all().count() == 0 || all().any(|service| has(flavor, service))
        };
        FlavorContext {
            flavor,
            components: stack.components.keys().filter(|name| uses(name)).map(String::as_str).collect(),
            ports: services().flat_map(|service| &service.endpoints).map(|endpoint| endpoint.port).collect(),
        }
    };
    there.map(context).collect()
}

impl<'a> ComponentContext<'a> {
    fn new(title: &'a str, pin: &'a Pin) -> Self {
        let mut context = Self {
            title,
            version: &pin.version,
            dated: pin.published.as_ref().map_or(IN_1980, |published| published.moment().timestamp()),
            tag: pin.tag.as_deref(),
            commit: pin.commit.as_ref().map(CommitId::as_str),
            artifacts: BTreeMap::new(),
            repository: None,
            package: None,
            integrity: None,
            image: None,
            digest: None,
            packages: BTreeMap::new(),
        };
        match &pin.pinned {
            Pinned::Files(files) => context.artifacts = files.iter().map(|(arch, file)| (*arch, file)).collect(),
            Pinned::Npm(npm) => {
                context.package = Some(&npm.package);
                context.integrity = Some(npm.integrity.as_str());
            }
            Pinned::Git(git) => {
                context.repository = Some(git.repository.as_str());
                context.commit = Some(git.commit.as_str());
            }
            Pinned::Image(image) => {
                context.image = Some(&image.name);
                context.digest = Some(image.digest.as_str());
            }
            Pinned::Packages(lists) => {
                let list = |packages: &'a Vec<PackagePin>| {
                    packages.iter().map(|pin| PackageContext { pin, file: pin.url.file_name() }).collect()
                };
                context.packages = lists.iter().map(|(arch, packages)| (*arch, list(packages))).collect();
            }
        }
        context
    }
}
