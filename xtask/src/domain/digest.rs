//! Digests, commits and addresses of pins. Each type validates its text, so that a damaged lock is refused when it is
//! read, not when a value reaches a shell.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Debug, thiserror::Error)]
#[error("`{}` is not {expected}", .text.chars().take(80).collect::<String>().escape_debug())]
pub(crate) struct DigestError {
    text: String,
    expected: &'static str,
}

pub(super) fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(String);

        impl $name {
            pub(crate) fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = DigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl TryFrom<String> for $name {
            type Error = DigestError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(DigestError { text, expected: $expected }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

checked_text!(
    /// A SHA-256 of a file: 64 lowercase hexadecimal digits.
    Sha256,
    "a SHA-256 (64 lowercase hexadecimal digits)",
    |text| is_lower_hex(text, 64)
);

checked_text!(
    /// An OCI digest (`sha256:` and 64 lowercase hexadecimal digits), as the OCI image specification writes it.
    OciDigest,
    "an OCI digest (`sha256:` and 64 lowercase hexadecimal digits)",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| is_lower_hex(hex, 64))
);

checked_text!(
    /// A git commit: 40 lowercase hexadecimal digits.
    CommitId,
    "a commit (40 lowercase hexadecimal digits)",
    |text| is_lower_hex(text, 40)
);

checked_text!(
    /// npm's subresource integrity of a package tarball: `sha512-` and 64 bytes in base64.
    Integrity,
    "an npm integrity (`sha512-` and 88 characters of base64)",
    |text| text.strip_prefix("sha512-").is_some_and(|base64| {
        base64.len() == 88
            && base64.ends_with("==")
            && base64[..86].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
    })
);

checked_text!(
    /// An absolute `http` or `https` address of ASCII characters that are not special in a shell, a Dockerfile or a
    /// template.
    FileUrl,
    "a plain http(s) address",
    |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| {
            !rest.is_empty()
                && !rest.starts_with('/')
                && text.len() <= 2048
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/%+@=,".contains(&byte))
                && !rest.split('/').any(|segment| segment == "..")
        })
    }
);

impl FileUrl {
    /// The last segment of the path, percent-encoded as in the address.
    pub(crate) fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The decoded file name: `a+b.zip` for `…/a%2Bb.zip`.
    pub(crate) fn decoded_file_name(&self) -> String {
        percent_encoding::percent_decode_str(self.file_name()).decode_utf8_lossy().into_owned()
    }
}

impl Integrity {
    /// The digest in hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        use base64::Engine as _;
        let base64 = self.as_str().strip_prefix("sha512-").unwrap_or_default();
        hex(&base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default())
    }
}

impl OciDigest {
    pub(crate) fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl From<Sha256> for OciDigest {
    fn from(sha256: Sha256) -> Self {
        Self(format!("sha256:{sha256}"))
    }
}

impl Sha256 {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self::from_bytes(&sha2::Sha256::digest(bytes))
    }

    /// From the 32 bytes that a hasher returns.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(hex(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|it| char::from_digit(it.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_accepted() {
        let hex = "c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4";
        assert!(hex.parse::<Sha256>().is_ok());
        assert!(hex.to_uppercase().parse::<Sha256>().is_err());
        assert!(hex[1..].parse::<Sha256>().is_err());
        assert!(format!("sha256:{hex}").parse::<OciDigest>().is_ok());
        assert!(hex.parse::<OciDigest>().is_err());
        assert!(hex[..40].parse::<CommitId>().is_ok());
        assert!(
            "sha512-Ie0kyQSCVfFqixsgVg39vevUDq01Ch5u3+7Yu5Y3qARczmdAe+lzp8bVnO9925rHiW/+CFp70zfORCyPmCH31g=="
                .parse::<Integrity>()
                .is_ok()
        );
        assert!("sha1-abc".parse::<Integrity>().is_err());
    }

    #[test]
    fn an_address_has_no_special_characters_of_shells_and_templates() {
        assert!("https://github.com/a/b/releases/download/v1/c.zip".parse::<FileUrl>().is_ok());
        assert!("http://snapshot.debian.org/archive/debian/20261124T000000Z/pool/main/g/git/git_2.47.3-0%2bdeb13u1_amd64.deb"
            .parse::<FileUrl>().is_ok());
        for hostile in [
            "https://x/;rm -rf /",
            "https://x/{{ 7 }}",
            "https://x/a\nRUN id",
            "https://x/$(id)",
            "https://x/`id`",
            "https://x/../y",
            "ftp://x/y",
            "https:///etc/passwd",
            "https://",
        ] {
            assert!(hostile.parse::<FileUrl>().is_err(), "{hostile}");
        }
    }

    #[test]
    fn the_error_shows_the_text_on_one_line() {
        let error = "a\nb".parse::<Sha256>().unwrap_err().to_string();
        assert_eq!(error, "`a\\nb` is not a SHA-256 (64 lowercase hexadecimal digits)");
    }
}
