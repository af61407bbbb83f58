//! Container images (OCI distribution specification, "Pulling manifests"), with anonymous tokens of Docker's token
//! authentication.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::{Asked, Candidate, Checked, Finding, Gate, PassedOver, Resolved, Upstream, Want};
use crate::domain::arch::Arch;
use crate::domain::digest::{OciDigest, Sha256};
use crate::domain::host::is_loopback;
use crate::domain::lock::{ImagePin, Pin, Pinned, Published};
use crate::domain::oci::{Configuration, Descriptor, Index, Manifest};
use crate::domain::trust::Trust;
use crate::io::http::{self, Http, HttpError, Reply};

/// The media types of manifests and indexes of OCI and Docker.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The tag in `stack.toml`, or the requested one. Its digest is read by `pin` only, because Docker Hub limits requests.
pub(super) fn candidate(asked: Asked<'_>, tag: &str, want: &Want) -> anyhow::Result<Candidate> {
    let tag = match want {
        Want::Newest => tag,
        Want::Exactly(typed) => typed,
    };
    let version = asked.component.scheme.parse(tag)?;
    let tag = Some(version.as_str().to_owned());
    Ok(Candidate { tag, ..Candidate::new(version, want) })
}

/// Pins the digest of the tag. Registries do not state when a tag was moved, so the minimum age counts from the time when
/// the digest was first seen.
pub(super) async fn pin(asked: Asked<'_>, image: &str, candidate: &Candidate) -> anyhow::Result<Resolved> {
    let repository = OciRepository::new(asked.up.http, image)?;
    let tag = candidate.version.as_str();
    let (digest, body, trust) = repository.manifest(tag).await?;
    let platforms = platforms(&format!("{image}:{tag}"), &body)?;
    if let Some(pin) = asked.pin()
        && let Pinned::Image(pinned) = &pin.pinned
        && pinned.name == image
        && pin.tag == candidate.tag
        && pinned.platforms.len() == platforms.len()
    {
        let stays = |seen| Pin { seen, ..pin.clone() };
        // It is pinned already.
        if pinned.digest == digest {
            return Ok(stays(BTreeMap::new()).into());
        }
        let mut seen = BTreeMap::new();
        let waits = asked.first_seen(digest.as_str(), &mut seen).filter(|_| !candidate.asked);
        if let Some(reason) = waits {
            let version = format!("{tag}@{}", digest.as_str().get(..19).unwrap_or_default());
            let waits = PassedOver { version, published: None, gate: Gate::TooFresh, reason };
            return Ok(Resolved { passed_over: vec![waits], ..stays(seen).into() });
        }
    }
    // The date is optional.
    let published = repository.created(&platforms[&Arch::X86_64]).await.unwrap_or_else(|error| {
        let why = format!("because that cannot be read: {error:#}");
        asked.up.notes.add(format!("note: `{image}:{tag}` is pinned without a date, {why}"));
        None
    });
    let pinned = Pinned::Image(ImagePin { name: image.to_owned(), digest, platforms });
    Ok(Pin { published, ..candidate.pin(pinned, trust) }.into())
}

