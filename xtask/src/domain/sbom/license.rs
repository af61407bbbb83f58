//! Licenses as authors write them, and as SPDX names them.

/// SPDX identifiers that packages of the image have. Other texts are kept as names.
const KNOWN: &str = "0BSD Apache-2.0 Artistic-2.0 BSD-2-Clause BSD-3-Clause BlueOak-1.0.0 CC-BY-3.0 CC-BY-4.0 CC0-1.0 \
    GPL-2.0-only GPL-3.0-only ISC LGPL-3.0-or-later MIT MIT-0 MPL-2.0 Python-2.0 Unlicense WTFPL Zlib";

/// A license in SPDX's terms.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum License<'a> {
    Id(&'a str),
    Expression(&'a str),
    /// Not in the list.
    Name(&'a str),
}

pub(super) fn read(text: &str) -> License<'_> {
    let text = text.trim();
    let bare = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    // Nested brackets are not supported: every second word must be an operator.
    let words: Vec<&str> = bare.split_whitespace().collect();
    let is_known = |word: &str| KNOWN.split(' ').any(|known| known == word);
    let fits = |(at, word): (usize, &&str)| if at % 2 == 0 { is_known(word) } else { matches!(*word, "AND" | "OR") };
    match words.len() {
        1 if is_known(bare) => License::Id(bare),
        count if count % 2 == 1 && count > 1 && words.iter().enumerate().all(fits) => License::Expression(bare),
        _ => License::Name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_expressions_of_spdx_are_recognized() {
        for (text, expected) in [
            ("MIT", License::Id("MIT")),
            ("(MIT)", License::Id("MIT")),
            ("(MIT OR CC0-1.0)", License::Expression("MIT OR CC0-1.0")),
            ("MIT AND ISC", License::Expression("MIT AND ISC")),
            ("MIT AND (ISC OR Zlib)", License::Name("MIT AND (ISC OR Zlib)")),
            ("MIT OR", License::Name("MIT OR")),
            ("SEE LICENSE IN LICENSE.md", License::Name("SEE LICENSE IN LICENSE.md")),
            ("", License::Name("")),
        ] {
            assert_eq!(read(text), expected);
        }
    }
}
