//! `stack.toml`: the components of the image, their sources and version schemes, services and settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use regex::Regex;
use semver::VersionReq;
use serde::Deserialize;

use super::arch::Arch;
use super::image_tag::ImageTagTemplate;
use super::service::{self, Endpoint, Service, ServiceError};
use super::setting::{self, Setting, SettingError};
use super::text::is_lower;
use super::trust::Trust;
use super::version::Scheme;

/// The schema of `stack.toml` that this program reads.
pub(crate) const SCHEMA: u32 = 1;

#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stack {
    /// Checked before the rest is read.
    #[serde(rename = "schema")]
    _schema: u32,
    pub(crate) image: Image,
    pub(crate) components: BTreeMap<String, Component>,
    #[serde(default)]
    pub(crate) waivers: Vec<Waiver>,
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    /// The first is the whole image; an empty list means that there is no other one.
    #[serde(default)]
    pub(crate) flavors: Vec<Flavor>,
    /// The flavor of this stack.
    #[serde(skip)]
    pub(crate) flavor: Flavor,
    #[serde(default)]
    pub(crate) gpus: Vec<Gpu>,
    #[serde(default)]
    pub(crate) settings: Vec<Setting>,
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) flavor: String,
    /// Template of the image tag; see [`super::image_tag`].
    pub(crate) tag: String,
    pub(crate) license: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) health: Health,
}

/// The health check: seconds, and failures in a row.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, rename_all(deserialize = "kebab-case"))]
pub(crate) struct Health {
    pub(crate) interval: u32,
    pub(crate) timeout: u32,
    pub(crate) retries: u32,
}

/// A variant of the image: a target of the same Dockerfile, without some of the layers.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flavor {
    pub(crate) name: String,
    pub(crate) title: String,
    /// The value of `{flavor}` in its tags, and its own template for them; by default those of `[image]`.
    pub(crate) part: Option<String>,
    pub(crate) tag: Option<String>,
    /// Services that it does not have.
    #[serde(default)]
    pub(crate) without: Vec<String>,
    /// Settings that it needs.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Why it cannot be built yet.
    pub(crate) later: Option<String>,
}

/// A kind of GPU, and its names in engines.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Its name in the Container Device Interface.
    pub(crate) cdi: Option<String>,
    /// Files and folders of the host's `/dev`.
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    /// The settings with the groups that own these devices.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// Its resource name in Kubernetes.
    pub(crate) resource: String,
}

impl Image {
    /// The label with the digest of the lock that the image was built from.
    pub(crate) fn lock_label(&self) -> String {
        format!("{}.lock", self.name)
    }

    /// The label with the flavor of the image.
    pub(crate) fn flavor_label(&self) -> String {
        format!("{}.flavor", self.name)
    }
}

#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Component {
    pub(crate) title: String,
    pub(crate) scheme: Scheme,
    pub(crate) source: Source,
    /// The allowed versions.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(crate) require: Option<VersionReq>,
    /// The versions of other components that it needs.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "BTreeMap<String, String>"))]
    pub(crate) needs: BTreeMap<String, VersionReq>,
    /// Where each version states which versions of others it needs.
    #[serde(default)]
    pub(crate) states: BTreeMap<String, Stated>,
    /// The minimum age of a version that `bump` takes by itself; a day by default.
    pub(crate) minimum_age_days: Option<u32>,
    /// `bump` keeps the pin.
    pub(crate) hold: Option<Hold>,
    /// The SPDX license; npm and Debian packages state their own.
    pub(crate) license: Option<String>,
    /// What users must know or do when its version changes.
    pub(crate) upgrade: Option<String>,
    /// How its digests must be verified at least.
    pub(crate) trust: Option<Trust>,
    pub(crate) file: Option<FileSpec>,
    /// The upstream's spelling of each architecture. Empty if one file is for all.
    #[serde(default)]
    pub(crate) arch: BTreeMap<Arch, String>,
}

