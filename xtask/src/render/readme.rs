//! The generated parts of the README, between markers.

use anyhow::Context as _;

/// Puts each part between its markers; a part without markers is an error, so that none is lost.
pub(super) fn replace_parts(readme: &str, parts: &[(String, String)]) -> anyhow::Result<String> {
    let mut text = readme.to_owned();
    for (name, contents) in parts {
        let (begin, end) = (format!("<!-- @generated {name} -->"), format!("<!-- @end {name} -->"));
        let missing = || format!("README.md lacks `{begin}` followed by `{end}`");
        let from = text.find(&begin).with_context(missing)? + begin.len();
        let to = from + text[from..].find(&end).with_context(missing)?;
        text.replace_range(from..to, &format!("\n{}\n", contents.trim_end()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_replaces_what_stands_between_its_markers_only() {
        let readme = "a\n<!-- @generated x -->\nold\n<!-- @end x -->\nb\n";
        let once = replace_parts(readme, &[("x".into(), "new\n".into())]).unwrap();
        assert_eq!(once, "a\n<!-- @generated x -->\nnew\n<!-- @end x -->\nb\n");
        assert_eq!(replace_parts(&once, &[("x".into(), "new\n".into())]).unwrap(), once);
        assert!(replace_parts("nothing", &[("x".into(), String::new())]).is_err());
    }
}
