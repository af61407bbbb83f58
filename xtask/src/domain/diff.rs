//! What changed from one state of the checkout to another, for people who decide whether to upgrade.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::arch::Arch;
use super::compare;
use super::lock::{Lock, Pin, Pinned};
use super::setting::Setting;
use super::size::mebibytes;
use super::stack::Stack;

/// One side of a comparison.
#[derive(Debug)]
pub(crate) struct State {
    /// `None` if only a lock was named, or if this program cannot read such an old `stack.toml`.
    pub(crate) stack: Option<Stack>,
    pub(crate) lock: Lock,
    /// The text of each npm component's `package-lock.json`, if there is one.
    pub(crate) npm: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Diff {
    pub(crate) components: Vec<Change>,
    /// What the users of the image must check or do.
    pub(crate) by_hand: Vec<String>,
    /// The number of unchanged components.
    pub(crate) unchanged: usize,
    /// The download size for users of the old image, if the images are known.
    pub(crate) pulls: BTreeMap<Arch, Pull>,
}

/// Compressed sizes, in bytes.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pull {
    /// Of the blobs that the old image does not have.
    pub(crate) new: u64,
    pub(crate) whole: u64,
}

impl Pull {
    /// From the blobs of two images, with their sizes.
    pub(crate) fn new<K: Ord>(old: &BTreeMap<K, u64>, new: &BTreeMap<K, u64>) -> Self {
        let fresh = new.iter().filter(|(part, _)| !old.contains_key(*part));
        Self { new: fresh.map(|(_, size)| size).sum(), whole: new.values().sum() }
    }
}

