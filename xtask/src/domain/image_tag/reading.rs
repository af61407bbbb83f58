//! Composing and parsing tags.
//!
//! A flavor may contain `-r3-` and a version `-manager-`, so a text can fit a template in two ways. Both directions
//! refuse such a text: [`ImageTagTemplate::parse_tag`] returns the parts that [`ImageTagTemplate::compose`] got, and
//! the reverse.

use std::collections::BTreeMap;

use chrono::NaiveDate;

use super::part::{Part, is_first_tag_byte, is_tag_byte};
use super::template::{ImageTagTemplate, Piece};
use super::{ImageTag, ImageTagError, LONGEST, TagParts};
use crate::domain::version::{compact_date, printable};

/// Which of the possible ends of a part to use.
#[derive(Clone, Copy)]
enum Choose {
    Shortest,
    Longest,
}

impl ImageTagTemplate {
    pub(crate) fn compose(&self, parts: &TagParts) -> Result<ImageTag, ImageTagError> {
        let place = |name: &str| self.components().any(|component| component == name);
        if let Some(part) = parts.components.keys().find(|name| !place(name)) {
            return Err(ImageTagError::Surplus { part: shown(part), template: self.as_str().to_owned() });
        }
        let mut values = Vec::new();
        for part in self.parts() {
            let value = parts.value(part).ok_or_else(|| ImageTagError::Missing {
                part: part.name().to_owned(),
                template: self.as_str().to_owned(),
            })?;
            part.check(&value).map_err(|reason| ImageTagError::Part {
                part: part.name().to_owned(),
                value: shown(&value),
                reason,
            })?;
            values.push((part, value));
        }
        let mut next = values.iter();
        let tag: String = self
            .pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Text(text) => Some(text.as_str()),
                Piece::Part(_) => next.next().map(|(_, value)| value.as_str()),
            })
            .collect();
        if tag.len() > LONGEST {
            let longest = values.iter().max_by_key(|(_, value)| value.len());
            let (part, part_length) = longest.map_or(("text", 0), |(part, value)| (part.name(), value.len()));
            let (part, length) = (part.to_owned(), tag.len());
            return Err(ImageTagError::TooLong { tag: shown(&tag), length, part, part_length });
        }
        self.read(&tag)?;
        Ok(ImageTag(tag))
    }

    /// The inverse of [`Self::compose`].
    pub(crate) fn parse_tag(&self, text: &str) -> Result<TagParts, ImageTagError> {
        let unlike = || ImageTagError::Unlike { tag: shown(text), template: self.as_str().to_owned() };
        let mut date = None;
        let mut flavor = None;
        let mut revision = None;
        let mut components = BTreeMap::new();
        for (part, value) in self.read(text)? {
            match part {
                Part::Date => date = compact_date(value),
                Part::Flavor => flavor = Some(value.to_owned()),
                Part::Revision => revision = value.parse().ok(),
                Part::Component(name) => {
                    components.insert(name.clone(), value.to_owned());
                }
            }
        }
        let date = date.ok_or_else(unlike)?;
        let flavor = flavor.ok_or_else(unlike)?;
        let revision = revision.ok_or_else(unlike)?;
        Ok(TagParts { date, flavor, revision, components })
    }

    /// The only way to read `text`: it is unique if the shortest and the longest possible parts are the same.
    fn read<'t>(&self, text: &'t str) -> Result<Vec<(&Part, &'t str)>, ImageTagError> {
        let template = || self.as_str().to_owned();
        let is_tag = text.len() <= LONGEST
            && text.bytes().next().is_some_and(is_first_tag_byte)
            && text.bytes().all(is_tag_byte);
        let fits = is_tag.then(|| self.fits(text));
        let Some(fits) = fits.filter(|fits| fits.first().and_then(|row| row.first()) == Some(&true)) else {
            return Err(ImageTagError::Unlike { tag: shown(text), template: template() });
        };
        let shortest = self.walk(text, &fits, Choose::Shortest);
        let longest = self.walk(text, &fits, Choose::Longest);
        match shortest.iter().zip(&longest).find(|(one, other)| one != other) {
            None => Ok(shortest),
            Some(((part, _), _)) => {
                Err(ImageTagError::Ambiguous { tag: shown(text), template: template(), part: part.name().to_owned() })
            }
        }
    }

    /// For each piece and position: whether this piece and all after it match the rest of the text. Filled from the end,
    /// so that repetitive texts cause no backtracking.
    fn fits(&self, text: &str) -> Vec<Vec<bool>> {
        let mut rows = vec![(0..=text.len()).map(|start| start == text.len()).collect::<Vec<bool>>()];
        for (index, piece) in self.pieces.iter().enumerate().rev() {
            let before = index.checked_sub(1).and_then(|before| self.pieces.get(before));
            let row = (0..=text.len())
                .map(|start| match (piece, before) {
                    (Piece::Text(fixed), _) => {
                        after_fixed(text, start, fixed).is_some_and(|end| is_set(rows.last(), end))
                    }
                    // A part starts only where the text before it ends.
                    (Piece::Part(part), Some(Piece::Text(fixed))) => {
                        text.get(..start).is_some_and(|head| head.ends_with(fixed.as_str()))
                            && ends(part, text, start, rows.last()).next().is_some()
                    }
                    (Piece::Part(part), _) => start == 0 && ends(part, text, start, rows.last()).next().is_some(),
                })
                .collect();
            rows.push(row);
        }
        rows.reverse();
        rows
    }

    /// The values of the parts, following `fits` from the beginning.
    fn walk<'t>(&self, text: &'t str, fits: &[Vec<bool>], choose: Choose) -> Vec<(&Part, &'t str)> {
        let mut position = 0;
        let mut values = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(fixed) => position += fixed.len(),
                Piece::Part(part) => {
                    let mut ends = ends(part, text, position, fits.get(index + 1));
                    let end = match choose {
                        Choose::Shortest => ends.next(),
                        Choose::Longest => ends.last(),
                    };
                    let end = end.unwrap_or(position);
                    values.push((part, text.get(position..end).unwrap_or_default()));
                    position = end;
                }
            }
        }
        values
    }
}

impl TagParts {
    fn value(&self, part: &Part) -> Option<String> {
        match part {
            Part::Date => Some(compact(self.date)),
            Part::Flavor => Some(self.flavor.clone()),
            Part::Revision => Some(self.revision.to_string()),
            Part::Component(name) => self.components.get(name).cloned(),
        }
    }
}

/// The possible ends of a part that starts at `start`: its value is allowed and the rest fits.
fn ends(part: &Part, text: &str, start: usize, rest: Option<&Vec<bool>>) -> impl Iterator<Item = usize> {
    (start + 1..=text.len())
        .filter(move |&end| is_set(rest, end))
        .filter(move |&end| text.get(start..end).is_some_and(|value| part.check(value).is_ok()))
}

fn after_fixed(text: &str, start: usize, fixed: &str) -> Option<usize> {
    text.get(start..)?.starts_with(fixed).then_some(start + fixed.len())
}

fn is_set(row: Option<&Vec<bool>>, position: usize) -> bool {
    row.and_then(|row| row.get(position)) == Some(&true)
}

fn compact(date: NaiveDate) -> String {
    date.format("%Y%m%d").to_string()
}

fn shown(text: &str) -> String {
    printable(text, LONGEST)
}
