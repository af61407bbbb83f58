//! `sbom`: bills of materials of built images, in both formats.

use std::path::{Path, PathBuf};

use super::Session;
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::lock::Lock;
use crate::domain::sbom::{self, Bill};
use crate::domain::stack::Stack;
use crate::engine::{contents, layout};

pub(crate) fn run(session: &Session, args: &cli::Sbom) -> anyhow::Result<()> {
    let (stack, lock) = session.read()?;
    let stack = stack.flavored(args.flavor.name())?;
    let layouts = session.path(args.layouts.as_deref(), &stack.folder("target/image"))?;
    let output = session.path(args.output.as_deref(), &stack.folder("dist"))?;
    let mut written = Vec::new();
    for arch in args.arch.list() {
        written.extend(write(&stack, &lock, arch, &layouts.join(arch.as_str()), &output)?);
    }
    let lines = || written.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join("\n");
    session.print(&serde_json::json!({ "written": written }), lines)
}

/// Writes both bills of one image, and returns their paths.
pub(super) fn write(
    stack: &Stack,
    lock: &Lock,
    arch: Arch,
    folder: &Path,
    output: &Path,
) -> anyhow::Result<[PathBuf; 2]> {
    let image = layout::read(folder, arch)?;
    let packages = contents::packages(folder)?;
    let bill = Bill::new(stack, lock, arch, image.digest, &packages);
    fs_err::create_dir_all(output)?;
    let paths = ["cdx", "spdx"].map(|form| output.join(format!("sbom-{arch}.{form}.json")));
    for (path, contents) in paths.iter().zip([sbom::cyclonedx(&bill), sbom::spdx(&bill)]) {
        fs_err::write(path, serde_json::to_string_pretty(&contents)? + "\n")?;
    }
    Ok(paths)
}
