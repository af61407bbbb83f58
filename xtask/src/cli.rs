//! The command line: types only, no work.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::arch::Arch;
use crate::domain::mirror::Mirror;

/// Builds the Mission Control image: resolves upstream releases, pins them, renders, builds, releases.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Fetch what is at FROM from TO instead, by prefix: metadata, downloads and images (repeatable)
    #[arg(long = "mirror", value_name = "FROM=TO", global = true)]
    pub(crate) mirrors: Vec<Mirror>,
    /// Format of results on stdout
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) format: Format,
    /// Use no network: only what earlier runs cached and `fetch` downloaded
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// Time limit for connections and for transfers that stall
    #[arg(long, value_name = "SECONDS", global = true, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// The checkout to work on: the folder with stack.toml
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) root: Option<PathBuf>,
    /// Print errors only
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print which programs are run
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Whether to colour errors and help
    #[arg(long, value_name = "WHEN", default_value_t, global = true)]
    pub(crate) color: clap::ColorChoice,
}

/// Parses this process's command line, and sets the colours that it requests.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    use anstream::ColorChoice;

    // Before parsing, so that it applies to parse errors too.
    let choice = match argument("--color").as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    };
    choice.write_global();
    Cli::try_parse()
}

/// Whether JSON was requested, even by an invalid command line.
pub(crate) fn asks_for_json() -> bool {
    argument("--format").as_deref() == Some("json")
}

