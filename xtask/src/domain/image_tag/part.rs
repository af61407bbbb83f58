//! The parts of an image tag and their allowed values.

use crate::domain::version::compact_date;

/// Nine digits plus one fit in `u32`, so the next revision cannot overflow.
const REVISION_DIGITS: usize = 9;

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

/// Why a value is not allowed in a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartError {
    #[error("it is empty")]
    Empty,
    #[error("`+` starts build metadata in semver, which tags cannot contain; leave the metadata out")]
    BuildMetadata,
    #[error("a tag may contain A-Z a-z 0-9 . _ - only")]
    Character,
    #[error("it must begin with a letter, a digit or `_`")]
    Beginning,
    #[error("it must begin and end with a letter or a digit")]
    FlavorEnds,
    #[error("a date has the form YYYYMMDD")]
    Date,
    #[error("a revision is an integer of at most {REVISION_DIGITS} digits without leading zeros")]
    Revision,
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

    pub(super) fn check(&self, value: &str) -> Result<(), PartError> {
        let (Some(first), Some(last)) = (value.bytes().next(), value.bytes().last()) else {
            return Err(PartError::Empty);
        };
        if value.contains('+') {
            return Err(PartError::BuildMetadata);
        }
        if !value.bytes().all(is_tag_byte) {
            return Err(PartError::Character);
        }
        match self {
            Self::Date if compact_date(value).is_none() => Err(PartError::Date),
            Self::Revision if !is_revision(value) => Err(PartError::Revision),
            Self::Flavor if !(first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric()) => {
                Err(PartError::FlavorEnds)
            }
            Self::Component(_) if !is_first_tag_byte(first) => Err(PartError::Beginning),
            _ => Ok(()),
        }
    }
}

fn is_revision(value: &str) -> bool {
    value.len() <= REVISION_DIGITS
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'))
}

pub(super) fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

pub(super) fn is_first_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