/// A component that was added, removed or changed.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) old: Option<Side>,
    pub(crate) new: Option<Side>,
    /// The page that compares both versions.
    pub(crate) compare: Option<String>,
    /// Its packages that differ, of Debian or npm.
    pub(crate) packages: Vec<PackageChange>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Side {
    pub(crate) version: String,
    pub(crate) published: Option<String>,
    /// Of the download for x86_64, in bytes, if known.
    pub(crate) size: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PackageChange {
    pub(crate) name: String,
    /// All versions that are installed.
    pub(crate) old: Vec<String>,
    pub(crate) new: Vec<String>,
}

type Packages = BTreeMap<String, BTreeSet<String>>;

impl Diff {
    pub(crate) fn new(old: &State, new: &State) -> Self {
        let names: BTreeSet<&String> = old.lock.components.keys().chain(new.lock.components.keys()).collect();
        let total = names.len();
        let components: Vec<Change> = names.into_iter().filter_map(|name| Change::new(name, old, new)).collect();
        let by_hand = by_hand(old, new, &components);
        Self { unchanged: total - components.len(), components, by_hand, pulls: BTreeMap::new() }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if self.components.is_empty() {
            let _ = writeln!(text, "No component changed.");
        } else {
            let _ = writeln!(text, "| component | old | new | published | download |\n|---|---|---|---|---|");
            for change in &self.components {
                let _ = writeln!(text, "{}", change.row());
            }
            let _ = writeln!(text, "\nUnchanged: {} components.", self.unchanged);
        }
        for (arch, Pull { new, whole }) in self.pulls.iter().rev() {
            let (new, whole) = (mebibytes(*new), mebibytes(*whole));
            let _ = writeln!(text, "\nAn upgrade pulls {new} of {whole} on {arch}.");
        }
        if !self.by_hand.is_empty() {
            let _ = writeln!(text, "\n### What to check\n");
            for line in &self.by_hand {
                let _ = writeln!(text, "- {line}");
            }
        }
        for change in self.components.iter().filter(|change| !change.packages.is_empty()) {
            let count = change.packages.len();
            let _ = writeln!(text, "\n<details><summary>{}: {count} packages differ</summary>\n", change.title);
            for PackageChange { name, old, new } in &change.packages {
                let side = |versions: &[String]| match versions {
                    [] => "–".to_owned(),
                    versions => versions.iter().map(|version| code(version)).collect::<Vec<_>>().join(" "),
                };
                let _ = writeln!(text, "- {} {} → {}", code(name), side(old), side(new));
            }
            let _ = writeln!(text, "\n</details>");
        }
        text
    }
}

impl Change {
    fn new(name: &str, old: &State, new: &State) -> Option<Self> {
        let (before, after) = (old.lock.components.get(name), new.lock.components.get(name));
        // The packages of an added or removed component are not listed.
        let packages = match (before, after) {
            (Some(_), Some(_)) => package_changes(&packages(name, old), &packages(name, new)),
            _ => Vec::new(),
        };
        if packages.is_empty() && before.map(identity) == after.map(identity) {
            return None;
        }
        let component = [new, old].into_iter().find_map(|state| state.stack.as_ref()?.components.get(name));
        let compare = component.zip(before).zip(after).and_then(|((component, before), after)| {
            let after = compare::reference(after.tag.as_deref(), after.commit.as_ref());
            compare::link(&component.source, before, after)
        });
        Some(Self {
            name: name.to_owned(),
            title: component.map_or(name, |component| &component.title).to_owned(),
            old: before.map(Side::new),
            new: after.map(Side::new),
            compare,
            packages,
        })
    }

    fn row(&self) -> String {
        let version = |side: &Option<Side>| side.as_ref().map_or("–".to_owned(), |side| code(&side.version));
        let title = match &self.compare {
            Some(link) => format!("[{}]({link})", self.title),
            None => self.title.clone(),
        };
        let published = self.new.as_ref().and_then(|side| side.published.as_deref()).unwrap_or("–");
        let size = |side: &Option<Side>| side.as_ref().and_then(|side| side.size);
        let download = match (size(&self.old), size(&self.new)) {
            (Some(old), Some(new)) => format!("{} → {}", mebibytes(old), mebibytes(new)),
            (None, Some(new)) => mebibytes(new),
            _ => "–".to_owned(),
        };
        format!("| {title} | {} | {} | {published} | {download} |", version(&self.old), version(&self.new))
    }
}

/// What makes two pins differ: not the dates.
fn identity(pin: &Pin) -> (&str, &Pinned) {
    (&pin.version, &pin.pinned)
}

impl Side {
    fn new(pin: &Pin) -> Self {
        let size = match &pin.pinned {
            Pinned::Files(files) => files.values().last().and_then(|file| file.size),
            Pinned::Packages(lists) => lists.values().last().map(|list| list.iter().map(|package| package.size).sum()),
            Pinned::Npm(_) | Pinned::Git(_) | Pinned::Image(_) => None,
        };
        let published = pin.published.as_ref().map(|published| published.date().to_string());
        Self { version: pin.version.clone(), published, size }
    }
}

/// The installed packages in a `package-lock.json`.
#[derive(Deserialize)]
struct Lockfile {
    packages: BTreeMap<String, Installed>,
}

#[derive(Deserialize)]
struct Installed {
    #[serde(default)]
    version: String,
    /// Empty for any.
    #[serde(default)]
    os: Vec<String>,
    #[serde(default)]
    cpu: Vec<String>,
}

impl Installed {
    /// Whether an image has it: a lockfile lists the packages of all systems.
    fn is_for_images(&self) -> bool {
        let has = |list: &[String], wanted: &[&str]| list.is_empty() || list.iter().any(|it| wanted.contains(&&**it));
        has(&self.os, &["linux"]) && has(&self.cpu, &Arch::ALL.map(Arch::npm))
    }
}

/// The packages of a component, by name.
fn packages(name: &str, state: &State) -> Packages {
    let mut packages = Packages::new();
    if let Some(Pin { pinned: Pinned::Packages(lists), .. }) = state.lock.components.get(name) {
        for package in lists.values().flatten() {
            packages.entry(package.name.clone()).or_default().insert(package.version.clone());
        }
    }
    // `bump` and the build report a lockfile that cannot be read.
    let lockfile = state.npm.get(name).and_then(|text| serde_json::from_str::<Lockfile>(text).ok());
    for (path, installed) in lockfile.into_iter().flat_map(|lockfile| lockfile.packages) {
        if let Some((_, package)) = path.rsplit_once("node_modules/").filter(|_| installed.is_for_images()) {
            packages.entry(package.to_owned()).or_default().insert(installed.version);
        }
    }
    packages
}

fn package_changes(old: &Packages, new: &Packages) -> Vec<PackageChange> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let versions = |side: &Packages| side.get(name).into_iter().flatten().cloned().collect::<Vec<_>>();
        let change = PackageChange { name: name.clone(), old: versions(old), new: versions(new) };
        (change.old != change.new).then_some(change)
    };
    names.into_iter().filter_map(change).collect()
}

fn by_hand(old: &State, new: &State, changes: &[Change]) -> Vec<String> {
    let (Some(old), Some(new)) = (&old.stack, &new.stack) else { return Vec::new() };
    let mut lines = Vec::new();
    for change in changes.iter().filter(|change| change.old.is_some() && change.new.is_some()) {
        let upgrade = new.components.get(&change.name).and_then(|component| component.upgrade.as_deref());
        lines.extend(upgrade.map(|upgrade| format!("{}: {upgrade}", change.title)));
    }
    for setting in &new.settings {
        let name = code(&setting.name);
        match old.settings.iter().find(|before| before.name == setting.name) {
            None => lines.push(format!("{name} is new: {}", setting.help)),
            Some(before) if default(before) != default(setting) => {
                lines.push(format!("the default of {name} is {} (was {})", default(setting), default(before)));
            }
            Some(_) => {}
        }
    }
    for setting in &old.settings {
        if new.settings.iter().all(|after| after.name != setting.name) {
            lines.push(format!("{} was removed", code(&setting.name)));
        }
    }
    for service in &new.services {
        let ports = |stack: &Stack| {
            let service = stack.services.iter().find(|other| other.name == service.name);
            service.map(|service| service.endpoints.iter().map(|endpoint| endpoint.port).collect::<Vec<_>>())
        };
        match (ports(old), ports(new)) {
            (Some(was), Some(is)) if was != is => {
                lines.push(format!("{} is on the ports {is:?} (was {was:?})", service.title));
            }
            (None, Some(_)) => lines.push(format!("{} is a new service", service.title)),
            _ => {}
        }
    }
    lines
}

