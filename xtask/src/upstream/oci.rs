//! Container images (OCI distribution specification, "Pulling manifests"), with anonymous tokens of Docker's token
//! authentication.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::{Candidate, Checked, Finding, Gate, PassedOver, Resolved, Upstream, Want, first_seen};
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::host::is_loopback;
use crate::domain::lock::{ImagePin, Pin, Pinned, Published};
use crate::domain::oci::{Configuration, Descriptor, Index, Manifest};
use crate::domain::stack::{Component, Source};
use crate::domain::trust::Trust;
use crate::io::http::{self, HttpError, Reply};

/// The media types of manifests and indexes of OCI and Docker.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

#[derive(Debug, thiserror::Error)]
pub(crate) enum OciError {
    #[error("`{0}` is not an image name with a registry (docker.io/library/debian)")]
    Name(String),
    #[error("{image} has the digest {counted}, but its registry states {stated}")]
    Digest { image: String, counted: OciDigest, stated: String },
    #[error("{image} is not a multi-platform index")]
    NoIndex { image: String },
    #[error("{image} has no image for {platform}")]
    NoPlatform { image: String, platform: String },
    #[error("{url} requires an unknown kind of authentication: {challenge}")]
    Challenge { url: String, challenge: String },
}

fn image(component: &Component) -> anyhow::Result<(&str, &str)> {
    match &component.source {
        Source::Oci { image, tag } => Ok((image, tag)),
        other => bail!("a source of type {} is not a container image", other.kind()),
    }
}

/// The tag in `stack.toml`, or the requested one. Its digest is read by `pin` only, because Docker Hub limits requests.
pub(crate) fn candidate(up: Upstream<'_>, name: &str, want: &Want) -> anyhow::Result<Candidate> {
    let component = up.stack.component(name)?;
    let (_, tag) = image(component)?;
    let tag = match want {
        Want::Newest => tag,
        Want::Exactly(typed) => typed,
    };
    let version = component.scheme.parse(tag)?;
    let tag = Some(version.as_str().to_owned());
    Ok(Candidate { tag, ..Candidate::new(version, want) })
}

/// Pins the digest of the tag. Registries do not state when a tag was moved, so the minimum age counts from the time when
/// the digest was first seen.
pub(crate) async fn pin(up: Upstream<'_>, name: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let component = up.stack.component(name)?;
    let (image, _) = image(component)?;
    let repository = OciRepository::new(up, image)?;
    let tag = candidate.version.as_str();
    let (digest, body, trust) = repository.manifest(up, tag).await?;
    let platforms = platforms(&format!("{image}:{tag}"), &body)?;
    let of_this_tag =
        |pin: &&Pin| matches!(&pin.pinned, Pinned::Image(pinned) if pinned.name == image) && pin.tag == candidate.tag;
    if let Some(pin) = up.lock.components.get(name).filter(of_this_tag)
        && let Pinned::Image(pinned) = &pin.pinned
        && pinned.platforms.len() == platforms.len()
    {
        let stays = |seen| Pin { seen, ..pin.clone() };
        // It is pinned already.
        if pinned.digest == digest {
            return Ok(stays(BTreeMap::new()).into());
        }
        let mut seen = BTreeMap::new();
        let waits = first_seen(up, name, component, digest.as_str(), &mut seen).filter(|_| !candidate.asked);
        if let Some(reason) = waits {
            let version = format!("{tag}@{}", digest.as_str().get(..19).unwrap_or_default());
            let waits = PassedOver { version, published: None, gate: Gate::TooFresh, reason };
            return Ok(Resolved { passed_over: vec![waits], ..stays(seen).into() });
        }
    }
    // The date is optional.
    let published = match platforms.get(&Arch::X86_64) {
        Some(amd64) => repository.created(up, amd64).await.unwrap_or_else(|error| {
            up.notes
                .add(format!("note: `{image}:{tag}` is pinned without a date, because that cannot be read: {error:#}"));
            None
        }),
        None => None,
    };
    let pinned = Pinned::Image(ImagePin { name: image.to_owned(), digest, platforms });
    Ok(Pin { published, ..candidate.pin(pinned, trust) }.into())
}

