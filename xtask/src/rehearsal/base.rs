//! The base image for a rehearsal without a registry: Debian, made by mmdebstrap and pushed to the local registry.

use std::path::Path;

use anyhow::Context as _;
use futures_util::future::try_join_all;

use crate::domain::arch::Arch;
use crate::engine::docker::Docker;
use crate::engine::loaded::Loaded;
use crate::error::HintExt as _;
use crate::io::{files, process};

/// Makes `name:tag` in the registry for both architectures. The foreign one is only unpacked and not run, so no
/// emulator is needed.
pub(crate) async fn make(docker: &Docker, scratch: &Path, name: &str, tag: &str, mirror: &str) -> anyhow::Result<()> {
    let folder = &scratch.join("base");
    fs_err::create_dir_all(folder)?;
    let suite = tag.split('-').next().unwrap_or(tag);
    // Pushes the image of one architecture under its own tag, and returns the tag.
    let part = async |arch: Arch| -> anyhow::Result<String> {
        let tar = folder.join(format!("{arch}.tar"));
        let mut command = process::command("mmdebstrap");
        command.arg("--quiet").arg(format!("--architectures={}", arch.oci()));
        if Arch::native().ok() == Some(arch) {
            command.arg("--variant=minbase");
        } else {
            command.args(["--variant=extract", "--include=?or(?essential,?priority(required))"]);
        }
        // As root, mmdebstrap runs as another user, who must be able to write the file.
        command.env("TMPDIR", folder).arg(suite).arg(&tar);
        // Explicit, because apt of other distributions trusts other keys.
        command.arg(format!("deb [signed-by={}] {mirror} {suite} main", files::debian_keyring()?.display()));
        process::run(&mut command)
            .await
            .with_context(|| format!("cannot make a {suite} root file system for {arch}"))
            .hint(|| "mmdebstrap needs root, and a Debian archive that apt can reach")?;
        let part = format!("{name}:{tag}-{}", arch.oci());
        let _imported = Loaded::ours(docker, part.clone());
        process::run(docker.command().args(["import", "--platform", &arch.platform()]).arg(&tar).arg(&part)).await?;
        process::run(docker.command().args(["push", "--quiet", &part])).await?;
        fs_err::remove_file(tar)?;
        Ok(part)
    };
    let parts = try_join_all(Arch::ALL.map(part)).await?;
    let whole = format!("{name}:{tag}");
    process::run(docker.command().args(["buildx", "imagetools", "create", "--tag", &whole]).args(parts)).await
}