/// Where versions come from.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub(crate) enum Source {
    /// Releases of a GitHub repository.
    Github {
        /// `owner/name`.
        repo: String,
        /// The text before the version in tags (`bun-` in `bun-v1.4.2`).
        #[serde(default)]
        prefix: String,
        /// The asset of a stable release that names the release to take, in one line.
        pointer: Option<String>,
        /// An address that returns `{"version": TAG}` for the release that upstream promotes.
        promoted: Option<String>,
        /// The component whose releases it shares.
        same_release_as: Option<String>,
    },
    /// A package of the npm registry, locked by `image/<directory>/package-lock.json`.
    Npm {
        package: String,
        directory: String,
        /// `owner/name` on GitHub: if the package has provenance, one of its workflows must have built it.
        repository: Option<String>,
    },
    /// A git repository: the newest tag, or the head of `branch`.
    Git { repository: String, branch: Option<String> },
    /// A container image.
    Oci { image: String, tag: String },
    /// Packages of a Debian suite, at one moment of a snapshot archive.
    Debian {
        suite: String,
        /// Address of the archive, with `{version}`.
        archive: String,
        /// Address of the archive of security updates, with `{version}`.
        security: String,
        packages: Vec<String>,
        /// Dependencies to omit, each with the reason.
        #[serde(default)]
        omit: BTreeMap<String, String>,
    },
}

impl Source {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Github { .. } => "github",
            Self::Npm { .. } => "npm",
            Self::Git { .. } => "git",
            Self::Oci { .. } => "oci",
            Self::Debian { .. } => "debian",
        }
    }
}

/// The file of a component, for each architecture.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileSpec {
    /// Its name; may contain `{tag}`, `{version}` and `{arch}`.
    pub(crate) name: String,
    /// Its address, with the same placeholders and `{name}`; by default the release's asset of that name.
    pub(crate) url: Option<String>,
    /// The address of its list of checksums, in the format of `sha256sum`, if GitHub does not host it.
    pub(crate) checksums: Option<String>,
    /// A file in the checkout with the `OpenPGP` keys that sign that list; the signed list is at its address with `.asc`.
    pub(crate) keyring: Option<PathBuf>,
    /// A path that the archive must contain, below its top folder if it has one. `bump` checks it if it downloads the
    /// file; the build checks it always.
    pub(crate) contains: String,
}

impl FileSpec {
    /// Fills in a template. `arch` is the upstream's spelling, empty for a file for all.
    pub(crate) fn fill(template: &str, tag: &str, version: &str, arch: &str, name: &str) -> String {
        template.replace("{tag}", tag).replace("{version}", version).replace("{arch}", arch).replace("{name}", name)
    }

    pub(crate) fn file_name(&self, tag: &str, version: &str, arch: &str) -> String {
        Self::fill(&self.name, tag, version, arch, "")
    }
}

/// Where an upstream states which versions of another component it works with.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Stated {
    /// A field of `engines` in a package's manifest: a range.
    Engines { engines: String },
    /// A file of a git repository, and a pattern whose only group is the version.
    File {
        file: String,
        pattern: Pattern,
        /// The version is the lowest, not the only one.
        #[serde(default, rename = "at-least")]
        at_least: bool,
    },
}

/// A regular expression with one group.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern(#[cfg_attr(test, schemars(with = "String"))] Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let regex = Regex::new(&text).map_err(|error| error.to_string())?;
        if regex.captures_len() == 2 { Ok(Self(regex)) } else { Err(format!("`{text}` has not one group in brackets")) }
    }
}

impl Pattern {
    /// The text of the group at the first match.
    pub(crate) fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        Some(self.0.captures(text)?.get(1)?.as_str())
    }
}

/// Keeps a pin until a day, for a reason.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    pub(crate) reason: String,
    /// The last day, such as `2026-12-31`.
    pub(crate) until: chrono::NaiveDate,
}