/// Verifies an image by its digest; the tag may have moved. `manifest` checks the digest of the reply.
pub(crate) async fn verify(up: Upstream<'_>, image: &ImagePin) -> anyhow::Result<Checked> {
    let what = format!("{}@{}", image.name, image.digest);
    let body = match OciRepository::new(up, &image.name)?.manifest(up, image.digest.as_str()).await {
        Ok((_, body, _)) => body,
        Err(error) => {
            let is_gone = error.chain().filter_map(|cause| cause.downcast_ref::<HttpError>()).any(HttpError::is_gone);
            return if is_gone { Ok(Checked::gone(what)) } else { Err(error) };
        }
    };
    let platforms = platforms(&what, &body)?;
    let differing = image.platforms.iter().filter(|(arch, digest)| platforms.get(arch) != Some(digest));
    let finding = |(arch, digest): (&Arch, &OciDigest)| Finding::Replaced {
        what: format!("{what} for {}", arch.platform()),
        pinned: digest.to_string(),
        found: platforms.get(arch).map(ToString::to_string).unwrap_or_default(),
    };
    // The registry has this digest.
    Ok(Checked::new(differing.map(finding).collect(), Trust::Stated, "its registry"))
}

/// The manifest digest of each architecture in an index. Entries for `unknown/unknown` are attestations.
fn platforms(image: &str, body: &[u8]) -> anyhow::Result<BTreeMap<Arch, OciDigest>> {
    let index: Index = http::json(image, body)?;
    if index.manifests.is_empty() {
        return Err(OciError::NoIndex { image: image.to_owned() }.into());
    }
    let mut platforms = BTreeMap::new();
    for arch in Arch::ALL {
        let fits = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(|platform| platform.is(arch));
        let missing = || OciError::NoPlatform { image: image.to_owned(), platform: arch.platform() };
        let found = index.manifests.iter().find(fits).ok_or_else(missing)?;
        platforms.insert(arch, found.digest.clone());
    }
    Ok(platforms)
}

/// A repository in a registry, at its address after mirrors.
struct OciRepository {
    /// `https://registry-1.docker.io/v2/library/debian`.
    base: String,
    image: String,
}

impl OciRepository {
    fn new(up: Upstream<'_>, image: &str) -> Result<Self, OciError> {
        let mirrored = up.http.mirrors().rewrite(image);
        let (registry, path) = mirrored.split_once('/').ok_or_else(|| OciError::Name(mirrored.clone()))?;
        // The host of Docker Hub's API.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let scheme = if is_loopback(host) { "http" } else { "https" };
        Ok(Self { base: format!("{scheme}://{host}/v2/{path}"), image: image.to_owned() })
    }

    /// A manifest or index by tag or digest: its computed digest, compared with the one that the registry states, and its
    /// bytes.
    async fn manifest(&self, up: Upstream<'_>, reference: &str) -> anyhow::Result<(OciDigest, Vec<u8>, Trust)> {
        let Reply { headers, body } = self.get(up, &format!("manifests/{reference}"), MANIFESTS).await?;
        let counted = OciDigest::from(Sha256::of(&body));
        let asked = Some(reference).filter(|reference| reference.contains(':'));
        let stated = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        match [asked, stated].into_iter().flatten().find(|stated| *stated != counted.as_str()) {
            None => {
                let is_stated = asked.is_some() || stated.is_some();
                Ok((counted, body, if is_stated { Trust::Stated } else { Trust::Computed }))
            }
            Some(stated) => {
                let image = format!("{}:{reference}", self.image);
                Err(OciError::Digest { image, counted, stated: stated.escape_debug().to_string() }.into())
            }
        }
    }