/// The value of an option, before the command line is parsed.
fn argument(name: &str) -> Option<String> {
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(name)? {
        "" => words.get(index + 1).cloned(),
        value => value.strip_prefix('=').map(str::to_owned),
    })
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a component to stack.toml
    Add(Add),
    /// Remove a component from stack.toml and versions.lock
    Remove(Remove),
    /// List newer upstream versions; writes nothing
    Outdated(Outdated),
    /// Pin newer versions: all components, or the named ones
    Bump(Bump),
    /// Check every pin against its upstream, or a released image against its git tag
    Verify(Verify),
    /// Download all pinned files into the shared store
    Fetch(Names),
    /// Render image/ and the generated parts of README.md and docs/ from the stack and the lock
    Render(Render),
    /// Build the image of one architecture, or of all, as an OCI layout on disk
    Build(Build),
    /// Rebuild a release from scratch, and name the first layer and file that differ
    Repro(Repro),
    /// Compose the next image tag, parse one, or list the existing ones
    #[command(subcommand)]
    Tag(Tag),
    /// Show what changed between two locks or commits, as Markdown
    Diff(Diff),
    /// Write bills of materials (`CycloneDX` and SPDX) of built images
    Sbom(Sbom),
    /// Build, tag the commit, push, test what was pushed, publish; continues an interrupted release
    Release(Release),
    /// Start an image and check each of its services
    Smoke(Smoke),
    /// Measure start and stop times, memory and size of an image
    Benchmark(Benchmark),
    /// Run a whole release against embedded upstreams, in a scratch directory
    Rehearse(Rehearse),
    /// List what this machine lacks or has in too old a version, with the command that fixes it
    Doctor,
    /// Print a shell completion script for a command or alias named `xtask`
    Completions { shell: clap_complete::Shell },
    /// Print the manual page (roff) of the tool or of one command
    Man { command: Option<String> },
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Names of components in stack.toml [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Where a component comes from, typed as `github:OWNER/REPO`, in the terms of stack.toml.
#[derive(Debug, Clone)]
pub(crate) struct From {
    pub(crate) kind: String,
    /// What stack.toml has of its source besides the kind.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// The usual version scheme.
    pub(crate) scheme: &'static str,
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || "github:OWNER/REPO, npm:PACKAGE, git:URL, git:URL#BRANCH or oci:IMAGE:TAG".to_owned();
        let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(bad)?;
        let (scheme, fields) = match (kind, rest.split_once('#'), rest.rsplit_once(':')) {
            ("github", ..) => ("semver", vec![("repo", rest)]),
            ("npm", ..) => ("semver", vec![("package", rest)]),
            ("git", Some((url, branch)), _) => ("commit", vec![("repository", url), ("branch", branch)]),
            ("git", None, _) => ("semver", vec![("repository", rest)]),
            ("oci", _, Some((image, tag))) => ("tag", vec![("image", image), ("tag", tag)]),
            _ => return Err(bad()),
        };
        let fields = fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Ok(Self { kind: kind.to_owned(), fields, scheme })
    }
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// Its name in stack.toml
    pub(crate) name: String,
    /// github:OWNER/REPO, npm:PACKAGE, git:URL, git:URL#BRANCH or oci:IMAGE:TAG; add other sources to stack.toml by hand
    #[arg(long, value_name = "SOURCE")]
    pub(crate) from: From,
    /// Display name [default: NAME]
    #[arg(long)]
    pub(crate) title: Option<String>,
    /// Version scheme [default: semver; tag of an image, commit of a branch]
    #[arg(long)]
    pub(crate) scheme: Option<String>,
    /// File name of the release asset, with {tag}, {version} and {arch}
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// A path that the archive must contain
    #[arg(long, value_name = "PATH", requires = "file")]
    pub(crate) contains: Option<String>,
    /// How upstream spells an architecture (repeatable): `x86_64=x64`
    #[arg(long = "arch", value_name = "ARCH=SPELLING")]
    pub(crate) arches: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Its name in stack.toml
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Outdated {
    #[command(flatten)]
    pub(crate) pins: Names,
    /// Exit with 3 if `bump` would pin something newer
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    pub(crate) pins: Names,
    /// Check this released image instead: its digests, its lock, and its origin
    #[arg(long, value_name = "IMAGE", conflicts_with = "names")]
    pub(crate) image: Option<String>,
    /// The public key that it must be signed with
    #[arg(long, value_name = "FILE", requires = "image")]
    pub(crate) key: Option<PathBuf>,
    /// The GitHub repository that it must be attested by
    #[arg(long, value_name = "OWNER/NAME", requires = "image")]
    pub(crate) github: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Bump {
    #[command(flatten)]
    pub(crate) pins: Names,
    /// Pin this version of the named component
    #[arg(long, value_name = "VERSION")]
    pub(crate) to: Option<String>,
    /// Ignore `minimum_age_days` this once
    #[arg(long)]
    pub(crate) now: bool,
    /// Pin what can be resolved if other components fail; they are reported, and the exit code is 1
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Resolve and print, but write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Render {
    /// Write nothing; print a diff and exit with 3 if something would change
    #[arg(long)]
    pub(crate) check: bool,
}

/// `--arch`: one architecture or all.
#[derive(Debug, Clone)]
pub(crate) struct Arches(pub(crate) Vec<Arch>);

impl std::str::FromStr for Arches {
    type Err = crate::domain::arch::UnknownArch;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(if text == "all" { Arch::ALL.to_vec() } else { vec![text.parse()?] }))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// x86_64, aarch64 or all
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Arches,
    /// Output folder for the OCI layouts, one per architecture [default: the checkout's target/image]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Do not use the build cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Import the build cache from here (`type=local,src=DIR`, `type=registry,ref=IMAGE`); not for releases
    #[arg(long, value_name = "CACHE", conflicts_with = "no_cache")]
    pub(crate) cache_from: Option<String>,
    /// Export the build cache to here (`type=local,dest=DIR,mode=max`)
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Option<String>,
    /// The buildx builder to use [default: the selected one]
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    #[command(flatten)]
    pub(crate) flavor: Flavor,
}

/// `--flavor`.
#[derive(Debug, Args)]
pub(crate) struct Flavor {
    /// The flavor of the image, of those that stack.toml has [default: the first]
    #[arg(long = "flavor", value_name = "NAME")]
    flavor: Option<String>,
}

impl Flavor {
    pub(crate) fn name(&self) -> Option<&str> {
        self.flavor.as_deref()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Repro {
    /// A released image (registry/name:tag), or an output folder of `build`
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// x86_64, aarch64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Compare these OCI layouts, one folder per architecture, instead of building
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "builder"])]
    pub(crate) layouts: Option<PathBuf>,
    /// Output folder for the OCI layouts [default: the checkout's target/repro]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// The buildx builder to use [default: the selected one]
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    #[command(flatten)]
    pub(crate) flavor: Flavor,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tag {
    /// Print the tag that the next release gets
    Next {
        /// The release's date instead of today's, as YYYYMMDD
        #[arg(long)]
        date: Option<String>,
        #[command(flatten)]
        flavor: Flavor,
    },
    /// Print the parts of a tag
    Parse { tag: String },
    /// Print the tags of a flavor that the git repository has, newest last
    List {
        #[command(flatten)]
        flavor: Flavor,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// A commit, tag or branch, or the path of a lock
    pub(crate) old: String,
    /// The same [default: the working tree]
    pub(crate) new: Option<String>,
    /// Also show the bytes that an upgrade pulls: both images, by reference or as output folders of `build`
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Sbom {
    /// x86_64, aarch64 or all
    #[arg(long, value_name = "ARCH", default_value = "all")]
    pub(crate) arch: Arches,
    /// Folder of the OCI layouts, one per architecture [default: the checkout's target/image]
    #[arg(long, value_name = "DIR")]
    pub(crate) layouts: Option<PathBuf>,
    /// Output folder [default: the checkout's dist]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) flavor: Flavor,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Registry and repository to push to (ghcr.io/owner/name)
    #[arg(long, value_name = "REGISTRY/NAME")]
    pub(crate) registry: String,
    /// Print the plan, write what can be written without network and engine, and stop
    #[arg(long, conflicts_with = "until")]
    pub(crate) dry_run: bool,
    /// Use the OCI layouts of an earlier build in this folder, instead of building
    #[arg(long, value_name = "DIR")]
    pub(crate) layouts: Option<PathBuf>,
    /// The buildx builder to use [default: the selected one]
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    #[command(flatten)]
    pub(crate) flavor: Flavor,
    /// Output folder for the joined layout, the notes and the bills of materials [default: the checkout's dist]
    #[arg(long, value_name = "DIR")]
    pub(crate) dist: Option<PathBuf>,
    /// The GitHub repository to publish the release in, with `gh`
    #[arg(long, value_name = "OWNER/NAME", env = "GITHUB_REPOSITORY")]
    pub(crate) github: Option<String>,
    /// Sign and attest with this cosign key (a file or a key service)
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<String>,
    /// Stop after this step; the same command without it continues
    #[arg(long, value_enum, value_name = "STEP")]
    pub(crate) until: Option<Until>,
}

/// Where `release --until` stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// The images are joined under one index and the files of the release are written; nothing was uploaded
    Layout,
    /// The commit is tagged
    Tag,
    /// The image is public under its tag
    Push,
    /// `latest` and the tag of the flavor point to it
    Move,
    /// The release is published at GitHub
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct Smoke {
    /// The image to start: a reference that the engine has, or the folder of an OCI layout [default: the
    /// native architecture's in the checkout's target/image]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// Model (GGUF) for llama.cpp, instead of a small generated one that always says one word
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Run only these parts, separated by commas; a wrong name lists all of them
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    #[command(flatten)]
    pub(crate) flavor: Flavor,
    /// Skip fault injection: killed services, restarts, refusals, a full disk
    #[arg(long, conflicts_with = "only")]
    pub(crate) quick: bool,
    /// Fail if there is no Chromium, instead of skipping the browser checks
    #[arg(long)]
    pub(crate) require_browser: bool,
    /// Output folder for the report and screenshots [default: the checkout's target/smoke]
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Benchmark {
    /// The image to start: a reference that the engine has, or the folder of an OCI layout [default: the
    /// native architecture's in target/image]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// The OCI layout whose layers are weighed, of an image built from this checkout [default: that of --image
    /// where it is one, or the native architecture's in target/image]
    #[arg(long, value_name = "DIR")]
    pub(crate) layout: Option<PathBuf>,
    /// Model (GGUF) for llama.cpp; without one it starts as a router and loads nothing
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Number of runs for each measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,
    /// Seconds to wait before a container counts as idle
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) settle: u64,
    /// Wait before each start until other processes use at most this percentage of the machine, and repeat disturbed runs
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) others: Option<u8>,
    /// Measure only this (repeatable)
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
}

/// What `benchmark` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// From `docker run` to ready: all together, one after the other, each alone
    Start,
    /// Of each service, when idle
    Memory,
    /// `docker stop`, when idle
    Stop,
    /// Of each component's layer, against what was downloaded for it
    Size,
}

#[derive(Debug, Args)]
pub(crate) struct Rehearse {
    /// Install a Docker engine from the distribution (Debian or Ubuntu, as root) and run a private instance
    #[arg(long)]
    pub(crate) provision: bool,
    /// Use the real program instead of a stand-in (repeatable): a git repository for `manager` and
    /// `mission-control`, a program of this machine's architecture for `llamacpp`,
    /// a folder of pages for `convex-dashboard`
    #[arg(long, value_name = "NAME=PATH", value_parser = real)]
    pub(crate) with: Vec<(String, PathBuf)>,
    /// Skip fault injection in the smoke test: killed services, restarts, refusals, a full disk
    #[arg(long)]
    pub(crate) quick: bool,
    /// Keep the scratch directory
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `NAME=PATH` of `rehearse --with`.
fn real(text: &str) -> Result<(String, PathBuf), String> {
    let parts = text.split_once('=').filter(|(name, path)| !name.is_empty() && !path.is_empty());
    let (name, path) = parts.ok_or_else(|| format!("`{text}` is not of the form NAME=PATH"))?;
    Ok((name.to_owned(), path.into()))
}
