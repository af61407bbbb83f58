//! `verify --image`: compares a released image in its registry with its git tag.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use tokio::process::Command;

use super::{Session, checkout};
use crate::cli;
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::promise::Promise;
use crate::domain::sbom::Bill;
use crate::domain::stack::Stack;
use crate::engine::cosign;
use crate::engine::registry::Repository;
use crate::error::{Ended, HintExt as _};
use crate::io::{files, git, process};

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
    let checks = checks(session, image, args).await?;
    session.list(&serde_json::json!({ "image": image, "checks": checks }), checks.iter().map(Check::text))?;
    let wrong = checks.iter().filter(|check| check.is_wrong()).count();
    let message = format!("{image} differs from its git tag: {wrong} differences");
    ensure!(wrong == 0, Ended::Difference(message));
    Ok(())
}

async fn checks(session: &Session, image: &str, args: &cli::Verify) -> anyhow::Result<Vec<Check>> {
    let root = &session.root;
    let (name, reference) = parts(image)?;
    let repository = Repository::new(name)?;
    let (digest, released) = repository.released(reference).await?;
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
    let signed = match (&args.key, &args.github) {
        (Some(key), _) => {
            cosign::verify(&exact, key).await?;
            Check::new("signature", "by the key", "by the key")
        }
        (None, Some(owner)) => {
            process::run(&mut attestation(&exact, owner))
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
    // The attested bills of materials must contain every pin of the lock.
    let stack = git::show(root, &commit, files::STACK).await?.context("the commit has no stack.toml")?;
    let (stack, lock) = (Stack::parse(&stack)?, checkout::parse_lock(&lock)?);
    let stack = stack.of_tag(tag);
    for (arch, digest) in &released.manifests {
        let Some(bill) = bill(&format!("{name}@{digest}"), args).await? else { continue };
        let mut named = BTreeSet::new();
        texts(&bill, &mut named);
        for (component, purl) in Bill::pins(&stack, &lock, *arch) {
            let found = if named.contains(purl.as_str()) { purl.as_str() } else { "not in its bill of materials" };
            checks.push(Check::new(format!("{component} of the image for {arch}"), found, &purl));
        }
    }
    Ok(checks)
}

/// `gh` that verifies an attestation of an image by a repository on GitHub.
fn attestation(exact: &str, owner: &str) -> Command {
    let mut command = process::command("gh");
    command.args(["attestation", "verify", &format!("oci://{exact}"), "--repo", owner]);
    command
}

/// The attested bill of materials of an image; `None` without a key or GitHub repository.
async fn bill(exact: &str, args: &cli::Verify) -> anyhow::Result<Option<Value>> {
    if let Some(key) = &args.key {
        return Ok(Some(cosign::attested(exact, "cyclonedx", key).await?.into()));
    }
    let Some(owner) = &args.github else { return Ok(None) };
    let mut command = attestation(exact, owner);
    command.args(["--format", "json", "--predicate-type", "https://spdx.dev/Document/v2.3"]);
    let output = process::text(&mut command)
        .await
        .with_context(|| format!("{owner} attests no bill of materials of {exact}"))?;
    Ok(Some(serde_json::from_str(&output).context("the output of gh attestation verify is not as expected")?))
}

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
    let (name, digest) = image.split_at(image.find('@').unwrap_or(image.len()));
    // A colon before the last slash is that of a port.
    let colon = name.rfind(':').filter(|colon| !name[*colon..].contains('/'));
    let (name, tag) = name.split_at(colon.unwrap_or(name.len()));
    let reference = if digest.is_empty() { tag } else { digest };
    let shown = image.escape_debug();
    if reference.is_empty() {
        return Err(anyhow::anyhow!("`{shown}` has no tag or digest")).hint(|| format!("{name}:latest"));
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b":@._-".contains(&byte);
    ensure!(reference.bytes().all(is_plain), "`{shown}` is not an image reference");
    Ok((name, reference))
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