    /// When the image was created, by its configuration.
    async fn created(&self, up: Upstream<'_>, manifest: &OciDigest) -> anyhow::Result<Option<Published>> {
        let (_, body, _) = self.manifest(up, manifest.as_str()).await?;
        let manifest: Manifest = serde_json::from_slice(&body)?;
        let Reply { body, .. } = self.get(up, &format!("blobs/{}", manifest.config.digest), "*/*").await?;
        let config: Configuration = serde_json::from_slice(&body)?;
        Ok(config.created.and_then(Published::at))
    }

    async fn get(&self, up: Upstream<'_>, path: &str, accept: &'static str) -> anyhow::Result<Reply> {
        let url = format!("{}/{path}", self.base);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let challenge = match up.http.get_public(&url, headers.clone()).await {
            Err(error) if error.challenge().is_some() => error.challenge().unwrap_or_default().to_owned(),
            Err(error) if error.is_gone() => {
                return Err(error).with_context(|| format!("`{}` has no {path}", self.image));
            }
            result => return result.with_context(|| format!("cannot read `{}`", self.image)),
        };
        let token = token(up, &url, &challenge).await.with_context(|| format!("cannot read `{}`", self.image))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).context("the token is not a header")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        up.http.get_public(&url, headers).await.with_context(|| format!("cannot read `{}`", self.image))
    }
}

/// An anonymous token from the host in the challenge (distribution.github.io, "Token Authentication"). No credentials are
/// sent, so any host is safe.
async fn token(up: Upstream<'_>, url: &str, challenge: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let unknown = || OciError::Challenge { url: url.to_owned(), challenge: challenge.escape_debug().to_string() };
    let parameters = parse_challenge(challenge).ok_or_else(unknown)?;
    let realm = parameters.get("realm").ok_or_else(unknown)?;
    let mut address: reqwest::Url = realm.parse().map_err(|_| unknown())?;
    for name in ["service", "scope"] {
        if let Some(value) = parameters.get(name) {
            address.query_pairs_mut().append_pair(name, value);
        }
    }
    let Token { token, access_token } = up.http.fleeting_json(address.as_str()).await?;
    token.or(access_token).ok_or_else(|| unknown().into())
}

/// Parses `Bearer realm="…",service="…",scope="repository:library/debian:pull"`. Values may have commas, but no quotes.
fn parse_challenge(challenge: &str) -> Option<BTreeMap<String, String>> {
    let (kind, mut rest) = challenge.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = BTreeMap::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"')?;
        parameters.insert(name.trim_matches([',', ' ']).to_ascii_lowercase(), value.to_owned());
        rest = after;
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_parsed() {
        let challenge = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                         scope=\"repository:library/debian:pull,push\"";
        let parameters = parse_challenge(challenge).unwrap();
        assert_eq!(parameters["realm"], "https://auth.docker.io/token");
        assert_eq!(parameters["scope"], "repository:library/debian:pull,push");
        assert!(parse_challenge("Basic realm=\"x\"").is_none());
    }

    #[test]
    fn both_architectures_of_an_index_are_found() {
        let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let entry = |digit: &str, os: &str, arch: &str, variant: &str| serde_json::json!({"digest": digest(digit), "platform": {"os": os, "architecture": arch, "variant": variant}});
        let mut amd64 = entry("2", "linux", "amd64", "");
        amd64["platform"].as_object_mut().unwrap().remove("variant");
        let index = serde_json::json!({"manifests": [
            entry("1", "unknown", "unknown", "x"), amd64, entry("3", "linux", "arm", "v7"), entry("4", "linux", "arm64", "v8"),
        ]});
        let found = platforms("debian:x", index.to_string().as_bytes()).unwrap();
        assert_eq!(found[&Arch::X86_64].as_str(), digest("2"));
        assert_eq!(found[&Arch::Aarch64].as_str(), digest("4"));
        let one = serde_json::json!({"manifests": [entry("4", "linux", "arm64", "v8")]});
        let error = platforms("debian:x", one.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "debian:x has no image for linux/amd64");
    }
}
