//! The context of templates. Every field is used by a template.

use std::collections::BTreeMap;

use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;

use crate::domain::arch::Arch;
use crate::domain::digest::{CommitId, FileUrl, Integrity, OciDigest};
use crate::domain::lock::{FileFor, FilePin, Lock, PackagePin, Pin, Pinned};
use crate::domain::service::{self, Service};
use crate::domain::setting::{self, Setting};
use crate::domain::stack::{Flavor, Gpu, Image, Stack, StackError};

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
    components: Vec<String>,
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
    commit: Option<&'a CommitId>,
    #[serde(flatten)]
    pinned: PinnedContext<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PinnedContext<'a> {
    Files { artifacts: &'a BTreeMap<FileFor, FilePin> },
    Npm { package: &'a str, integrity: &'a Integrity },
    Git { repository: &'a FileUrl },
    Image { image: &'a str, digest: &'a OciDigest },
    Packages { packages: BTreeMap<Arch, Vec<PackageContext<'a>>> },
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
            flavors: flavors(stack)?,
            all_flavors: &stack.flavors,
        })
    }

    /// The values that some templates are rendered for, by kind and name: GPUs, flavors that lack a service, and
    /// Kubernetes workloads.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, &'a str, Value)> {
        let gpus = self.gpus.iter().map(|gpu| ("gpu", gpu.name.as_str(), Serde(gpu).into()));
        let flavors = self.flavors.iter().map(|it| it.flavor).filter(|flavor| !flavor.without.is_empty());
        let flavors = flavors.map(|flavor| ("flavor", flavor.name.as_str(), Serde(flavor).into()));
        gpus.chain(flavors).chain(["statefulset", "pod"].map(|kind| ("workload", kind, kind.into())))
    }
}

fn flavors<'a>(stack: &'a Stack) -> Result<Vec<FlavorContext<'a>>, StackError> {
    let context = |flavor: &'a Flavor| {
        let its = stack.flavored(Some(&flavor.name))?;
        let ports = its.endpoints().map(|endpoint| endpoint.port).collect();
        Ok(FlavorContext { flavor, ports, components: its.components.into_keys().collect() })
    };
    stack.flavors.iter().filter(|flavor| flavor.later.is_none()).rev().map(context).collect()
}

impl<'a> ComponentContext<'a> {
    fn new(title: &'a str, pin: &'a Pin) -> Self {
        let package = |pin: &'a PackagePin| PackageContext { pin, file: pin.url.file_name() };
        let mut commit = pin.commit.as_ref();
        let pinned = match &pin.pinned {
            Pinned::Files(artifacts) => PinnedContext::Files { artifacts },
            Pinned::Npm(npm) => PinnedContext::Npm { package: &npm.package, integrity: &npm.integrity },
            Pinned::Git(git) => {
                commit = Some(&git.commit);
                PinnedContext::Git { repository: &git.repository }
            }
            Pinned::Image(image) => PinnedContext::Image { image: &image.name, digest: &image.digest },
            Pinned::Packages(lists) => PinnedContext::Packages {
                packages: lists.iter().map(|(arch, list)| (*arch, list.iter().map(package).collect())).collect(),
            },
        };
        let dated = pin.published.as_ref().map_or(IN_1980, |published| published.moment().timestamp());
        Self { title, version: &pin.version, dated, tag: pin.tag.as_deref(), commit, pinned }
    }
}
