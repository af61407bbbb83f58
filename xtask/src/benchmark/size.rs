//! The compressed size of each component's layers, compared with the files that were downloaded for it.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::engine::layout::{Layer, Layers};

/// The compressed artifacts of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Artifacts {
    /// Their size in bytes, and its source.
    Known { size: u64, how: String },
    /// The component is the base image, and its layer is the artifact.
    TheLayer,
    /// There are none: the component is built from source.
    None(String),
    /// The size of the artifacts is unknown.
    Unknown(String),
}

/// One component's layers.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    pub(crate) component: String,
    /// Compressed size in bytes.
    pub(crate) layer: u64,
    pub(crate) artifacts: Option<u64>,
    /// The source of the artifacts' size, or why there is none.
    pub(crate) how: String,
}

const OTHER_DOCKERFILE: &str = "the layout was made from another Dockerfile than image/Dockerfile: build it again, or \
    name the checkout that it was built from with --root";

#[derive(Debug, Serialize)]
pub(crate) struct Sizes {
    pub(crate) arch: String,
    pub(crate) digest: String,
    pub(crate) rows: Vec<Row>,
    /// All layers.
    pub(crate) image: u64,
    /// All layers but those with artifacts of unknown size. It includes what is built from source, which has no
    /// artifacts.
    pub(crate) compared: u64,
    pub(crate) artifacts: u64,
}

/// Returns the compressed size of the layers of each owner, in the order of the layers. An owner is a component, or
/// `None` for layers of no component. `base` is the component of the base image.
pub(crate) fn weigh(
    image: &Layers,
    dockerfile: &str,
    base: &str,
    components: &[&str],
) -> anyhow::Result<Vec<(Option<String>, u64)>> {
    // The base's digest distinguishes two locks, which the steps do not.
    ensure!(image.labels.values().all(|value| dockerfile.contains(value.as_str())), OTHER_DOCKERFILE);
    let mut weights: Vec<(Option<String>, u64)> = Vec::new();
    for (layer, owner) in image.all.iter().zip(owners(&image.all, &steps(dockerfile)?, base)?) {
        // `openclaw-native` is of `openclaw`; a stage whose name is not a component's belongs to none.
        let owner = owner.map(|owner| owner.trim_end_matches("-native").to_owned());
        let owner = owner.filter(|owner| owner == base || components.contains(&owner.as_str()));
        match weights.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, weight)) => *weight += layer.size,
            None => weights.push((owner, layer.size)),
        }
    }
    Ok(weights)
}

impl Sizes {
    /// `artifacts` must have every component that has a layer.
    pub(crate) fn new(
        image: &Layers,
        weights: Vec<(Option<String>, u64)>,
        artifacts: &BTreeMap<String, Artifacts>,
    ) -> Self {
        let row = |(owner, layer): (Option<String>, u64)| {
            let component = owner.unwrap_or_else(|| "(none)".to_owned());
            let (artifacts, how) = match artifacts.get(&component) {
                Some(Artifacts::Known { size, how }) => (Some(*size), how.clone()),
                Some(Artifacts::TheLayer) => (Some(layer), "copied as it is published".to_owned()),
                Some(Artifacts::None(why) | Artifacts::Unknown(why)) => (None, why.clone()),
                None => (None, "none: the user, this project's own files".to_owned()),
            };
            Row { component, layer, artifacts, how }
        };
        let mut rows: Vec<Row> = weights.into_iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.layer));
        let is_unknown = |row: &&Row| matches!(artifacts.get(&row.component), Some(Artifacts::Unknown(_)));
        let image_size: u64 = image.all.iter().map(|layer| layer.size).sum();
        let compared = image_size - rows.iter().filter(is_unknown).map(|row| row.layer).sum::<u64>();
        Self {
            arch: image.arch.to_string(),
            digest: image.digest.to_string(),
            image: image_size,
            compared,
            artifacts: rows.iter().filter_map(|row| row.artifacts).sum(),
            rows,
        }
    }

    pub(crate) fn ratio(&self) -> f64 {
        ratio(self.compared, self.artifacts)
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files fit")]
pub(crate) fn ratio(size: u64, of: u64) -> f64 {
    size as f64 / of as f64
}

/// A `COPY` of the last stage, as BuildKit writes it into the image's history, and the stage that it copies from.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    history: String,
    stage: Option<String>,
}

