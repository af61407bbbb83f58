//! The files of a release, in `dist/`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::Files;
use super::plan::Plan;
use crate::cli::Format;
use crate::commands::{Session, checkout, diff, sbom};
use crate::domain::arch::Arch;
use crate::domain::lock::Lock;
use crate::domain::promise::Promise;
use crate::domain::stack::Stack;
use crate::engine::layout;
use crate::io::{self, git};

impl Plan {
    /// Writes the notes and the attached files.
    pub(super) async fn write(
        &self,
        session: &Session,
        stack: &Stack,
        lock: &Lock,
        promise: Option<&Promise>,
    ) -> anyhow::Result<Files> {
        fs_err::create_dir_all(&self.dist)?;
        let notes = self.put("notes.md", &self.notes(session, promise).await?)?;
        let mut attached = vec![
            self.put("versions.lock", &checkout::read_lock_text(&session.root)?)?,
            self.put("release.json", &serde_json::to_string_pretty(&self.described(promise))?)?,
        ];
        if promise.is_some() {
            let layouts = self.layouts();
            for arch in Arch::ALL {
                attached.extend(sbom::write(stack, lock, arch, &layouts.join(arch.as_str()), &self.dist)?);
            }
        }
        Ok(Files { notes, attached })
    }

    /// The folder with a layout for each architecture.
    pub(super) fn layouts(&self) -> PathBuf {
        self.layouts.clone().unwrap_or_else(|| self.built.clone())
    }

    fn put(&self, name: &str, contents: &str) -> anyhow::Result<PathBuf> {
        let path = self.dist.join(name);
        fs_err::write(&path, contents)?;
        Ok(path)
    }

    /// The notes: what to pull, and the changes since the previous release.
    async fn notes(&self, session: &Session, promise: Option<&Promise>) -> anyhow::Result<String> {
        let root = &session.root;
        let mut previous = self.previous.as_deref();
        if let Some(tag) = previous
            && git::commit(root, tag).await.is_err()
        {
            let fetched = match &self.remote {
                Some(remote) if !self.offline => git::fetch_tag(root, remote, tag).await.is_ok(),
                _ => false,
            };
            // It may be in the registry only, or a dry run cannot fetch it.
            previous = previous.filter(|_| fetched);
        }
        let digest = promise.map(|promise| format!("@{}", promise.index)).unwrap_or_default();
        let mut notes = format!("```sh\ndocker pull {}:{}{digest}\n```\n", self.repository.name, self.tag);
        let since = previous.map_or("Contents".to_owned(), |tag| format!("Changes since `{tag}`"));
        // Writing to a String cannot fail.
        let mut diff = diff::since(root, previous).await?;
        if let (Some(tag), Some(_), false) = (previous, promise, self.offline) {
            // The previous image may be deleted.
            let old = self.repository.blobs(&format!(":{tag}")).await.unwrap_or_default();
            diff.pulls = diff::pulls(&old, &layout::blobs(&self.layouts())?);
        }
        let _ = write!(notes, "\n## {since}\n\n{}", diff.markdown());
        if let Some(promise) = promise {
            let _ = writeln!(notes, "\n## Digests\n\n| | |\n|---|---|\n| index | `{}` |", promise.index);
            for (arch, digest) in &promise.manifests {
                let _ = writeln!(notes, "| {arch} | `{digest}` |");
            }
            let _ = writeln!(notes, "| versions.lock | `sha256:{}` |", promise.lock);
            for (arch, builder) in &promise.builders {
                let _ = writeln!(notes, "\n{arch} was built by {builder}.");
            }
        }
        Ok(notes)
    }

    fn described(&self, promise: Option<&Promise>) -> serde_json::Value {
        serde_json::json!({
            "tag": self.tag, "repository": self.repository.name, "commit": self.commit, "arches": Arch::ALL,
            "layouts": self.layouts, "lock": self.lock, "previous": self.previous, "digests": promise,
        })
    }

    /// `--dry-run`: prints and writes what is possible without network and engine.
    pub(crate) async fn rehearse(&self, session: &Session, stack: &Stack, lock: &Lock) -> anyhow::Result<()> {
        let layouts = self.layouts();
        let has_layouts = Arch::ALL.into_iter().all(|arch| layouts.join(arch.as_str()).is_dir());
        // Named layouts must be valid; those of an earlier build may be of another lock.
        let promise = match self.merge(&layouts, stack) {
            Ok(promise) => Some(promise),
            Err(error) if self.layouts.is_some() => return Err(error),
            Err(error) => {
                if has_layouts {
                    io::say(&format!("note: {error}; the digests are not known yet"));
                }
                None
            }
        };
        self.write(session, stack, lock, promise.as_ref()).await?;
        if session.format == Format::Json {
            return io::document(&self.described(promise.as_ref()));
        }
        io::print(&format!("tag         {}", self.tag));
        io::print(&format!("repository  {}", self.repository.name));
        io::print(&format!("commit      {}", self.commit));
        let how = match &self.layouts {
            Some(folder) => format!("from {}", folder.display()),
            None => "built here".to_owned(),
        };
        io::print(&format!("images      x86_64 and aarch64, {how}"));
        if let Some(promise) = &promise {
            io::print(&format!("index       {}", promise.index));
        }
        io::print(&format!("files       {}", self.dist.display()));
        io::print(
            "then        tag the commit, push by digest, probe that, push the tag, move latest, publish at GitHub",
        );
        Ok(())
    }
}
