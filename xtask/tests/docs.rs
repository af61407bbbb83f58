//! Quotes in the documentation match the product.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails")]

mod common;

use std::path::Path;

use common::{checkout, files};

/// All text of a file or folder, with white space collapsed to single spaces.
fn texts(path: &Path) -> String {
    let files = if path.is_dir() { files(path).into_values().collect() } else { vec![path.to_path_buf()] };
    let texts = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// Each heading of the page is a message in backticks, with `…` for variable parts.
#[test]
fn every_entry_of_the_troubleshooting_is_a_message() {
    let root = checkout();
    let page = std::fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let product = ["image/rootfs", "templates", "xtask/src"].map(|folder| texts(&root.join(folder))).concat();
    let entries: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    assert!(entries.len() >= 15, "{} entries", entries.len());
    let missing: Vec<&str> = entries
        .iter()
        .flat_map(|entry| entry.split('…'))
        .map(str::trim)
        .filter(|piece| !piece.is_empty() && !product.contains(piece))
        .collect();
    assert!(missing.is_empty(), "not among the messages: {missing:#?}");
}

/// Links to files of the checkout are valid.
#[test]
fn links_point_to_files() {
    let root = checkout();
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    let mut broken = Vec::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|it| it == "md")) {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !page.parent().unwrap().join(link).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Each folder of the tool uses only the folders in its row of CONTRIBUTING.md's table, and those above `io` use
/// `error`, too.
#[test]
fn folders_use_only_what_the_table_allows() {
    let root = checkout();
    let page = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let rows = page.lines().filter_map(|line| {
        let [_, folder, _, may, _] = line.split('|').collect::<Vec<_>>()[..] else { return None };
        let folder = folder.trim().strip_prefix("`xtask/src/")?.trim_end_matches(['`', '/']).to_owned();
        Some((folder, may.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()))
    });
    let rows: Vec<(String, Vec<String>)> = rows.collect();
    assert!(rows.len() >= 10, "{rows:?}");
    let mut wrong = Vec::new();
    // `commands` may use everything.
    for (folder, may) in rows.iter().filter(|(folder, _)| folder != "commands") {
        let code = texts(&root.join("xtask/src").join(folder));
        let own = folder.trim_end_matches(".rs");
        for used in code.split("crate::").skip(1) {
            let used = used.split(|it: char| !it.is_alphanumeric()).next().unwrap();
            let is_folder = rows.iter().any(|(other, _)| other == used) || used == "error";
            let may = used == own
                || may.iter().any(|other| other == used)
                || used == "error" && !matches!(own, "domain" | "io");
            if is_folder && !may {
                wrong.push(format!("{folder} uses {used}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