/// An exception to a rule between components, for exactly these versions.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Waiver {
    pub(crate) component: String,
    pub(crate) rule: String,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) reason: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    #[error("stack.toml does not parse")]
    Syntax(#[from] toml::de::Error),
    #[error("stack.toml has schema {found}, this program knows {SCHEMA}")]
    Schema { found: u32 },
    #[error("component name `{0}` is not made of lowercase letters, digits and hyphens")]
    Name(String),
    #[error("`{component}` names the component `{other}`, which stack.toml does not have")]
    Dangling { component: String, other: String },
    #[error("component `{0}` comes from github and needs `file`")]
    NoFile(String),
    #[error("the services in stack.toml are invalid")]
    Services(#[from] ServiceError),
    #[error("the settings in stack.toml are invalid")]
    Settings(#[from] SettingError),
    #[error("flavor `{name}`: {why}")]
    Flavor { name: String, why: String },
    #[error("unknown component `{name}`; known: {}", known.join(", "))]
    Unknown { name: String, nearest: Option<String>, known: Vec<String> },
}

/// Read first, so that a newer schema has a clear error.
#[derive(Deserialize)]
pub(super) struct SchemaOnly {
    pub(super) schema: u32,
}

impl Stack {
    /// Reads `stack.toml` and checks names and references.
    pub(crate) fn parse(text: &str) -> Result<Self, StackError> {
        let SchemaOnly { schema } = toml::from_str(text)?;
        if schema != SCHEMA {
            return Err(StackError::Schema { found: schema });
        }
        let mut stack: Self = toml::from_str(text)?;
        for (name, component) in &stack.components {
            stack.check_component(name, component)?;
        }
        for waiver in &stack.waivers {
            for name in waiver.versions.keys().chain([&waiver.component]) {
                stack.refer(&waiver.component, name)?;
            }
        }
        service::check(&stack.services)?;
        for service in &stack.services {
            if let Some(component) = &service.component {
                stack.refer(&service.name, component)?;
            }
        }
        setting::complete(&mut stack.settings, &stack.services)?;
        stack.check_flavors()?;
        stack.flavor = stack.flavors.first().cloned().unwrap_or_default();
        Ok(stack)
    }

    fn check_flavors(&self) -> Result<(), StackError> {
        let mut parts = vec![&self.image.flavor];
        for (at, flavor) in self.flavors.iter().enumerate() {
            let wrong = |why: String| Err(StackError::Flavor { name: flavor.name.clone(), why });
            if flavor.name.is_empty() || !is_lower(&flavor.name, b"") {
                return wrong("its name is not made of lowercase letters and digits".to_owned());
            }
            if self.flavors[..at].iter().any(|other| other.name == flavor.name) {
                return wrong("there are two flavors of this name".to_owned());
            }
            if let Some(other) = flavor.without.iter().find(|name| self.services.iter().all(|it| it.name != **name)) {
                return wrong(format!("there is no service `{other}`"));
            }
            if let Some(need) = flavor.needs.iter().find(|name| self.example(name).is_none()) {
                return wrong(format!("there is no setting `{need}` with an example"));
            }
            let is_whole = flavor.part.is_none() && flavor.without.is_empty() && flavor.later.is_none();
            match &flavor.part {
                _ if at == 0 && !is_whole => return wrong("the first flavor must be the whole image".to_owned()),
                None if at > 0 && flavor.later.is_none() => return wrong("it has no `part`".to_owned()),
                Some(part) if parts.contains(&part) => {
                    return wrong(format!("another flavor has the part `{part}` too"));
                }
                part => parts.extend(part),
            }
        }
        Ok(())
    }

    /// The stack of one flavor, by default the first: without its omitted services and their components.
    pub(crate) fn flavored(&self, name: Option<&str>) -> Result<Self, StackError> {
        let Some(name) = name else { return Ok(self.clone()) };
        let wrong = |why: String| StackError::Flavor { name: name.to_owned(), why };
        let flavor = self.flavors.iter().find(|flavor| flavor.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.flavors.iter().map(|flavor| flavor.name.as_str()).collect();
            wrong(format!("stack.toml does not have it; known: {}", known.join(", ")))
        })?;
        if let Some(why) = &flavor.later {
            return Err(wrong(format!("it cannot be built yet: {why}")));
        }
        let mut stack = Self { flavor: flavor.clone(), ..self.clone() };
        if let Some(part) = &flavor.part {
            stack.image.flavor.clone_from(part);
        }
        if let Some(tag) = &flavor.tag {
            stack.image.tag.clone_from(tag);
        }
        let is_left_out = |service: &Service| flavor.without.contains(&service.name);
        stack.services.retain(|service| !is_left_out(service));
        let uses = |services: &[Service], name: &String| services.iter().any(|it| it.component.as_ref() == Some(name));
        stack.components.retain(|name, _| !uses(&self.services, name) || uses(&stack.services, name));
        Ok(stack)
    }

    /// The stack of a released tag's flavor; the whole stack if no flavor matches.
    pub(crate) fn of_tag(&self, tag: &str) -> Self {
        let there = self.flavors.iter().filter_map(|flavor| self.flavored(Some(&flavor.name)).ok());
        let mut named = there.filter(|stack| {
            let template = ImageTagTemplate::parse(&stack.image.tag).ok();
            let parts = template.and_then(|template| template.parse_tag(tag).ok());
            parts.is_some_and(|parts| parts.flavor == stack.image.flavor)
        });
        named.next().unwrap_or_else(|| self.clone())
    }

    pub(crate) fn is_first_flavor(&self) -> bool {
        self.flavors.first().is_none_or(|first| first.name == self.flavor.name)
    }

    /// The flavor's variant of an output folder.
    pub(crate) fn folder(&self, usual: &str) -> String {
        if self.is_first_flavor() { usual.to_owned() } else { format!("{usual}-{}", self.flavor.name) }
    }

    /// The settings that this flavor needs, with their example values.
    pub(crate) fn example_settings(&self) -> BTreeMap<String, String> {
        self.flavor.needs.iter().filter_map(|name| Some((name.clone(), self.example(name)?.clone()))).collect()
    }

    fn example(&self, setting: &str) -> Option<&String> {
        self.settings.iter().find(|it| it.name == setting)?.example.as_ref()
    }

    fn check_component(&self, name: &str, component: &Component) -> Result<(), StackError> {
        if name.is_empty() || !is_lower(name, b"-") {
            return Err(StackError::Name(name.to_owned()));
        }
        for other in component.needs.keys().chain(component.states.keys()) {
            self.refer(name, other)?;
        }
        if let Source::Github { same_release_as, .. } = &component.source {
            if let Some(other) = same_release_as {
                self.refer(name, other)?;
            }
            if component.file.is_none() {
                return Err(StackError::NoFile(name.to_owned()));
            }
        }
        Ok(())
    }

    fn refer(&self, component: &str, other: &str) -> Result<(), StackError> {
        if self.components.contains_key(other) {
            return Ok(());
        }
        Err(StackError::Dangling { component: component.to_owned(), other: other.to_owned() })
    }

    /// All ports of all services.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.services.iter().flat_map(|service| &service.endpoints)
    }

    /// The component of a name; the error suggests the nearest one.
    pub(crate) fn component(&self, name: &str) -> Result<&Component, StackError> {
        self.components.get(name).ok_or_else(|| {
            let known: Vec<String> = self.components.keys().cloned().collect();
            StackError::Unknown { name: name.to_owned(), nearest: nearest(name, &known), known }
        })
    }

    /// The components that share the releases of `name`.
    pub(crate) fn followers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a String, &'a Component)> {
        self.components.iter().filter(move |(_, component)| {
            matches!(&component.source, Source::Github { same_release_as: Some(leader), .. } if leader == name)
        })
    }

    /// The requirements of other components on `name`, by component.
    pub(crate) fn asked_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a VersionReq)> {
        self.components
            .iter()
            .filter_map(move |(asker, component)| component.needs.get(name).map(|need| (asker.as_str(), need)))
    }
}