/// Returns the copies of a Dockerfile's last stage, in order. The image's history has their text without the stage, so
/// both are needed to find a layer's owner.
fn steps(dockerfile: &str) -> anyhow::Result<Vec<Step>> {
    let lines: Vec<&str> = dockerfile.lines().collect();
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).context("the Dockerfile has no stage")?;
    let mut steps = Vec::new();
    for line in &lines[last..] {
        let Some(words) = line.strip_prefix("COPY ") else { continue };
        ensure!(!words.ends_with('\\'), "`{line}` continues on the next line, which is not supported");
        let mut stage = None;
        let mut history = vec!["COPY"];
        for word in words.split_whitespace() {
            match word.strip_prefix("--from=") {
                Some(from) => stage = Some(from.to_owned()),
                None if word == "--link" => {}
                None => history.push(word),
            }
        }
        history.push("# buildkit");
        steps.push(Step { history: history.join(" "), stage });
    }
    Ok(steps)
}

/// Returns the owner of each layer. Layers below the first copy belong to the base, other layers without a copy to
/// none.
fn owners(layers: &[Layer], steps: &[Step], base: &str) -> anyhow::Result<Vec<Option<String>>> {
    let copies: Vec<usize> = (0..layers.len()).filter(|at| layers[*at].created_by.starts_with("COPY ")).collect();
    // A base image can contain copies, too.
    let copies = &copies[copies.len().saturating_sub(steps.len())..];
    let same = |(at, step): (&usize, &Step)| layers[*at].created_by == step.history;
    ensure!(copies.len() == steps.len() && copies.iter().zip(steps).all(same), OTHER_DOCKERFILE);
    let mut owners = vec![None; layers.len()];
    owners[..copies.first().copied().unwrap_or(layers.len())].fill(Some(base.to_owned()));
    for (at, step) in copies.iter().zip(steps) {
        owners[*at].clone_from(&step.stage);
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = "FROM x AS tools\nCOPY build/ /build/\nFROM base\nLABEL digest=d1\n\
        COPY --link --from=skeleton /out/ /\nCOPY --link --from=node --chown=1:1 /out/ /\n\
        COPY --link --from=node-native /native/ /\nCOPY --link --from=manager /out/ /\nCOPY --link rootfs/ /\n\
        WORKDIR /data\n";

    fn image() -> Layers {
        let layer =
            |size, created_by: &str| Layer { size, media_type: String::new(), created_by: created_by.to_owned() };
        Layers {
            arch: crate::domain::arch::Arch::X86_64,
            digest: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            labels: BTreeMap::from([("digest".to_owned(), "d1".to_owned())]),
            all: vec![
                layer(1000, "COPY . / # buildkit"),
                layer(3, "COPY /out/ / # buildkit"),
                layer(110, "COPY --chown=1:1 /out/ / # buildkit"),
                layer(7, "COPY /native/ / # buildkit"),
                layer(50, "COPY /out/ / # buildkit"),
                layer(2, "COPY rootfs/ / # buildkit"),
                layer(1, "WORKDIR /data"),
            ],
        }
    }

    fn artifacts() -> BTreeMap<String, Artifacts> {
        BTreeMap::from([
            ("base".to_owned(), Artifacts::TheLayer),
            ("node".to_owned(), Artifacts::Known { size: 100, how: "h".to_owned() }),
            ("manager".to_owned(), Artifacts::None("built from source".to_owned())),
        ])
    }

    fn weights(dockerfile: &str) -> anyhow::Result<Vec<(Option<String>, u64)>> {
        weigh(&image(), dockerfile, "base", &["node", "manager"])
    }

    #[test]
    fn layers_go_to_the_stage_they_were_copied_from() {
        let sizes = Sizes::new(&image(), weights(DOCKERFILE).unwrap(), &artifacts());
        let rows: Vec<(&str, u64, Option<u64>)> =
            sizes.rows.iter().map(|row| (row.component.as_str(), row.layer, row.artifacts)).collect();
        let wanted = [("base", 1000, Some(1000)), ("node", 117, Some(100)), ("manager", 50, None), ("(none)", 6, None)];
        assert_eq!(rows, wanted);
        assert_eq!((sizes.image, sizes.compared, sizes.artifacts), (1173, 1173, 1100));
    }

    #[test]
    fn a_layer_whose_artifacts_are_not_known_is_on_neither_side() {
        let mut artifacts = artifacts();
        artifacts.insert("node".to_owned(), Artifacts::Unknown("no download".to_owned()));
        let sizes = Sizes::new(&image(), weights(DOCKERFILE).unwrap(), &artifacts);
        assert_eq!((sizes.image, sizes.compared, sizes.artifacts), (1173, 1056, 1000));
    }

    #[test]
    fn a_layout_of_another_dockerfile_is_refused() {
        let other = DOCKERFILE.replace("--chown=1:1 ", "");
        assert!(weights(&other).is_err());
        assert!(weights(&DOCKERFILE.replace("d1", "d2")).is_err());
        let longer = format!("{DOCKERFILE}COPY more /\n");
        assert!(weights(&longer).is_err());
    }
}
