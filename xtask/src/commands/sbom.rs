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
    let written = write(&stack, &lock, &args.arch.0, &layouts, &output)?;
    let lines = written.iter().map(|path| path.display().to_string());
    session.list(&serde_json::json!({ "written": written }), lines)
}

/// Writes both bills of each image, and returns their paths.
pub(super) fn write(
    stack: &Stack,
    lock: &Lock,
    arches: &[Arch],
    layouts: &Path,
    output: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for &arch in arches {
        let folder = layouts.join(arch.as_str());
        let image = layout::read(&folder, arch)?;
        let packages = contents::packages(&folder)?;
        let bill = Bill::new(stack, lock, arch, image.digest, &packages);
        fs_err::create_dir_all(output)?;
        for (form, contents) in [("cdx", sbom::cyclonedx(&bill)), ("spdx", sbom::spdx(&bill))] {
            let path = output.join(format!("sbom-{arch}.{form}.json"));
            fs_err::write(&path, serde_json::to_string_pretty(&contents)? + "\n")?;
            written.push(path);
        }
    }
    Ok(written)
}