/// The known name that is nearest to a mistyped one, if it is near enough.
fn nearest(name: &str, known: &[String]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (strsim::levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 || candidate.starts_with(name) || name.starts_with(*candidate))
        .min()
        .map(|(_, candidate)| candidate.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../../stack.toml");

    fn real() -> Stack {
        Stack::parse(TEXT).unwrap()
    }

    #[test]
    fn the_committed_stack_is_valid() {
        let stack = real();
        assert_eq!(stack.followers("convex").map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["convex-dashboard"]);
    }

    /// For editors, which find it by the first line of stack.toml. Written by
    /// `INSTA_UPDATE=always cargo test -p xtask schema`.
    #[test]
    fn the_schema_file_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../stack.schema.json");
        let made = format!("{:#}\n", serde_json::to_value(schemars::schema_for!(Stack)).unwrap());
        if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
            std::fs::write(&path, &made).unwrap();
        }
        let is_current = std::fs::read_to_string(&path).is_ok_and(|committed| committed == made);
        assert!(is_current, "stack.schema.json is old: INSTA_UPDATE=always cargo test -p xtask schema");
        assert!(TEXT.starts_with("#:schema ./stack.schema.json\n"));
    }

    #[test]
    fn a_flavor_omits_services_with_their_components_and_has_its_own_tags() {
        let stack = real();
        assert!(stack.is_first_flavor() && stack.folder("dist") == "dist");
        let remote = stack.flavored(Some("remote")).unwrap();
        let has = |name: &str| remote.services.iter().any(|service| service.name == name);
        assert!(!has("llamacpp") && !has("model") && has("opencode"));
        assert!(!remote.components.contains_key("llamacpp") && remote.components.contains_key("debian"));
        assert_ne!(remote.image.flavor, stack.image.flavor);
        assert_eq!((remote.folder("dist").as_str(), remote.is_first_flavor()), ("dist-remote", false));
        assert!(remote.example_settings()["MODEL_BASE_URL"].starts_with("http"));
        for (name, why) in [("cuda", "it cannot be built yet: "), ("gpu", "known: cpu, remote, ")] {
            assert!(stack.flavored(Some(name)).unwrap_err().to_string().contains(why), "{name}");
        }
    }

    #[test]
    fn unknown_fields_dangling_names_and_invalid_flavors_are_refused() {
        for (from, to, why) in [
            ("schema = 1", "schema = 2\nfuture = true", "stack.toml has schema 2, this program knows 1"),
            ("[image]", "[image]\ncolour = \"red\"", "stack.toml does not parse"),
            (
                "same-release-as = \"convex\"",
                "same-release-as = \"convx\"",
                "`convex-dashboard` names the component `convx`",
            ),
            ("without = [\"model\"", "without = [\"modl\"", "flavor `remote`: there is no service `modl`"),
            ("needs = [\"MODEL_BASE_URL\"", "needs = [\"MODEL_API_KEY\"", "flavor `remote`: there is no setting"),
            ("name = \"remote\"", "name = \"cpu\"", "flavor `cpu`: there are two flavors of this name"),
            ("name = \"remote\"", "name = \"re-mote\"", "flavor `re-mote`: its name is not made of"),
            ("part = \"remote-", "part = \"llamacpp-", "flavor `remote`: another flavor has the part"),
            ("part = \"remote-opencode-openclaw\"\n", "", "flavor `remote`: it has no `part`"),
            ("name = \"cpu\"", "name = \"cpu\"\nlater = \"never\"", "flavor `cpu`: the first flavor must be"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = Stack::parse(&TEXT.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(why), "{to}: {error}");
        }
    }

    #[test]
    fn a_mistyped_component_gets_the_nearest_name() {
        for (name, expected) in [("convx", Some("convex")), ("zzzzzz", None)] {
            let Err(StackError::Unknown { nearest, .. }) = real().component(name).cloned() else {
                panic!("`{name}` is not a component");
            };
            assert_eq!(nearest.as_deref(), expected);
        }
    }

    #[test]
    fn a_pattern_returns_its_only_group() {
        let pattern = |text: &str| Pattern::try_from(text.to_owned());
        let found = pattern("MIN = '([0-9.]+)'").unwrap();
        assert_eq!(found.find("const MIN = '1.0.137'\nconst MIN = '2'"), Some("1.0.137"));
        assert_eq!(found.find("MIN = latest"), None);
        for bad in ["MIN", "(a)(b)", "(", "(?:a)"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