/// A default as Markdown; it may contain other settings in braces.
fn default(setting: &Setting) -> String {
    let default = setting.default.as_ref().or(setting.compose_default.as_ref());
    default.map_or("nothing".to_owned(), |text| format!("`{}`", text.replace('`', "'")))
}

/// An upstream's name or version as Markdown code, without characters that could end it.
fn code(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".+:~@/_-".contains(letter);
    format!("`{}`", text.chars().map(|letter| if plain(letter) { letter } else { '?' }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STACK: &str = include_str!("../../../stack.toml");
    const LOCK: &str = include_str!("../../testdata/frozen/versions.lock");

    fn state(stack: &str, lock: &str, npm: &str) -> State {
        let npm = [("openclaw".to_owned(), npm.to_owned())].into();
        State { stack: Some(Stack::parse(stack).unwrap()), lock: Lock::parse(lock).unwrap(), npm }
    }

    fn npm(packages: &[(&str, &str)]) -> String {
        let packages: BTreeMap<_, _> =
            packages.iter().map(|(path, version)| (*path, serde_json::json!({ "version": version }))).collect();
        serde_json::json!({ "lockfileVersion": 3, "packages": packages }).to_string()
    }

    #[test]
    fn the_date_of_a_pin_is_not_a_change() {
        let seen = LOCK.replacen("published = \"", "# published = \"", 1);
        let diff = Diff::new(&state(STACK, LOCK, "{}"), &state(STACK, &seen, "{}"));
        assert!(diff.components.is_empty() && diff.by_hand.is_empty(), "{diff:?}");
        assert_eq!(diff.markdown(), "No component changed.\n");
    }

    #[test]
    fn an_upgrade_pulls_new_blobs_only() {
        let (old, new) = ([("a", 3 << 20), ("b", 1)].into(), [("a", 3 << 20), ("c", 1 << 20)].into());
        let mut diff = Diff::new(&state(STACK, LOCK, "{}"), &state(STACK, LOCK, "{}"));
        diff.pulls.insert(Arch::X86_64, Pull::new(&old, &new));
        assert!(diff.markdown().ends_with("\nAn upgrade pulls 1.0 MiB of 4.0 MiB on x86_64.\n"), "{}", diff.markdown());
    }

    #[test]
    fn versions_packages_and_manual_steps_are_listed() {
        let old =
            LOCK.replace(&Lock::parse(LOCK).unwrap().components["convex"].version, "precompiled-2020-01-01-0123abc");
        let old = old.replace("name = \"curl\"\nversion = \"", "name = \"curl\"\nversion = \"0~");
        let before = npm(&[("", "1"), ("node_modules/a", "1.0.0"), ("node_modules/gone", "1.0.0")]);
        let after = npm(&[
            ("", "2"),
            ("node_modules/a", "1.0.0"),
            ("node_modules/b/node_modules/@s/a", "2.0.0"),
            ("node_modules/a/node_modules/a", "9`](x)\n"),
        ]);
        let stack = STACK.replacen("name = \"LLAMACPP_CTX_SIZE\"", "name = \"LLAMACPP_OLD\"", 1);
        let stack = stack.replacen("default = \"127.0.0.1\"", "default = \"127.0.0.9\"", 1);
        let diff = Diff::new(&state(&stack, &old, &before), &state(STACK, LOCK, &after));
        let names: Vec<&str> = diff.components.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["convex", "debian", "openclaw"]);
        let text = diff.markdown();
        for expected in [
            "compare/precompiled-2020-01-01-0123abc...",
            "| `precompiled-2020-01-01-0123abc` | `precompiled-",
            "- Convex backend: ",
            "- `LLAMACPP_CTX_SIZE` is new: ",
            "- `LLAMACPP_OLD` was removed",
            "(was `127.0.0.9`)",
            "<details><summary>Debian packages: 1 packages differ</summary>",
            "- `a` `1.0.0` → `1.0.0` `9???x??`",
            "- `@s/a` – → `2.0.0`",
            "- `gone` `1.0.0` → –",
        ] {
            assert!(text.contains(expected), "no {expected:?} in\n{text}");
        }
        assert!(!text.contains("](x)"), "{text}");
    }
}
