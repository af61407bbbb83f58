//! Signatures of npm's registry: ECDSA (P-256) of name, version and integrity, by the registry's published keys
//! (docs.npmjs.com, "About registry signatures").

use anyhow::bail;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;

use crate::domain::text::shown;

/// The DER prefix of a P-256 public key (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[derive(Debug, Default, Deserialize)]
pub(super) struct Keys {
    #[serde(default)]
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
struct Key {
    #[serde(rename = "keyid")]
    id: String,
    #[serde(rename = "key")]
    der: String,
    expires: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Signature {
    keyid: String,
    sig: String,
}

impl Keys {
    /// Whether a key signed it that was valid at the publication. Signatures by unknown keys are ignored; a signature by
    /// a known key that does not match is an error.
    pub(super) fn vouch(
        &self,
        signatures: &[Signature],
        text: &str,
        published: Option<DateTime<Utc>>,
    ) -> anyhow::Result<bool> {
        let mut is_signed = false;
        for signature in signatures {
            let was_valid = |key: &&Key| match (key.expires, published) {
                (None, _) => true,
                (Some(expires), Some(published)) => published < expires,
                (Some(_), None) => false,
            };
            let of_id = self.keys.iter().filter(|key| key.id == signature.keyid);
            let Some(point) = of_id.filter(was_valid).find_map(Key::point) else { continue };
            let is_of_text = STANDARD.decode(&signature.sig).is_ok_and(|sig| {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(text.as_bytes(), &sig).is_ok()
            });
            if !is_of_text {
                bail!(
                    "the registry's signature (key {}) does not match `{text}`: its metadata was changed after it was \
                     signed",
                    shown(&signature.keyid, 80)
                );
            }
            is_signed = true;
        }
        Ok(is_signed)
    }
}

impl Key {
    fn point(&self) -> Option<Vec<u8>> {
        let der = STANDARD.decode(&self.der).ok()?;
        Some(der.strip_prefix(&P256)?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;

    #[test]
    fn a_signature_counts_if_its_key_is_known_and_was_valid() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let key = STANDARD.encode([&P256, pair.public_key().as_ref()].concat());
        let keys = |expires: Option<&str>| Keys {
            keys: vec![Key {
                id: "a".to_owned(),
                der: key.clone(),
                expires: expires.map(|moment| moment.parse().unwrap()),
            }],
        };
        let signed = |keyid: &str| Signature {
            keyid: keyid.to_owned(),
            sig: STANDARD.encode(pair.sign(&random, b"x@1:sha512-y").unwrap()),
        };
        let day = |text: &str| Some(text.parse().unwrap());
        let (before, after) = (day("2025-01-01T00:00:00Z"), day("2026-01-01T00:00:00Z"));
        let ends = Some("2025-06-01T00:00:00Z");
        for (expires, by, published, expected) in [
            (None, "a", None, true),
            (None, "b", None, false),
            (ends, "a", before, true),
            (ends, "a", after, false),
            (ends, "a", None, false),
        ] {
            let is_signed = keys(expires).vouch(&[signed(by)], "x@1:sha512-y", published).unwrap();
            assert_eq!(is_signed, expected, "{expires:?} {by}");
        }
        assert!(keys(None).vouch(&[signed("a")], "x@1:sha512-z", None).is_err());
        assert!(keys(None).vouch(&[Signature { sig: "%".to_owned(), ..signed("a") }], "x@1:sha512-y", None).is_err());
        assert!(!keys(None).vouch(&[], "x@1:sha512-y", None).unwrap());
        assert!(!Keys::default().vouch(&[signed("a")], "x@1:sha512-y", None).unwrap());
    }
}
