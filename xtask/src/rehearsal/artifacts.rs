//! Archives with upstream's names and layouts, made from the stand-ins and npm packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zip::write::SimpleFileOptions;

use crate::domain::arch::Arch;
use crate::domain::digest::Sha256;
use crate::io::{files, process};

/// The version of npm that the Node.js archives contain; the image's build needs it.
const NPM: &str = "npm@11";

// The highest compression would take minutes for a file that is unpacked once.
const GZIP: &str = "gzip -1";
const XZ: &str = "xz -0 -T0";
const DEFLATE: i64 = 1;

/// Where archives are made, and from what.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) standins: PathBuf,
    pub(crate) folder: PathBuf,
    /// Real programs for this machine's architecture, by component, instead of stand-ins.
    pub(crate) programs: BTreeMap<String, PathBuf>,
}

#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) component: String,
    pub(crate) version: String,
    pub(crate) file_name: String,
    /// `None` for a file for all architectures.
    pub(crate) arch: Option<Arch>,
    /// Upstream's spelling of the architecture.
    pub(crate) spelling: String,
    /// Its URL at upstream.
    pub(crate) url: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Archive {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Sha256,
    pub(crate) size: u64,
}

impl Workshop {
    /// The path of the real program, if `--with` names one and it is for this machine's architecture or for all; else that
    /// of the stand-in.
    fn program(&self, wanted: &Wanted, standin: &str) -> PathBuf {
        let real = self.programs.get(&wanted.component);
        let real = real.filter(|_| wanted.arch.is_none() || wanted.arch == Arch::native().ok());
        real.cloned().unwrap_or_else(|| self.standins.join(standin))
    }

    pub(crate) async fn make(&self, wanted: &Wanted) -> anyhow::Result<Archive> {
        let Wanted { component, version, file_name: name, arch, spelling, .. } = wanted;
        let work = self.folder.join(format!("{name}.work"));
        fs_err::create_dir_all(&work)?;
        let archive = self.folder.join(name);
        match component.as_str() {
            "node" => {
                let top = name.trim_end_matches(".tar.xz");
                self.node(&work.join(top), version, spelling).await?;
                tar(&work, top, XZ, &archive).await?;
            }
            "bun" => {
                self.npm_pack(&format!("@oven/bun-linux-{spelling}@{version}"), &work).await?;
                let top = format!("bun-linux-{spelling}");
                zip(&archive, &[(format!("{top}/bun"), work.join("package/bin/bun"))])?;
            }
            "llamacpp" => {
                let top = format!("llama-{version}");
                copy(&self.program(wanted, "llama-server"), &work.join(&top).join("llama-server"))?;
                tar(&work, &top, GZIP, &archive).await?;
            }
            "opencode" => {
                self.npm_pack(&format!("opencode-linux-{spelling}@{version}"), &work).await?;
                tar(&work.join("package/bin"), "opencode", GZIP, &archive).await?;
            }
            "convex" => {
                let program = work.join("convex-local-backend");
                one_file(&self.standins.join("convex/main.mjs"), &program)?;
                zip(&archive, &[("convex-local-backend".to_owned(), program)])?;
            }
            "convex-dashboard" => {
                let root = self.program(wanted, "dashboard");
                let named = |path: PathBuf| (path.to_string_lossy().into_owned(), root.join(&path));
                zip(&archive, &files::below(&root)?.into_iter().map(named).collect::<Vec<_>>())?;
            }
            other => {
                let arch = arch.map_or("any architecture", Arch::as_str);
                anyhow::bail!("the rehearsal has no stand-in for `{other}` ({arch})");
            }
        }
        fs_err::remove_dir_all(work)?;
        let bytes = fs_err::read(&archive)?;
        Ok(Archive { path: archive, sha256: Sha256::of(&bytes), size: bytes.len() as u64 })
    }

    /// Node.js in the layout of nodejs.org: `bin/node`, and npm below `lib/node_modules`.
    async fn node(&self, root: &Path, version: &str, spelling: &str) -> anyhow::Result<()> {
        let packed = root.with_extension("packed");
        self.npm_pack(&format!("node-linux-{spelling}@{version}"), &packed).await?;
        copy(&packed.join("package/bin/node"), &root.join("bin/node"))?;
        fs_err::copy(packed.join("package/LICENSE"), root.join("LICENSE"))
            .or_else(|_| fs_err::write(root.join("LICENSE"), "").map(|()| 0))?;
        let npm = root.with_extension("npm");
        self.npm_pack(NPM, &npm).await?;
        fs_err::create_dir_all(root.join("lib/node_modules"))?;
        fs_err::rename(npm.join("package"), root.join("lib/node_modules/npm"))?;
        for program in ["npm", "npx"] {
            let target = format!("../lib/node_modules/npm/bin/{program}-cli.js");
            fs_err::os::unix::fs::symlink(target, root.join("bin").join(program))?;
        }
        Ok(())
    }