/// Verifies an image by its digest; the tag may have moved. `manifest` checks the digest of the reply.
pub(super) async fn verify(up: Upstream<'_>, image: &ImagePin) -> anyhow::Result<Checked> {
    let what = format!("{}@{}", image.name, image.digest);
    let body = match OciRepository::new(up.http, &image.name)?.manifest(image.digest.as_str()).await {
        Ok((_, body, _)) => body,
        Err(error) => {
            let is_gone = error.chain().any(|cause| cause.downcast_ref().is_some_and(HttpError::is_gone));
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
    ensure!(!index.manifests.is_empty(), "{image} is not a multi-platform index");
    let platform = |arch: Arch| {
        let fits = |descriptor: &&Descriptor| descriptor.platform.as_ref().is_some_and(|platform| platform.is(arch));
        let found = index.manifests.iter().find(fits);
        let found = found.with_context(|| format!("{image} has no image for {}", arch.platform()))?;
        Ok((arch, found.digest.clone()))
    };
    Arch::ALL.into_iter().map(platform).collect()
}

/// A repository in a registry, at its address after mirrors.
struct OciRepository<'a> {
    http: &'a Http,
    /// `https://registry-1.docker.io/v2/library/debian`.
    base: String,
    image: &'a str,
}

impl<'a> OciRepository<'a> {
    fn new(http: &'a Http, image: &'a str) -> anyhow::Result<Self> {
        let mirrored = http.mirrors().rewrite(image);
        let Some((registry, path)) = mirrored.split_once('/') else {
            bail!("`{mirrored}` is not an image name with a registry (docker.io/library/debian)")
        };
        // The host of Docker Hub's API.
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let scheme = if is_loopback(host) { "http" } else { "https" };
        Ok(Self { http, base: format!("{scheme}://{host}/v2/{path}"), image })
    }

    /// A manifest or index by tag or digest: its computed digest, compared with the one that the registry states, and its
    /// bytes.
    async fn manifest(&self, reference: &str) -> anyhow::Result<(OciDigest, Vec<u8>, Trust)> {
        let Reply { headers, body } = self.get(&format!("manifests/{reference}"), MANIFESTS).await?;
        let counted = OciDigest::from(Sha256::of(&body));
        let asked = Some(reference).filter(|reference| reference.contains(':'));
        let stated = headers.get("docker-content-digest").and_then(|value| value.to_str().ok());
        if let Some(stated) = [asked, stated].into_iter().flatten().find(|stated| *stated != counted.as_str()) {
            let (image, stated) = (self.image, stated.escape_debug());
            bail!("{image}:{reference} has the digest {counted}, but its registry states {stated}");
        }
        let is_stated = asked.is_some() || stated.is_some();
        Ok((counted, body, if is_stated { Trust::Stated } else { Trust::Computed }))
    }

    /// When the image was created, by its configuration.
    async fn created(&self, manifest: &OciDigest) -> anyhow::Result<Option<Published>> {
        let (_, body, _) = self.manifest(manifest.as_str()).await?;
        let manifest: Manifest = serde_json::from_slice(&body)?;
        let Reply { body, .. } = self.get(&format!("blobs/{}", manifest.config.digest), "*/*").await?;
        let config: Configuration = serde_json::from_slice(&body)?;
        Ok(config.created.and_then(Published::at))
    }

    async fn get(&self, path: &str, accept: &'static str) -> anyhow::Result<Reply> {
        let url = format!("{}/{path}", self.base);
        let cannot = || format!("cannot read `{}`", self.image);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let challenge = match self.http.get_public(&url, headers.clone()).await {
            Err(error) if error.challenge().is_some() => error.challenge().unwrap_or_default().to_owned(),
            Err(error) if error.is_gone() => {
                return Err(error).with_context(|| format!("`{}` has no {path}", self.image));
            }
            result => return result.with_context(cannot),
        };
        let token = token(self.http, &url, &challenge).await.with_context(cannot)?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).context("the token is not a header")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        self.http.get_public(&url, headers).await.with_context(cannot)
    }
}

/// An anonymous token from the host in the challenge (distribution.github.io, "Token Authentication"). No credentials are
/// sent, so any host is safe.
async fn token(http: &Http, url: &str, challenge: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Token {
        token: Option<String>,
        access_token: Option<String>,
    }
    let unknown = || format!("{url} requires an unknown kind of authentication: {}", challenge.escape_debug());
    let parameters = parse_challenge(challenge).with_context(unknown)?;
    let realm = parameters.get("realm").and_then(|realm| realm.parse().ok());
    let mut address: reqwest::Url = realm.with_context(unknown)?;
    for name in ["service", "scope"] {
        if let Some(value) = parameters.get(name) {
            address.query_pairs_mut().append_pair(name, value);
        }
    }
    let Token { token, access_token } = http.fleeting_json(address.as_str()).await?;
    token.or(access_token).with_context(unknown)
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
