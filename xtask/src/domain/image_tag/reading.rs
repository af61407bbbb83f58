//! Composing and parsing tags.
//!
//! A flavor may contain `-r3-` and a version `-manager-`, so a text can fit a template in two ways. Both directions
//! refuse such a text: [`ImageTagTemplate::parse_tag`] returns the parts that [`ImageTagTemplate::compose`] got, and
//! the reverse.

use super::part::{Part, is_first_tag_byte};
use super::template::{ImageTagTemplate, Piece};
use super::{ImageTag, ImageTagError, TagParts};
use crate::domain::text::{LONGEST_TAG, is_tag_byte};
use crate::domain::version::{compact_date, printable};

impl ImageTagTemplate {
    pub(crate) fn compose(&self, parts: &TagParts) -> Result<ImageTag, ImageTagError> {
        let template = self.as_str();
        let place = |name: &str| self.components().any(|component| component == name);
        if let Some(part) = parts.components.keys().find(|name| !place(name)) {
            let part = shown(part);
            return Err(ImageTagError(format!("the image tag has no place for `{part}` (template `{template}`)")));
        }
        let mut tag = String::new();
        let mut longest = ("text", 0);
        for piece in &self.pieces {
            let part = match piece {
                Piece::Text(text) => {
                    tag.push_str(text);
                    continue;
                }
                Piece::Part(part) => part,
            };
            let name = part.name();
            let value = parts.value(part).ok_or_else(|| {
                ImageTagError(format!("the image tag needs a value for `{name}` (template `{template}`)"))
            })?;
            part.check(&value).map_err(|reason| {
                ImageTagError(format!("part `{name}` of the image tag cannot be `{}`: {reason}", shown(&value)))
            })?;
            if value.len() >= longest.1 {
                longest = (name, value.len());
            }
            tag.push_str(&value);
        }
        if tag.len() > LONGEST_TAG {
            let (shown, length, (part, part_length)) = (shown(&tag), tag.len(), longest);
            return Err(ImageTagError(format!(
                "image tag `{shown}` has {length} bytes, registries accept at most {LONGEST_TAG}; \
                 its longest part is `{part}` with {part_length}"
            )));
        }
        self.read(&tag)?;
        Ok(ImageTag(tag))
    }

    /// The inverse of [`Self::compose`].
    pub(crate) fn parse_tag(&self, text: &str) -> Result<TagParts, ImageTagError> {
        let values = self.read(text)?;
        let value = |wanted: &Part| {
            let found = values.iter().find(|(part, _)| *part == wanted);
            found.map(|(_, value)| *value).ok_or_else(|| self.unlike(text))
        };
        let components = values.iter().filter_map(|(part, value)| match part {
            Part::Component(name) => Some((name.clone(), (*value).to_owned())),
            _ => None,
        });
        Ok(TagParts {
            date: compact_date(value(&Part::Date)?).ok_or_else(|| self.unlike(text))?,
            flavor: value(&Part::Flavor)?.to_owned(),
            revision: value(&Part::Revision)?.parse().map_err(|_| self.unlike(text))?,
            components: components.collect(),
        })
    }

    fn unlike(&self, text: &str) -> ImageTagError {
        ImageTagError(format!("`{}` is not an image tag of the template `{}`", shown(text), self.as_str()))
    }

    /// The only way to read `text`, in which each part has one possible end.
    fn read<'t>(&self, text: &'t str) -> Result<Vec<(&Part, &'t str)>, ImageTagError> {
        let is_tag = text.len() <= LONGEST_TAG
            && text.bytes().next().is_some_and(is_first_tag_byte)
            && text.bytes().all(is_tag_byte);
        let fits = if is_tag { self.fits(text) } else { Vec::new() };
        if !fits.first().is_some_and(|row| row[0]) {
            return Err(self.unlike(text));
        }
        let mut start = 0;
        let mut values = Vec::new();
        for (piece, rest) in self.pieces.iter().zip(&fits[1..]) {
            match piece {
                Piece::Text(fixed) => start += fixed.len(),
                Piece::Part(part) => {
                    let mut ends = ends(part, text, start, rest);
                    let (Some(end), None) = (ends.next(), ends.next()) else {
                        let (tag, template, part) = (shown(text), self.as_str(), part.name());
                        return Err(ImageTagError(format!(
                            "image tag `{tag}` is ambiguous in the template `{template}`: \
                             part `{part}` can be read in two ways"
                        )));
                    };
                    values.push((part, &text[start..end]));
                    start = end;
                }
            }
        }
        Ok(values)
    }

    /// For each piece and position: whether this piece and all after it match the rest of the text, which is ASCII. Filled
    /// from the end, so that repetitive texts cause no backtracking.
    fn fits(&self, text: &str) -> Vec<Vec<bool>> {
        let mut rest: Vec<bool> = (0..=text.len()).map(|start| start == text.len()).collect();
        let mut rows = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate().rev() {
            let before = index.checked_sub(1).map(|before| &self.pieces[before]);
            let row = (0..=text.len())
                .map(|start| match (piece, before) {
                    (Piece::Text(fixed), _) => text[start..].starts_with(fixed) && rest[start + fixed.len()],
                    // A part starts only where the text before it ends.
                    (Piece::Part(part), Some(Piece::Text(fixed))) => {
                        text[..start].ends_with(fixed) && ends(part, text, start, &rest).next().is_some()
                    }
                    (Piece::Part(part), _) => start == 0 && ends(part, text, start, &rest).next().is_some(),
                })
                .collect();
            rows.push(std::mem::replace(&mut rest, row));
        }
        rows.push(rest);
        rows.reverse();
        rows
    }
}

impl TagParts {
    fn value(&self, part: &Part) -> Option<String> {
        match part {
            Part::Date => Some(self.date.format("%Y%m%d").to_string()),
            Part::Flavor => Some(self.flavor.clone()),
            Part::Revision => Some(self.revision.to_string()),
            Part::Component(name) => self.components.get(name).cloned(),
        }
    }
}

/// The possible ends of a part that starts at `start`: its value is allowed and the rest fits.
fn ends(part: &Part, text: &str, start: usize, rest: &[bool]) -> impl Iterator<Item = usize> {
    (start + 1..=text.len()).filter(move |&end| rest[end] && part.check(&text[start..end]).is_ok())
}

fn shown(text: &str) -> String {
    printable(text, LONGEST_TAG)
}
