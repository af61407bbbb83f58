//! `repro` of existing layouts; builds without a cache need a real engine.

use crate::scratch::{AARCH64, Ran, Scratch};

fn built_by(scratch: &Scratch, layouts: &str, builder: &str) {
    for arch in ["x86_64", "aarch64"] {
        scratch.write(&format!("{layouts}/{arch}/built-by"), format!("{builder}\n"));
    }
}

fn repro(scratch: &Scratch, words: &[&str]) -> Ran {
    scratch.tool("clone", &[&["repro"], words].concat())
}

#[test]
fn a_rebuild_is_compared_with_the_release_and_the_first_difference_is_named() {
    let scratch = Scratch::new();
    built_by(&scratch, "layouts", "BuildKit v0.1 of Docker 1");
    let tag = scratch.run("checkout", &[]).ok()["tag"].as_str().unwrap().to_owned();
    let notes = scratch.read("checkout/dist/notes.md");
    assert!(notes.contains("x86_64 was built by BuildKit v0.1 of Docker 1."), "{notes}");
    let image = format!("{}:{tag}", scratch.registry());
    scratch.clone("clone");
    scratch.layouts_of("clone", "again");
    built_by(&scratch, "again", "BuildKit v0.2 of Docker 1");
    let again = scratch.path("again").display().to_string();
    let layouts = scratch.path("layouts").display().to_string();
    scratch.log();
    let same = repro(&scratch, &[&image, "--layouts", &again]).ok();
    assert!(same["images"].as_array().unwrap().iter().all(|image| image["difference"].is_null()), "{same}");
    assert!(!scratch.log().contains("skopeo copy"), "what is the same was fetched");

    scratch.layout("again", AARCH64, &scratch.lock_digest(), "other");
    built_by(&scratch, "again", "BuildKit v0.2 of Docker 1");
    for wanted in [&image, &layouts] {
        let ran = repro(&scratch, &[wanted, "--layouts", &again]);
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
    repro(&scratch, &[&image]).failed(&["the release is of commit", "git worktree add"]);
    repro(&scratch, &["nothing"]).failed(&["there is no folder"]);
}
