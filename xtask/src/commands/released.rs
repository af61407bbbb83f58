//! `verify --image`: compares a released image in its registry with its git tag.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::Value;

use super::{Session, checkout};
use crate::cli::{self, Format};
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::promise::Promise;
use crate::domain::sbom::Bill;
use crate::domain::stack::Stack;
use crate::engine::cosign;
use crate::engine::layout::Released;
use crate::engine::registry::Repository;
use crate::error::{Ended, HintExt as _};
use crate::io::{self, files, git, process};

/// One comparison.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    found: String,
    /// `None` if it was not checked.
    wanted: Option<String>,
}

impl Check {
    fn new(what: impl Into<String>, found: &(impl ToString + ?Sized), wanted: &(impl ToString + ?Sized)) -> Self {
        Self { what: what.into(), found: found.to_string(), wanted: Some(wanted.to_string()) }
    }

    fn is_wrong(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| *wanted != self.found)
    }

    fn text(&self) -> String {
        let Self { what, found, wanted } = self;
        match wanted {
            Some(wanted) if wanted != found => format!("WRONG    {what}: {found} instead of {wanted}"),
            Some(_) => format!("ok       {what}: {found}"),
            None => format!("skipped  {what}: {found}"),
        }
    }
}

pub(crate) async fn run(session: &Session, image: &str, args: &cli::Verify) -> anyhow::Result<()> {
    let checks = checks(session, image, args.key.as_deref(), args.github.as_deref()).await?;
    match session.format {
        Format::Json => io::document(&serde_json::json!({ "image": image, "checks": checks }))?,
        Format::Text => checks.iter().for_each(|check| io::print(&check.text())),
    }
    let wrong = checks.iter().filter(|check| check.is_wrong()).count();
    if wrong > 0 {
        return Err(Ended::Difference(format!("{image} differs from its git tag: {wrong} differences")).into());
    }
    Ok(())
}

async fn checks(
    session: &Session,
    image: &str,
    key: Option<&Path>,
    github: Option<&str>,
) -> anyhow::Result<Vec<Check>> {
    let root = &session.root;
    let (name, reference) = parts(image)?;
    let repository = Repository::new(name)?;
    let index = repository.raw(reference).await?.with_context(|| format!("there is no {image}"))?;
    let digest = OciDigest::from(Sha256::of(&index));
    let released = Released::parse(&index).with_context(|| format!("{image} is not a release of this tool"))?;
    let tag = &released.version;
    let (promise, commit) = promise(root, tag).await?;
    let mut checks =
        vec![Check::new("index", &digest, &promise.index), Check::new("commit", &released.revision, &commit)];
    let lock = git::show(root, &commit, files::LOCK).await?.with_context(|| format!("{tag} has no {}", files::LOCK))?;
    checks.push(Check::new("lock of that commit", &Sha256::of(lock.as_bytes()), &promise.lock));
    let label = checkout::read_stack(root)?.image.lock_label();
    for arch in Arch::ALL {
        let found = released.manifests.get(&arch).map_or("missing", OciDigest::as_str);
        let wanted = &promise.manifests[&arch];
        checks.push(Check::new(format!("image for {arch}"), found, wanted));
        let labels = repository.labels(wanted).await?;
        let found = labels.get(&label).map_or("missing", String::as_str);
        checks.push(Check::new(format!("lock of the image for {arch}"), found, &format!("sha256:{}", promise.lock)));
    }
    let exact = format!("{name}@{digest}");
    let signed = match (key, github) {
        (Some(key), _) => {
            cosign::verify(&exact, key).await?;
            Check::new("signature", "by the key", "by the key")
        }
        (None, Some(owner)) => {
            let what = format!("oci://{exact}");
            process::output(process::command("gh").args(["attestation", "verify", &what, "--repo", owner]))
                .await
                .with_context(|| format!("nothing attests that {exact} comes from {owner}"))?;
            Check::new("attestation", owner, owner)
        }
        (None, None) => {
            let found = "use --key FILE or --github OWNER/NAME to check it".to_owned();
            Check { what: "signature".to_owned(), found, wanted: None }
        }
    };
    checks.push(signed);
    let by = By { name, key, github };
    checks.extend(pins(session, &by, &commit, &lock, &released).await?);
    Ok(checks)
}

/// Whose attestations of a repository's images are checked.
struct By<'a> {
    name: &'a str,
    key: Option<&'a Path>,
    github: Option<&'a str>,
}

