//! Licences as authors write them, and as the SPDX list names them.

/// Identifiers of the SPDX list that packages of the image have. Another text is kept as a name.
const KNOWN: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Artistic-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BlueOak-1.0.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC0-1.0",
    "GPL-2.0-only",
    "GPL-3.0-only",
    "ISC",
    "LGPL-3.0-or-later",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Python-2.0",
    "Unlicense",
    "WTFPL",
    "Zlib",
];

/// A licence in the words of SPDX.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum License<'a> {
    Id(&'a str),
    Expression(&'a str),
    /// None of the list's.
    Name(&'a str),
}

pub(super) fn read(text: &str) -> License<'_> {
    let text = text.trim();
    let bare = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    // Without nested brackets, a list is known to be one by its words.
    let words: Vec<&str> = bare.split_whitespace().collect();
    let fits = |(at, word): (usize, &&str)| {
        if at % 2 == 0 { KNOWN.contains(word) } else { matches!(*word, "AND" | "OR") }
    };
    match words.len() {
        1 if KNOWN.contains(&bare) => License::Id(bare),
        count if count % 2 == 1 && count > 1 && words.iter().enumerate().all(fits) => License::Expression(bare),
        _ => License::Name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_the_list_is_told_from_what_is_not() {
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
