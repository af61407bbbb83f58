//! The parts of an image tag and their allowed values.

use crate::domain::text::is_tag_byte;
use crate::domain::version::compact_date;

/// A placeholder of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// `YYYYMMDD`.
    Date,
    /// A letter or digit, then letters, digits, `.`, `_` and `-`, a letter or digit last.
    Flavor,
    /// An integer without leading zeros.
    Revision,
    /// A component by its name in `stack.toml`; its version starts with a letter, a digit or `_`.
    Component(String),
}

impl Part {
    pub(super) fn new(name: &str) -> Self {
        match name {
            "date" => Self::Date,
            "flavor" => Self::Flavor,
            "revision" => Self::Revision,
            _ => Self::Component(name.to_owned()),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Date => "date",
            Self::Flavor => "flavor",
            Self::Revision => "revision",
            Self::Component(name) => name,
        }
    }

    /// Fails with the reason if the part cannot have this value.
    pub(super) fn check(&self, value: &str) -> Result<(), &'static str> {
        let (Some(first), Some(last)) = (value.bytes().next(), value.bytes().last()) else {
            return Err("it is empty");
        };
        if value.contains('+') {
            return Err("`+` starts build metadata in semver, which tags cannot contain; leave the metadata out");
        }
        if !value.bytes().all(is_tag_byte) {
            return Err("a tag may contain A-Z a-z 0-9 . _ - only");
        }
        match self {
            Self::Date if compact_date(value).is_none() => Err("a date has the form YYYYMMDD"),
            Self::Revision if !is_revision(value) => {
                Err("a revision is an integer of at most 9 digits without leading zeros")
            }
            Self::Flavor if !(first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric()) => {
                Err("it must begin and end with a letter or a digit")
            }
            Self::Component(_) if !is_first_tag_byte(first) => Err("it must begin with a letter, a digit or `_`"),
            _ => Ok(()),
        }
    }
}

/// Nine digits plus one fit in `u32`, so the next revision cannot overflow.
fn is_revision(value: &str) -> bool {
    value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit()) && (value == "0" || !value.starts_with('0'))
}

pub(super) fn is_first_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
