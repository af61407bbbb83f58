//! Templates of image tags.

use super::part::{Part, is_first_tag_byte, is_tag_byte};

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

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("image tag template `{template}` has an unmatched `{{` or `}}`")]
    Brace { template: String },
    #[error("image tag template `{template}` has the placeholder `{{{name}}}`; a name is a-z, then a-z 0-9 -")]
    Name { template: String, name: String },
    #[error("image tag template `{template}` has `{{{name}}}` twice")]
    Twice { template: String, name: String },
    #[error("image tag template `{template}` lacks `{{{name}}}`")]
    Missing { template: String, name: &'static str },
    #[error("image tag template `{template}` needs text before `{{{name}}}`, to separate it from the one before")]
    Adjacent { template: String, name: String },
    #[error(
        "image tag template `{template}` has the text `{text}`; a tag may contain A-Z a-z 0-9 . _ -, not `.` or `-` first"
    )]
    Text { template: String, text: String },
}

impl ImageTagTemplate {
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        let template = || source.escape_default().to_string();
        let mut pieces = Vec::new();
        let mut rest = source;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| TemplateError::Brace { template: template() })?;
            if !is_name(name) {
                return Err(TemplateError::Name { template: template(), name: name.escape_default().to_string() });
            }
            let part = Part::new(name);
            if pieces.contains(&Piece::Part(part.clone())) {
                return Err(TemplateError::Twice { template: template(), name: name.to_owned() });
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            } else if !pieces.is_empty() {
                return Err(TemplateError::Adjacent { template: template(), name: name.to_owned() });
            }
            pieces.push(Piece::Part(part));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        for (position, piece) in pieces.iter().enumerate() {
            let Piece::Text(text) = piece else { continue };
            if text.contains('}') {
                return Err(TemplateError::Brace { template: template() });
            }
            // `.` and `-` cannot start a tag; parts check that themselves.
            let begins_well = position > 0 || text.bytes().next().is_some_and(is_first_tag_byte);
            if !begins_well || !text.bytes().all(is_tag_byte) {
                return Err(TemplateError::Text { template: template(), text: text.escape_default().to_string() });
            }
        }
        for name in ["date", "flavor", "revision"] {
            if !pieces.contains(&Piece::Part(Part::new(name))) {
                return Err(TemplateError::Missing { template: template(), name });
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

/// Whether it is a component name of `stack.toml`.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
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
