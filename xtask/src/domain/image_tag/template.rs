//! Templates of image tags.

use super::ImageTagError;
use super::part::{Part, is_first_tag_byte};
use crate::domain::text::{is_lower, is_tag_byte};

/// A template such as `v{date}-{flavor}-r{revision}-opencode-{opencode}`: fixed text and placeholders, with text between
/// any two. `{date}`, `{flavor}` and `{revision}` occur exactly once; other names are components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageTagTemplate {
    source: String,
    pub(super) pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Part(Part),
}

impl ImageTagTemplate {
    pub(crate) fn parse(source: &str) -> Result<Self, ImageTagError> {
        let wrong = |what: String| ImageTagError(format!("image tag template `{}` {what}", source.escape_default()));
        let unmatched = || wrong("has an unmatched `{` or `}`".to_owned());
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(unmatched)?;
            // As the names of components in `stack.toml`.
            if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !is_lower(name, b"-") {
                let name = name.escape_default();
                return Err(wrong(format!("has the placeholder `{{{name}}}`; a name is a-z, then a-z 0-9 -")));
            }
            let part = Piece::Part(Part::new(name));
            if pieces.contains(&part) {
                return Err(wrong(format!("has `{{{name}}}` twice")));
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            } else if !pieces.is_empty() {
                return Err(wrong(format!("needs text before `{{{name}}}`, to separate it from the one before")));
            }
            pieces.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        for (position, piece) in pieces.iter().enumerate() {
            let Piece::Text(text) = piece else { continue };
            if text.contains('}') {
                return Err(unmatched());
            }
            // `.` and `-` cannot start a tag; parts check that themselves.
            let begins_well = position > 0 || text.bytes().next().is_some_and(is_first_tag_byte);
            if !begins_well || !text.bytes().all(is_tag_byte) {
                return Err(wrong(format!(
                    "has the text `{}`; a tag may contain A-Z a-z 0-9 . _ -, not `.` or `-` first",
                    text.escape_default()
                )));
            }
        }
        for name in ["date", "flavor", "revision"] {
            if !pieces.contains(&Piece::Part(Part::new(name))) {
                return Err(wrong(format!("lacks `{{{name}}}`")));
            }
        }
        Ok(Self { source: source.to_owned(), pieces })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.source
    }

    /// The components that [`Self::compose`] needs values of, in the order of the template.
    pub(crate) fn components(&self) -> impl Iterator<Item = &str> {
        self.parts().filter_map(|part| match part {
            Part::Component(name) => Some(name.as_str()),
            _ => None,
        })
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Part(part) => Some(part),
            Piece::Text(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_its_components() {
        let source = "v{date}-{flavor}-r{revision}-llamacpp-opencode-{opencode}-manager-{manager}";
        let template = ImageTagTemplate::parse(source).unwrap();
        assert_eq!(template.as_str(), source);
        assert_eq!(template.components().collect::<Vec<_>>(), ["opencode", "manager"]);
    }

    #[test]
    fn invalid_templates_are_refused() {
        for (source, expected) in [
            ("v{date}-{flavor}-r{revision", "has an unmatched"),
            ("v{date}-{flavor}-r{revision}}", "has an unmatched"),
            ("v{date}-{flavor}-r{revision}-{}", "has the placeholder `{}`"),
            ("v{date}-{flavor}-r{revision}-{Node}", "has the placeholder `{Node}`"),
            ("v{date}-{flavor}-r{revision}-{{x}}", "has the placeholder `{{x}`"),
            ("v{date}-{flavor}-r{revision}-{date}", "has `{date}` twice"),
            ("v{date}-{flavor}-{node}", "lacks `{revision}`"),
            ("", "lacks `{date}`"),
            ("v{date}{flavor}-r{revision}", "needs text before `{flavor}`"),
            ("-{date}-{flavor}-r{revision}", "has the text `-`"),
            ("{date}-{flavor}+r{revision}", "has the text `+r`"),
            ("{date}-{flavor}\n{revision}", r"has the text `\n`"),
        ] {
            let message = ImageTagTemplate::parse(source).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(ImageTagTemplate::parse("{flavor}-{date}.{revision}").is_ok());
    }
}
