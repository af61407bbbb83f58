//! The first difference of two images: the layer, the file and what differs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;

use super::contents::archive;
use super::layout::{self, Parts};
use crate::domain::digest::Sha256;
use crate::io::store;

/// The first difference of an image from the expected one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// A layer by its number and build step, or the configuration.
    pub(crate) place: String,
    /// The path of the first file, or the first field of the configuration.
    pub(crate) name: Option<String>,
    pub(crate) what: String,
    /// The number of other files that differ in that layer.
    pub(crate) others: usize,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(name) = &self.name {
            write!(f, "{}: ", name.escape_debug())?;
        }
        write!(f, "{}", self.what)?;
        if self.others > 0 { write!(f, "; {} other files of it differ", self.others) } else { Ok(()) }
    }
}

/// Compares the images of two layouts.
pub(crate) fn first(wanted: &Path, found: &Path) -> anyhow::Result<Option<Difference>> {
    let (wanted, found) = (layout::parts(wanted)?, layout::parts(found)?);
    if wanted.digest == found.digest {
        return Ok(None);
    }
    let count = wanted.layers.len().max(found.layers.len());
    let entries = |blob: &Path| read(blob).with_context(|| format!("cannot read the layer {}", blob.display()));
    for at in 0..count {
        let place = format!("layer {} of {count} ({})", at + 1, step(&wanted, &found, at));
        let (Some(one), Some(other)) = (wanted.layers.get(at), found.layers.get(at)) else {
            let what = if at < wanted.layers.len() { "is missing" } else { "is unexpected" };
            return Ok(Some(Difference { place, name: None, what: what.to_owned(), others: 0 }));
        };
        if one.0 != other.0 {
            return Ok(Some(files(place, &entries(&one.1)?, &entries(&other.1)?)));
        }
    }
    let (name, what) = match field("", &wanted.configuration, &found.configuration) {
        Some((name, one, other)) => (Some(name), format!("{other} instead of {one}")),
        None => (None, "the same, but the manifests differ".to_owned()),
    };
    Ok(Some(Difference { place: "configuration".to_owned(), name, what, others: 0 }))
}

/// The build step of a layer, from the history.
fn step(wanted: &Parts, found: &Parts, at: usize) -> String {
    let step = |parts: &Parts| {
        let history = parts.configuration["history"].as_array()?.iter();
        let mut layers = history.filter(|past| past["empty_layer"] != true);
        Some(layers.nth(at)?["created_by"].as_str()?.trim_end_matches(" # buildkit").to_owned())
    };
    step(wanted).or_else(|| step(found)).unwrap_or_else(|| "not in the history".to_owned())
}

/// A file in a layer, by the texts of its fields. The content is the digest of a file, or the target of a link.
type Entry = [String; 5];
/// In the order of [`read`].
const FIELDS: [&str; 5] = ["kind", "content", "mode", "time", "owner"];

type Entries = BTreeMap<String, Entry>;

fn read(blob: &Path) -> anyhow::Result<Entries> {
    let mut entries = Entries::new();
    for entry in archive(blob)?.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let header = entry.header();
        let kind = format!("{:?}", header.entry_type());
        let (mode, time) = (format!("{:04o}", header.mode()?), header.mtime()?.to_string());
        let owner = format!("{}:{}", header.uid()?, header.gid()?);
        let content = match entry.link_name_bytes() {
            Some(target) => format!("-> {}", String::from_utf8_lossy(&target)),
            None => format!("sha256:{}", Sha256::from_bytes(&store::hash_all(&mut entry)?.0.finalize())),
        };
        entries.insert(path, [kind, content, mode, time, owner]);
    }
    Ok(entries)
}

/// What differs in an entry.
fn differs(wanted: &Entry, found: &Entry) -> String {
    let change = |at: usize| {
        let (one, other) = (wanted[at].escape_debug(), found[at].escape_debug());
        format!("{} {other} instead of {one}", FIELDS[at])
    };
    let changes: Vec<String> = (0..FIELDS.len()).filter(|at| wanted[*at] != found[*at]).map(change).collect();
    changes.join(", ")
}

/// The first file that differs, by its path.
fn files(place: String, wanted: &Entries, found: &Entries) -> Difference {
    let mut differ: BTreeMap<&String, String> = BTreeMap::new();
    for (path, entry) in wanted {
        match found.get(path) {
            None => differ.insert(path, "is missing".to_owned()),
            Some(other) if entry != other => differ.insert(path, differs(entry, other)),
            Some(_) => None,
        };
    }
    differ.extend(found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| (path, "is new".to_owned())));
    let others = differ.len().saturating_sub(1);
    let (name, what) = match differ.pop_first() {
        Some((path, what)) => (Some(path.clone()), what),
        None => (None, "the same files in another order or compression".to_owned()),
    };
    Difference { place, name, what, others }
}

/// The first field that differs, with both values.
fn field(path: &str, wanted: &Value, found: &Value) -> Option<(String, String, String)> {
    if wanted == found {
        return None;
    }
    let below = |name: &str| format!("{path}/{name}");
    match (wanted, found) {
        (Value::Object(one), Value::Object(other)) => {
            let mut names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            // A missing field is null.
            names.find_map(|name| field(&below(name), &wanted[name], &found[name]))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            (0..one.len()).find_map(|at| field(&below(&at.to_string()), &one[at], &other[at]))
        }
        _ => Some((path.to_owned(), wanted.to_string(), found.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A layout of one layer with two files.
    struct Image<'a> {
        path: &'a str,
        text: &'a str,
        mode: u32,
        time: u64,
        owner: u64,
        reversed: bool,
        user: &'a str,
    }

    const IMAGE: Image<'_> =
        Image { path: "opt/a", text: "one", mode: 0o755, time: 7, owner: 0, reversed: false, user: "1" };

    fn layout(image: &Image<'_>) -> tempfile::TempDir {
        let mut archive = tar::Builder::new(Vec::new());
        let mut files = vec![(image.path, image.text), ("opt/z", "always")];
        if image.reversed {
            files.reverse();
        }
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(image.mode);
            header.set_mtime(image.time);
            header.set_uid(image.owner);
            header.set_gid(0);
            archive.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        layout::of_two_layers([("tar", b""), ("tar", &archive.into_inner().unwrap())], image.user)
    }

    #[test]
    fn the_first_difference_is_described() {
        let wanted = layout(&IMAGE);
        assert_eq!(first(wanted.path(), layout(&IMAGE).path()).unwrap(), None);
        let digest = |text: &str| format!("sha256:{}", Sha256::of(text.as_bytes()));
        let content = format!("opt/a: content {} instead of {}", digest("two"), digest("one"));
        let layer = |what: &str| format!("layer 2 of 2 (COPY /node/ /): {what}");
        for (image, expected) in [
            (Image { text: "two", ..IMAGE }, layer(&content)),
            (Image { path: "opt/b", ..IMAGE }, layer("opt/a: is missing; 1 other files of it differ")),
            (Image { mode: 0o644, ..IMAGE }, layer("opt/a: mode 0644 instead of 0755; 1 other files of it differ")),
            (Image { time: 8, owner: 5, ..IMAGE }, {
                layer("opt/a: time 8 instead of 7, owner 5:0 instead of 0:0; 1 other files of it differ")
            }),
            (Image { reversed: true, ..IMAGE }, layer("the same files in another order or compression")),
            (Image { user: "2", ..IMAGE }, r#"configuration: /config/User: "2" instead of "1""#.to_owned()),
        ] {
            let found = first(wanted.path(), layout(&image).path()).unwrap().unwrap();
            assert_eq!(found.to_string(), expected);
        }
    }
}
