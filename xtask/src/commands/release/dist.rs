//! The files of a release, in `dist/`.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::plan::{Plan, Wanted};
use crate::commands::{checkout, diff, sbom};
use crate::domain::arch::Arch;
use crate::domain::promise::Promise;
use crate::engine::layout;
use crate::io::{self, git};

/// The files of a release besides the image.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) notes: PathBuf,
    /// Attached to the release on GitHub.
    pub(super) attached: Vec<PathBuf>,
}

impl Plan<'_> {
    /// Writes the notes and the attached files.
    pub(super) async fn write(&self, promise: Option<&Promise>) -> anyhow::Result<Files> {
        let dist = &self.wanted.dist;
        fs_err::create_dir_all(dist)?;
        let notes = self.put("notes.md", &self.notes(promise).await?)?;
        let mut attached = vec![
            self.put("versions.lock", &checkout::read_lock_text(&self.session.root)?)?,
            self.put("release.json", &serde_json::to_string_pretty(&self.described(promise))?)?,
        ];
        if promise.is_some() {
            attached.extend(sbom::write(self.stack, self.lock, &Arch::ALL, &self.layouts(), dist)?);
        }
        Ok(Files { notes, attached })
    }

    /// The folder with a layout for each architecture.
    pub(super) fn layouts(&self) -> PathBuf {
        let built = || self.session.root.join(self.stack.folder("target/image"));
        self.wanted.layouts.clone().unwrap_or_else(built)
    }

    fn put(&self, name: &str, contents: &str) -> anyhow::Result<PathBuf> {
        let path = self.wanted.dist.join(name);
        fs_err::write(&path, contents)?;
        Ok(path)
    }

    /// The notes: what to pull, and the changes since the previous release.
    async fn notes(&self, promise: Option<&Promise>) -> anyhow::Result<String> {
        let (root, repository, offline) = (&self.session.root, &self.wanted.repository, self.wanted.offline);
        let mut previous = self.previous.as_deref();
        if let Some(tag) = previous
            && git::commit(root, tag).await.is_err()
        {
            let fetched = match &self.remote {
                Some(remote) if !offline => git::fetch_tag(root, remote, tag).await.is_ok(),
                _ => false,
            };
            // It may be in the registry only, or a dry run cannot fetch it.
            previous = previous.filter(|_| fetched);
        }
        let digest = promise.map(|promise| format!("@{}", promise.index)).unwrap_or_default();
        let mut notes = format!("```sh\ndocker pull {}:{}{digest}\n```\n", repository.name, self.tag);
        let since = previous.map_or("Contents".to_owned(), |tag| format!("Changes since `{tag}`"));
        // Writing to a String cannot fail.
        let mut diff = diff::since(root, previous).await?;
        if let (Some(tag), Some(_), false) = (previous, promise, offline) {
            // The previous image may be deleted.
            let old = repository.blobs(&format!(":{tag}")).await.unwrap_or_default();
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
            "tag": self.tag, "repository": self.wanted.repository.name, "commit": self.commit, "arches": Arch::ALL,
            "layouts": self.wanted.layouts, "lock": self.lock_digest, "previous": self.previous, "digests": promise,
        })
    }

    /// `--dry-run`: prints and writes what is possible without network and engine.
    pub(super) async fn rehearse(&self) -> anyhow::Result<()> {
        let Wanted { layouts: named, repository, dist, .. } = &self.wanted;
        let layouts = self.layouts();
        let has_layouts = Arch::ALL.into_iter().all(|arch| layouts.join(arch.as_str()).is_dir());
        // Named layouts must be valid; those of an earlier build may be of another lock.
        let promise = match self.merge(&layouts) {
            Ok(promise) => Some(promise),
            Err(error) if named.is_some() => return Err(error),
            Err(error) => {
                if has_layouts {
                    io::say(&format!("note: {error}; the digests are not known yet"));
                }
                None
            }
        };
        self.write(promise.as_ref()).await?;
        let how = named.as_ref().map_or("built here".to_owned(), |folder| format!("from {}", folder.display()));
        let then = "tag the commit, push by digest, probe that, push the tag, move latest, publish at GitHub";
        let rows = [
            ("tag", Some(self.tag.to_string())),
            ("repository", Some(repository.name.clone())),
            ("commit", Some(self.commit.clone())),
            ("images", Some(format!("x86_64 and aarch64, {how}"))),
            ("index", promise.as_ref().map(|promise| promise.index.to_string())),
            ("files", Some(dist.display().to_string())),
            ("then", Some(then.to_owned())),
        ];
        let lines = rows.into_iter().filter_map(|(label, value)| Some(format!("{label:<12}{}", value?)));
        self.session.list(&self.described(promise.as_ref()), lines)
    }
}
