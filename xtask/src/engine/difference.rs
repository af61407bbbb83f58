//! The first difference of two images: the layer, the file and what differs.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;
use sha2::Digest as _;

use super::contents::decompressed;
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
    for at in 0..count {
        let place = format!("layer {} of {count} ({})", at + 1, step(&wanted, &found, at));
        let (Some(one), Some(other)) = (wanted.layers.get(at), found.layers.get(at)) else {
            let what = if at < wanted.layers.len() { "is missing" } else { "is unexpected" };
            return Ok(Some(Difference { place, name: None, what: what.to_owned(), others: 0 }));
        };
        if one.0 != other.0 {
            let difference = files(&read(&one.1)?, &read(&other.1)?);
            return Ok(Some(Difference { place, ..difference }));
        }
    }
    let place = "configuration".to_owned();
    let field = field("", &wanted.configuration, &found.configuration);
    let what = field.as_ref().map(|(_, one, other)| format!("{other} instead of {one}"));
    let name = field.map(|(name, ..)| name);
    let what = what.unwrap_or_else(|| "the same, but the manifests differ".to_owned());
    Ok(Some(Difference { place, name, what, others: 0 }))
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

/// A file in a layer.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: tar::EntryType,
    /// The digest of a file, or the target of a link.
    content: String,
    mode: u32,
    time: u64,
    owner: (u64, u64),
}

impl Entry {
    /// The differences from `self`.
    fn differs(&self, other: &Self) -> Vec<String> {
        let mode = |entry: &Self| format!("{:04o}", entry.mode);
        let owner = |entry: &Self| format!("{}:{}", entry.owner.0, entry.owner.1);
        [
            ("kind", format!("{:?}", self.kind), format!("{:?}", other.kind)),
            ("content", self.content.clone(), other.content.clone()),
            ("mode", mode(self), mode(other)),
            ("time", self.time.to_string(), other.time.to_string()),
            ("owner", owner(self), owner(other)),
        ]
        .into_iter()
        .filter(|(_, one, other)| one != other)
        .map(|(what, one, other)| format!("{what} {} instead of {}", other.escape_debug(), one.escape_debug()))
        .collect()
    }
}

type Entries = BTreeMap<String, Entry>;

fn read(blob: &Path) -> anyhow::Result<Entries> {
    let entries = || -> anyhow::Result<Entries> {
        let mut archive = tar::Archive::new(decompressed(BufReader::new(fs_err::File::open(blob)?))?);
        let mut entries = Entries::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let header = entry.header();
            let (kind, mode, time) = (header.entry_type(), header.mode()?, header.mtime()?);
            let owner = (header.uid()?, header.gid()?);
            let content = match entry.link_name_bytes() {
                Some(target) => format!("-> {}", String::from_utf8_lossy(&target)),
                None => format!("sha256:{}", Sha256::from_bytes(&store::hash_all(&mut entry)?.0.finalize())),
            };
            entries.insert(path, Entry { kind, content, mode, time, owner });
        }
        Ok(entries)
    };
    entries().with_context(|| format!("cannot read the layer {}", blob.display()))
}

/// The first file that differs, by its path.
fn files(wanted: &Entries, found: &Entries) -> Difference {
    let mut differ: BTreeMap<&String, String> = BTreeMap::new();
    for (path, entry) in wanted {
        match found.get(path) {
            None => differ.insert(path, "is missing".to_owned()),
            Some(other) if entry != other => differ.insert(path, entry.differs(other).join(", ")),
            Some(_) => None,
        };
    }
    differ.extend(found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| (path, "is new".to_owned())));
    let others = differ.len().saturating_sub(1);
    let (name, what) = match differ.pop_first() {
        Some((path, what)) => (Some(path.clone()), what),
        None => (None, "the same files in another order or compression".to_owned()),
    };
    Difference { place: String::new(), name, what, others }
}

/// The first field that differs, with both values.
fn field(path: &str, wanted: &Value, found: &Value) -> Option<(String, String, String)> {
    if wanted == found {
        return None;
    }
    let below = |name: &str| format!("{path}/{name}");
    match (wanted, found) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
            let null = Value::Null;
            let mut fields = names.map(|name| (name, one.get(name).unwrap_or(&null), other.get(name).unwrap_or(&null)));
            fields.find_map(|(name, one, other)| field(&below(name), one, other))
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut fields = one.iter().zip(other).enumerate();
            fields.find_map(|(at, (one, other))| field(&below(&at.to_string()), one, other))
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
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("blobs/sha256");
        fs_err::create_dir_all(&blobs).unwrap();
        let blob = |bytes: &[u8]| {
            let digest = Sha256::of(bytes);
            fs_err::write(blobs.join(digest.as_str()), bytes).unwrap();
            serde_json::json!({ "digest": format!("sha256:{digest}"), "size": bytes.len() })
        };
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
        let layers = [blob(b""), blob(&archive.into_inner().unwrap())];
        let history = serde_json::json!([
            { "created_by": "base" }, { "created_by": "ENV A=1", "empty_layer": true },
            { "created_by": "COPY /node/ / # buildkit" },
        ]);
        let configuration = blob(
            serde_json::json!({ "architecture": "amd64", "history": history, "config": { "User": image.user } })
                .to_string()
                .as_bytes(),
        );
        let manifest = blob(serde_json::json!({ "config": configuration, "layers": layers }).to_string().as_bytes());
        let index = serde_json::json!({ "manifests": [manifest] });
        fs_err::write(folder.path().join(layout::INDEX), index.to_string()).unwrap();
        folder
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
