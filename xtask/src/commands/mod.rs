//! One file or folder for each command. They share [`Session`], and those with upstreams `resolve`; `release` and
//! `rehearse` call other commands.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::{Cli, Command, Format, Global};
use crate::domain::lock::Lock;
use crate::domain::mirror::Mirrors;
use crate::domain::stack::Stack;
use crate::io;
use crate::io::http::Memory;

pub(crate) mod benchmark;
pub(crate) mod build;
pub(crate) mod bump;
mod checkout;
mod diff;
pub(crate) mod doctor;
mod edit;
mod fetch;
mod manual;
pub(crate) mod outdated;
pub(crate) mod rehearse;
pub(crate) mod release;
pub(crate) mod released;
pub(crate) mod render;
mod repro;
mod resolve;
mod sbom;
pub(crate) mod smoke;
pub(crate) mod tag;
pub(crate) mod verify;

/// The global options, for all commands.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) root: PathBuf,
    pub(crate) mirrors: Mirrors,
    pub(crate) format: Format,
    pub(crate) memory: Memory,
}

impl Session {
    fn new(global: Global) -> anyhow::Result<Self> {
        let memory = if global.offline { Memory::Alone } else { Memory::Shared };
        let root = checkout::find_root(global.root.as_deref())?;
        Ok(Self { root, mirrors: Mirrors::new(global.mirrors), format: global.format, memory })
    }

    /// Reads stack.toml and versions.lock.
    fn read(&self) -> anyhow::Result<(Stack, Lock)> {
        let stack = checkout::read_stack(&self.root)?;
        let lock = checkout::read_lock(&self.root, &stack)?;
        Ok((stack, lock))
    }

    /// Prints a result as JSON or as text.
    fn print(&self, document: &impl Serialize, lines: impl FnOnce() -> String) -> anyhow::Result<()> {
        print(self.format, document, lines)
    }

    /// Prints a result as JSON, or as text with a line for each item.
    fn list(&self, document: &impl Serialize, lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
        self.print(document, || lines.collect::<Vec<_>>().join("\n"))
    }

    /// A path from the command line, relative to the current folder, or a default one in the checkout.
    fn path(&self, named: Option<&Path>, usual: &str) -> anyhow::Result<PathBuf> {
        match named {
            Some(named) => Ok(std::path::absolute(named)?),
            None => Ok(self.root.join(usual)),
        }
    }
}

fn print(format: Format, document: &impl Serialize, lines: impl FnOnce() -> String) -> anyhow::Result<()> {
    if format == Format::Json {
        return io::document(document);
    }
    let lines = lines();
    if !lines.is_empty() {
        io::print(&lines);
    }
    Ok(())
}

pub(crate) async fn run(cli: Cli) -> anyhow::Result<()> {
    let format = cli.global.format;
    let session = || Session::new(cli.global);
    match cli.command {
        // These two need no checkout.
        Command::Completions { shell } => manual::completions(shell, format),
        Command::Man { command } => manual::page(command.as_deref(), format),
        Command::Add(args) => edit::add(&session()?, &args).await,
        Command::Remove(args) => edit::remove(&session()?, &args).await,
        Command::Outdated(args) => outdated::run(&session()?, &args).await.context("cannot list outdated components"),
        Command::Bump(args) => bump::run(&session()?, &args).await,
        Command::Verify(args) => match &args.image {
            Some(image) => released::run(&session()?, image, &args).await,
            None => verify::run(&session()?, &args.pins).await,
        },
        Command::Fetch(args) => fetch::run(&session()?, &args).await,
        Command::Render(args) => render::run(&session()?, &args).await,
        Command::Build(args) => build::run(&session()?, &args).await,
        Command::Repro(args) => repro::run(&session()?, &args).await,
        Command::Tag(args) => tag::run(&session()?, &args).await,
        Command::Diff(args) => diff::run(&session()?, &args).await,
        Command::Sbom(args) => sbom::run(&session()?, &args),
        Command::Release(args) => release::run(&session()?, &args).await,
        Command::Smoke(args) => smoke::run(&session()?, &args).await,
        Command::Benchmark(args) => benchmark::run(&session()?, &args).await,
        Command::Rehearse(args) => rehearse::run(&session()?, &args).await,
        Command::Doctor => doctor::run(&session()?).await,
    }
}