impl By<'_> {
    /// The attested bill of materials of one image; `None` without a key or GitHub repository.
    async fn bill(&self, image: &OciDigest) -> anyhow::Result<Option<Value>> {
        let exact = format!("{}@{image}", self.name);
        if let Some(key) = self.key {
            return Ok(Some(cosign::attested(&exact, "cyclonedx", key).await?.into()));
        }
        let Some(owner) = self.github else { return Ok(None) };
        let mut command = process::command("gh");
        command.args(["attestation", "verify", &format!("oci://{exact}"), "--repo", owner, "--format", "json"]);
        let output = process::text(command.args(["--predicate-type", "https://spdx.dev/Document/v2.3"]))
            .await
            .with_context(|| format!("{owner} attests no bill of materials of {exact}"))?;
        Ok(Some(serde_json::from_str(&output).context("the output of gh attestation verify is not as expected")?))
    }
}

/// Checks that the attested bills of materials contain every pin of the lock.
async fn pins(
    session: &Session,
    by: &By<'_>,
    commit: &str,
    lock: &str,
    released: &Released,
) -> anyhow::Result<Vec<Check>> {
    let stack = git::show(&session.root, commit, files::STACK).await?.context("the commit has no stack.toml")?;
    let (stack, lock) = (Stack::parse(&stack)?, checkout::parse_lock(lock)?);
    let stack = stack.of_tag(&released.version);
    let mut checks = Vec::new();
    for (arch, digest) in &released.manifests {
        let Some(bill) = by.bill(digest).await? else { continue };
        let mut named = BTreeSet::new();
        texts(&bill, &mut named);
        for (component, purl) in Bill::pins(&stack, &lock, *arch) {
            let found = if named.contains(purl.as_str()) { purl.as_str() } else { "not in its bill of materials" };
            checks.push(Check::new(format!("{component} of the image for {arch}"), found, &purl));
        }
    }
    Ok(checks)
}

/// Collects all texts of a document.
fn texts<'a>(document: &'a Value, found: &mut BTreeSet<&'a str>) {
    match document {
        Value::String(text) => {
            found.insert(text);
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The promise in a git tag, and its commit.
pub(super) async fn promise(root: &Path, tag: &str) -> anyhow::Result<(Promise, String)> {
    if git::local_tags(root).await?.iter().all(|local| local.name != tag) {
        let remote = git::remote(root).await?.with_context(|| format!("this clone has no tag {tag}, and no remote"))?;
        git::fetch_tag(root, &remote, tag).await?;
    }
    let message = git::tag_message(root, tag).await?;
    let promise = Promise::parse(&message).with_context(|| format!("the git tag {tag} has no digests"))?;
    Ok((promise, git::commit(root, &format!("refs/tags/{tag}")).await?))
}

/// Splits an image reference into its name and `:tag` or `@sha256:…`; the digest if there are both.
pub(super) fn parts(image: &str) -> anyhow::Result<(&str, &str)> {
    let (name, digest) = match image.find('@') {
        Some(at) => (&image[..at], Some(&image[at..])),
        None => (image, None),
    };
    // A colon before the last slash is that of a port.
    let colon = name.rfind(':').filter(|colon| name[*colon..].find('/').is_none());
    let tag = colon.map(|colon| &name[colon..]);
    let name = &name[..colon.unwrap_or(name.len())];
    match digest.or(tag) {
        Some(reference) if reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":@._-".contains(&byte)) => {
            Ok((name, reference))
        }
        Some(_) => bail!("`{}` is not an image reference", image.escape_debug()),
        None => {
            Err(anyhow::anyhow!("`{}` has no tag or digest", image.escape_debug())).hint(|| format!("{name}:latest"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_name_and_a_tag_or_digest() {
        for (image, expected) in [
            ("ghcr.io/o/n:latest", Some(("ghcr.io/o/n", ":latest"))),
            ("127.0.0.1:5000/n:v1", Some(("127.0.0.1:5000/n", ":v1"))),
            ("127.0.0.1:5000/n:v1@sha256:ab", Some(("127.0.0.1:5000/n", "@sha256:ab"))),
            ("ghcr.io/o/n@sha256:ab", Some(("ghcr.io/o/n", "@sha256:ab"))),
            ("127.0.0.1:5000/n", None),
            ("ghcr.io/o/n:$(id)", None),
        ] {
            assert_eq!(parts(image).ok(), expected, "{image}");
        }
    }
}