    /// Fetches a package with npm, which verifies its integrity, and unpacks it to `folder/package`.
    async fn npm_pack(&self, package: &str, folder: &Path) -> anyhow::Result<()> {
        fs_err::create_dir_all(folder)?;
        let mut pack = process::command("npm");
        pack.args(["pack", "--silent", "--ignore-scripts", package]).current_dir(folder);
        let output = process::text(&mut pack).await.with_context(|| format!("cannot fetch {package}"))?;
        let tarball = output.lines().last().unwrap_or_default();
        let mut unpack = process::command("tar");
        process::run(unpack.args(["--extract", "--gzip", "--file", tarball]).current_dir(folder)).await?;
        fs_err::remove_file(folder.join(tarball))?;
        Ok(())
    }
}

/// Copies a program into an archive's folder.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(to.parent().context("a file without a folder")?)?;
    fs_err::copy(from, to)?;
    files::make_executable(to)
}

/// Joins the modules of a Node.js program into one file, because upstream's archive has one file. Each module is
/// included once, before those that import it, without imports of each other. Two modules must not define the same
/// name, so Node.js' own modules are imported by the same line everywhere.
fn one_file(main: &Path, program: &Path) -> anyhow::Result<()> {
    let mut joined = Joined::default();
    joined.add(main)?;
    let imports: String = joined.imports.into_iter().collect();
    fs_err::write(program, format!("{}{imports}{}", joined.shebang, joined.body))?;
    files::make_executable(program)
}

#[derive(Debug, Default)]
struct Joined {
    seen: BTreeSet<PathBuf>,
    shebang: String,
    /// The lines that import Node.js' own modules.
    imports: BTreeSet<String>,
    body: String,
}

impl Joined {
    fn add(&mut self, module: &Path) -> anyhow::Result<()> {
        if !self.seen.insert(module.to_path_buf()) {
            return Ok(());
        }
        let mut own = String::new();
        for line in fs_err::read_to_string(module)?.split_inclusive('\n') {
            let imported = line.strip_prefix("import ").and_then(|rest| rest.rsplit('"').nth(1));
            match imported.map(|name| name.strip_prefix("./")) {
                Some(Some(name)) => self.add(&module.with_file_name(name))?,
                Some(None) => _ = self.imports.insert(line.to_owned()),
                None if line.starts_with("#!") => line.clone_into(&mut self.shebang),
                None => own.push_str(line.strip_prefix("export ").unwrap_or(line)),
            }
        }
        self.body.push_str(&own);
        Ok(())
    }
}

/// Packs `top` below `folder`, reproducibly.
async fn tar(folder: &Path, top: &str, compression: &str, archive: &Path) -> anyhow::Result<()> {
    let mut command = process::command("tar");
    command.args(["--create", "--use-compress-program", compression, "--sort=name", "--mtime=@0"]);
    command.args(["--owner=0", "--group=0", "--numeric-owner", "--directory"]).arg(folder);
    process::run(command.arg("--file").arg(archive).arg(top)).await
}

/// Packs executable files under the given names.
fn zip(archive: &Path, files: &[(String, PathBuf)]) -> anyhow::Result<()> {
    let options = SimpleFileOptions::default().compression_level(Some(DEFLATE));
    let mut writer = zip::ZipWriter::new(fs_err::File::create(archive)?);
    for (name, path) in files {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs_err::metadata(path)?.permissions());
        writer.start_file(name, options.unix_permissions(mode & 0o777))?;
        std::io::copy(&mut fs_err::File::open(path)?, &mut writer)?;
    }
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_modules_becomes_one_file_that_starts_after_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs_err::write(folder.path().join(name), text).unwrap();
        write(
            "main.mjs",
            "#!/usr/bin/env node\nimport { join } from \"node:path\";\nimport { b } from \"./b.mjs\";\nb(join);\n",
        );
        write("a.mjs", "import { join } from \"node:path\";\nexport const a = join;\n");
        write("b.mjs", "import { a } from \"./a.mjs\";\nexport function b() { a(); }\n");
        let program = folder.path().join("program");
        one_file(&folder.path().join("main.mjs"), &program).unwrap();
        insta::assert_snapshot!(fs_err::read_to_string(program).unwrap(), @r#"
        #!/usr/bin/env node
        import { join } from "node:path";
        const a = join;
        function b() { a(); }
        b(join);
        "#);
    }

    #[test]
    fn the_stand_in_of_convex_is_one_program() {
        let folder = tempfile::tempdir().unwrap();
        // The extension tells Node.js that it is a module, also a version older than the image's.
        let program = folder.path().join("program.mjs");
        let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("standins/convex/main.mjs");
        one_file(&main, &program).unwrap();
        let checked = std::process::Command::new("node").arg("--check").arg(&program).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert!(!fs_err::read_to_string(&program).unwrap().contains("from \"./"));
    }
}
