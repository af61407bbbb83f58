//! The generated parts of the README and of `docs/`, between markers.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::{Rendered, files_of};

/// Puts each part between its markers, which exactly one page must have.
pub(super) fn fill(root: &Path, parts: &[(String, String)]) -> anyhow::Result<Vec<Rendered>> {
    let mut pages = Vec::new();
    let docs = root.join("docs");
    let of_docs = if docs.is_dir() { files_of(&docs, "md")? } else { Vec::new() };
    let of_docs = of_docs.into_iter().map(|page| Path::new("docs").join(page));
    for path in std::iter::once(PathBuf::from("README.md")).chain(of_docs) {
        pages.push(Rendered { contents: fs_err::read_to_string(root.join(&path))?, path });
    }
    for (name, contents) in parts {
        let mut places = pages.iter_mut().filter(|page| page.contents.contains(&begin(name)));
        let page =
            places.next().with_context(|| format!("no page has `{}`: README.md or one of docs/", begin(name)))?;
        if let Some(other) = places.next() {
            bail!("both {} and {} have `{}`", page.path.display(), other.path.display(), begin(name));
        }
        page.contents = replaced(&page.contents, name, contents)
            .with_context(|| format!("{} has `{}` without `{}`", page.path.display(), begin(name), end(name)))?;
    }
    Ok(pages)
}

fn begin(name: &str) -> String {
    format!("<!-- @generated {name} -->")
}

fn end(name: &str) -> String {
    format!("<!-- @end {name} -->")
}

fn replaced(page: &str, name: &str, contents: &str) -> Option<String> {
    let (before, rest) = page.split_once(&begin(name))?;
    let (_, after) = rest.split_once(&end(name))?;
    Some(format!("{before}{}\n{}\n{}{after}", begin(name), contents.trim_end(), end(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_replaces_the_text_between_its_markers() {
        let page = "a\n<!-- @generated x -->\nold\n<!-- @end x -->\nb\n";
        let once = replaced(page, "x", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- @generated x -->\nnew\n<!-- @end x -->\nb\n");
        assert_eq!(replaced(&once, "x", "new\n").unwrap(), once);
        assert!(replaced("<!-- @generated x -->", "x", "").is_none());
    }

    #[test]
    fn a_part_must_have_exactly_one_page() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| fs_err::write(root.path().join(path), text).unwrap();
        let parts = [("x".to_owned(), "new\n".to_owned())];
        fs_err::create_dir(root.path().join("docs")).unwrap();
        write("README.md", "nothing\n");
        assert!(fill(root.path(), &parts).is_err());
        write("docs/a.md", "<!-- @generated x -->\n<!-- @end x -->\n");
        let pages = fill(root.path(), &parts).unwrap();
        assert_eq!(pages.iter().map(|page| page.contents.contains("new")).collect::<Vec<_>>(), [false, true]);
        write("README.md", "<!-- @generated x -->\n<!-- @end x -->\n");
        assert!(fill(root.path(), &parts).unwrap_err().to_string().contains("README.md and docs/a.md"));
    }
}
