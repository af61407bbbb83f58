//! `repro` of existing layouts; builds without a cache need a real engine.

use crate::scratch::{Ran, Scratch};

fn built_by(scratch: &Scratch, layouts: &str, builder: &str) {
    for arch in ["x86_64", "aarch64"] {
        std::fs::write(scratch.path(layouts).join(arch).join("built-by"), format!("{builder}\n")).unwrap();
    }
}

fn repro(scratch: &Scratch, below: &str, words: &[&str]) -> Ran {
    let mut command = scratch.xtask(below);
    Scratch::ran(&command.args(["repro", "--format", "json"]).args(words).output().unwrap())
}

#[test]
fn a_rebuild_is_compared_with_the_release_and_the_first_difference_is_named() {
    let scratch = Scratch::new();
    built_by(&scratch, "layouts", "BuildKit v0.1 of Docker 1");
    let tag = scratch.run("checkout", &[]).ok()["tag"].as_str().unwrap().to_owned();
    let notes = std::fs::read_to_string(scratch.path("checkout/dist/notes.md")).unwrap();
    assert!(notes.contains("x86_64 was built by BuildKit v0.1 of Docker 1."), "{notes}");
    let image = format!("{}:{tag}", scratch.registry());
    scratch.clone("clone");
    scratch.layouts_of("clone", "again");
    built_by(&scratch, "again", "BuildKit v0.2 of Docker 1");
    let again = scratch.path("again").display().to_string();
    let layouts = scratch.path("layouts").display().to_string();
    scratch.log();
    let same = repro(&scratch, "clone", &[&image, "--layouts", &again]).ok();
    assert!(same["images"].as_array().unwrap().iter().all(|image| image["difference"].is_null()), "{same}");
    assert!(!scratch.log().contains("skopeo copy"), "what is the same was fetched");

    scratch.layout_in("again", ["aarch64", "arm64"], &scratch.lock_digest(), "other");
    built_by(&scratch, "again", "BuildKit v0.2 of Docker 1");
    for wanted in [&image, &layouts] {
        let ran = repro(&scratch, "clone", &[wanted, "--layouts", &again]);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        let (x86_64, aarch64) = (&ran.document["images"][0], &ran.document["images"][1]);
        assert!(x86_64["difference"].is_null(), "{}", ran.document);
        assert_eq!(aarch64["difference"]["place"], "layer 1 of 1 (COPY /out/ /)");
        assert_eq!(aarch64["difference"]["name"], "contents");
        assert!(aarch64["difference"]["what"].as_str().unwrap().starts_with("content sha256:"), "{aarch64}");
        assert_eq!(aarch64["released_by"], "BuildKit v0.1 of Docker 1");
        assert_eq!(aarch64["built_by"], "BuildKit v0.2 of Docker 1");
        assert!(ran.stderr.contains("1 of 2 images differ from"), "{}", ran.stderr);
    }
    // The image of another commit differs, which says nothing about the builder.
    scratch.commit("clone");
    let stderr = repro(&scratch, "clone", &[&image]).failed();
    assert!(stderr.contains("the release is of commit") && stderr.contains("git worktree add"), "{stderr}");
    let stderr = repro(&scratch, "clone", &["nothing"]).failed();
    assert!(stderr.contains("there is no folder"), "{stderr}");
}
