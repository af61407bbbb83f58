//! Adds a component to `stack.toml` or removes one, and keeps every other line.

use toml::Table;

use super::stack::{Stack, StackError};

/// The order of a new component's fields.
const ORDER: [&str; 5] = ["title", "scheme", "source", "file", "arch"];

#[derive(Debug, thiserror::Error)]
pub(crate) enum EditError {
    #[error("stack.toml already has a component `{0}`")]
    Known(String),
    #[error("`{0}` has no table [components.{0}] in stack.toml, so it cannot be removed")]
    Inline(String),
    #[error("stack.toml would not be valid")]
    Unsound(#[from] StackError),
}

/// Returns the text with a component after the last one.
pub(crate) fn add(text: &str, name: &str, component: &Table) -> Result<String, EditError> {
    if Stack::parse(text)?.components.contains_key(name) {
        return Err(EditError::Known(name.to_owned()));
    }
    // The title comes first.
    let mut component: Vec<_> = component.iter().collect();
    component.sort_by_key(|(field, _)| ORDER.iter().position(|known| known == field));
    let fields: Vec<String> = component.iter().map(|(field, value)| format!("{field} = {value}\n")).collect();
    let block = format!("[components.{name}]\n{}", fields.concat());
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("[components."));
    let end = last.map_or(lines.len(), |last| end_of_table(&lines, last));
    let (before, after) = (lines[..end].join("\n"), lines[end..].join("\n"));
    let edited = format!("{}\n\n{block}\n{}\n", before.trim_end(), after.trim());
    Stack::parse(&edited)?;
    Ok(edited)
}

/// Returns the text without a component.
pub(crate) fn remove(text: &str, name: &str) -> Result<String, EditError> {
    let lines: Vec<&str> = text.lines().collect();
    let header = |line: &str| {
        let path = line.strip_prefix("[components.")?.split(']').next()?;
        Some(path == name || path.strip_prefix(name).is_some_and(|below| below.starts_with('.')))
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if header(lines[at]) == Some(true) {
            at = end_of_table(&lines, at);
        } else {
            kept.push(lines[at]);
            at += 1;
        }
    }
    let edited = kept.join("\n") + "\n";
    if Stack::parse(&edited)?.components.contains_key(name) {
        return Err(EditError::Inline(name.to_owned()));
    }
    Ok(edited)
}

/// The line after a table: the next table, or the comments right above that.
fn end_of_table(lines: &[&str], start: usize) -> usize {
    let next = lines.iter().skip(start + 1).position(|line| line.starts_with('['));
    let Some(next) = next.map(|next| start + 1 + next) else { return lines.len() };
    let above = lines[start + 1..next].iter().rev().take_while(|line| line.starts_with('#')).count();
    next - above
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = include_str!("../../../stack.toml");

    fn component(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn adding_and_removing_a_component_restores_the_text() {
        let tool =
            "title = \"Tool [x]\"\nscheme = \"semver\"\nsource = { type = \"git\", repository = \"https://x/y\" }\n";
        let added = add(REAL, "tool", &component(tool)).unwrap();
        assert_eq!(Stack::parse(&added).unwrap().components["tool"].title, "Tool [x]");
        // All former lines are there, in order.
        let mut lines = added.lines();
        assert!(REAL.lines().all(|line| lines.any(|other| other == line)));
        assert_eq!(remove(&added, "tool").unwrap(), REAL);
        assert!(matches!(add(&added, "tool", &component(tool)), Err(EditError::Known(_))));
        for bad in ["title = 1", "title = \"x\"\nscheme = \"semver\"\nsource = { type = \"ftp\" }"] {
            assert!(matches!(add(REAL, "tool", &component(bad)), Err(EditError::Unsound(_))), "{bad}");
        }
        for name in ["to ol", "x]\n[y", "Tool", ""] {
            assert!(add(REAL, name, &component(tool)).is_err(), "{name}");
        }
    }

    #[test]
    fn a_component_in_use_is_not_removed_and_subtables_are() {
        assert!(matches!(remove(REAL, "node"), Err(EditError::Unsound(StackError::Dangling { .. }))));
        let less = remove(REAL, "debian-build").unwrap();
        assert!(!less.contains("unzip") && less.contains("[components.node]") && less.contains("[components.debian]"));
        let (before, rest) = REAL.split_once("[components.debian-build]").unwrap();
        let (_, after) = rest.split_once("[components.node]").unwrap();
        assert_eq!(less, format!("{before}[components.node]{after}"));
        let inline = "schema = 1\n[image]\nname = \"x\"\ntitle = \"x\"\nflavor = \"x\"\ntag = \"v{date}-{flavor}-r{revision}\"\n\
            license = \"MIT\"\nuid = 1\ngid = 1\nhealth = { interval = 1, timeout = 1, retries = 1 }\n[components]\na = { title = \"a\", scheme = \"tag\", source = { type = \"oci\", image = \"x/y\", tag = \"z\" } }\n";
        assert!(matches!(remove(inline, "a"), Err(EditError::Inline(_))));
    }
}
