//! `release` of existing layouts to a real registry and a bare repository. The engine is a stand-in with all ports
//! open, and GitHub is one, too; the rehearsal uses a real engine.

#![expect(clippy::unwrap_used, reason = "a test that fails should panic where it fails, helpers included")]

#[path = "../common/mod.rs"]
mod common;
mod jobs;
mod repro;
mod scratch;

use std::process::{Command, Stdio};
use std::time::Duration;

use scratch::{AARCH64, Ran, Scratch, X86_64, answering};
use serde_json::Value;

const FLAVOR: &str = "llamacpp-opencode-openclaw";

#[test]
fn layouts_become_a_published_release_and_a_second_run_changes_nothing() {
    let scratch = Scratch::new();
    let document = scratch.run("checkout", &[]).ok();
    let (tag, digest) = (document["tag"].as_str().unwrap(), document["digest"].as_str().unwrap());
    assert!(tag.contains("-r1-"), "{tag}");
    let steps = document["steps"].as_array().unwrap().iter().map(|step| step["name"].as_str().unwrap());
    let expected = format!(
        "join under one index, tag the commit, push by digest, probe what was pushed, push the tag, move latest, \
         move {FLAVOR}, publish at GitHub"
    );
    assert_eq!(steps.collect::<Vec<_>>().join(", "), expected);
    assert_eq!(document["released"], format!("{}:{tag}@{digest}", scratch.registry()));
    let registered = scratch.registered();
    assert_eq!(registered.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["latest", FLAVOR, tag]);
    assert!(registered.iter().all(|(_, it)| it == digest), "{registered:?}");
    assert_eq!(scratch.tagged(), [format!("revisions/{FLAVOR}/1"), format!("tags/{tag}")]);
    // The git tag's digests match the registry.
    let message = scratch.git("remote.git", &["for-each-ref", "--format=%(contents)", "refs/tags"]);
    assert!(message.contains(&format!("Index: {digest}\nManifest x86_64: sha256:")), "{message}");
    assert!(message.contains(&format!("Lock: {}", scratch.lock_digest())), "{message}");
    let release = scratch.path("releases").join(tag);
    assert!(release.join("sbom-aarch64.spdx.json").exists() && !release.join("draft").exists());
    let edited = || scratch.read(&format!("releases/{tag}/edit"));
    assert!(edited().contains("--latest=true"));
    // The index has the project's annotations.
    let index = scratch.read(&format!("checkout/dist/layout/blobs/sha256/{}", &digest[7..]));
    let annotations = &serde_json::from_str::<Value>(&index).unwrap()["annotations"];
    assert_eq!(annotations["org.opencontainers.image.version"], tag);
    let head = scratch.git("checkout", &["rev-parse", "HEAD"]);
    assert_eq!(annotations["org.opencontainers.image.revision"], head);
    let log = scratch.log();
    assert!(log.contains(&format!("docker pull --quiet {}@{digest}", scratch.registry())), "{log}");
    assert!(log.contains(&format!("docker image rm {}@{digest}", scratch.registry())), "{log}");

    // The same command again, here and in another clone.
    scratch.clone("clone");
    for below in ["checkout", "clone"] {
        let again = scratch.run(below, &[]).ok();
        assert_eq!((&again["tag"], &again["digest"]), (&document["tag"], &document["digest"]));
        let log = scratch.log();
        for word in ["copy", "tag --annotate", " push ", "docker pull", "release create"] {
            assert!(!log.contains(word), "{below} did `{word}` again: {log}");
        }
    }
    assert_eq!(scratch.registered(), registered);

    // The next commit is the next revision; `latest` is not moved back to the previous one.
    scratch.commit("checkout");
    let next = scratch.run("checkout", &[]).ok();
    assert!(next["tag"].as_str().unwrap().contains("-r2-"), "{next}");
    std::fs::remove_dir_all(scratch.path("releases")).unwrap();
    let old = scratch.run("clone", &[]).ok();
    assert_eq!(old["tag"], tag);
    assert!(edited().contains("--latest=false"));
    let latest = scratch.registered().into_iter().find(|(name, _)| name == "latest").unwrap();
    assert_eq!(latest.1, next["digest"].as_str().unwrap());
}

/// After a kill at any step, the same command completes the release.
#[test]
fn it_continues_after_a_kill_at_any_step() {
    let mut seen = 0;
    'each: for at in 1.. {
        for when in ["before", "during", "after"] {
            let scratch = Scratch::new();
            let killed = scratch.release("checkout", &[]).env("KILL", format!("{at} {when}")).output().unwrap();
            if killed.status.success() {
                break 'each;
            }
            assert_eq!(killed.status.code(), None, "{}", String::from_utf8_lossy(&killed.stderr));
            let place = format!("{when} change {at}");
            let tagged = scratch.tagged();
            assert!(tagged.is_empty() || tagged.len() == 2, "{place}: {tagged:?}");
            if tagged.is_empty() {
                assert!(scratch.registered().is_empty(), "{place}: pushed before it was reserved");
            }
            let document = scratch.run("checkout", &[]).ok();
            let (tag, digest) = (document["tag"].as_str().unwrap(), document["digest"].as_str().unwrap());
            assert!(tag.contains("-r1-"), "{place}: {tag}");
            let registered = scratch.registered();
            assert_eq!(registered.len(), 3, "{place}: {registered:?}");
            assert!(registered.iter().all(|(_, it)| it == digest), "{place}: {registered:?}");
            assert_eq!(scratch.tagged().len(), 2, "{place}");
            let release = scratch.path("releases").join(tag);
            assert!(release.join("release.json").exists() && !release.join("draft").exists(), "{place}");
            seen = at;
        }
    }
    // tag, push; digest, tag, latest, flavor; create, upload, edit.
    assert_eq!(seen, 9);
}

#[test]
fn a_release_that_cannot_be_tagged_fails_before_it_builds() {
    let scratch = Scratch::new();
    let mut release = scratch.release("checkout", &[]);
    for name in ["GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"] {
        release.env_remove(name);
    }
    release.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_COUNT", "1");
    release.env("GIT_CONFIG_KEY_0", "user.useConfigOnly").env("GIT_CONFIG_VALUE_0", "true");
    let expected = ["git cannot create the tag v", "hint: set user.name and user.email with `git config`"];
    let stderr = Ran::of(&mut release).failed(&expected);
    assert!(!stderr.contains("join under one index"), "{stderr}");
}

#[test]
fn two_releases_at_once_get_different_revisions() {
    let scratch = Scratch::new();
    scratch.clone("other");
    scratch.layouts_of("other", "layouts-of-other");
    // Of the same commit: both complete the same release.
    let other = |below: &str| {
        format!(
            "GIT_COMMITTER_NAME=other {} --root {} release --layouts {} --registry {} --format json",
            env!("CARGO_BIN_EXE_xtask"),
            scratch.path(below).display(),
            scratch.path("layouts-of-other").display(),
            scratch.registry()
        )
    };
    let both = Ran::of(scratch.release("checkout", &[]).env("AT_PUSH", other("other"))).ok();
    let output = scratch.read("at-push");
    assert!(output.contains(both["digest"].as_str().unwrap()), "{output}");
    assert!(both["steps"][1]["detail"].as_str().unwrap().contains("by another run"), "{both}");

    // Of other commits: the second one fails with a hint, and takes the next revision. Also if the names of the tags
    // differ.
    for (versions, revision) in [("", 2), ("1.99.9", 4)] {
        scratch.commit("other");
        scratch.commit("checkout");
        if !versions.is_empty() {
            scratch.other_version("other", versions);
            scratch.layouts_of("other", "layouts-of-other");
        }
        let mut lost = scratch.release("checkout", &[]);
        Ran::of(lost.env("AT_PUSH", other("other"))).failed(&["run the same command again"]);
        let tags = scratch.git("checkout", &["tag", "--list", &format!("*-r{revision}-*")]);
        assert_eq!(tags, "", "the tag of the release that lost is still there");
        let next = scratch.run("checkout", &[]).ok();
        assert!(next["tag"].as_str().unwrap().contains(&format!("-r{}-", revision + 1)), "{next}");
    }
}

#[test]
fn different_existing_digests_stop_it() {
    let scratch = Scratch::new();
    let first = scratch.run("checkout", &["--until", "tag"]).ok();
    assert!(scratch.registered().is_empty());
    // Other images of the same lock.
    scratch.layout("layouts", AARCH64, &scratch.lock_digest(), "other");
    let digest = first["digest"].as_str().unwrap();
    let expected = ["the image for aarch64 is sha256:", &format!("instead of {digest}")];
    scratch.run("checkout", &[]).failed(&expected);
    assert!(scratch.registered().is_empty());
    scratch.layouts_of("checkout", "layouts");
    // Another image was pushed under the tag.
    let tag = first["tag"].as_str().unwrap();
    let elsewhere = format!("docker://{}:{tag}", scratch.registry());
    let layout = format!("oci:{}", scratch.path("layouts/x86_64").display());
    let pushed = Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &layout, &elsewhere]).output();
    assert!(pushed.unwrap().status.success());
    scratch.run("checkout", &[]).failed(&["a released tag is never moved", &format!("and not {digest}")]);
    assert_eq!(scratch.registered().len(), 1);
    // A tag in the registry alone counts, too: it takes the next commit's revision.
    scratch.git("remote.git", &["update-ref", "-d", &format!("refs/tags/{tag}")]);
    scratch.git("checkout", &["tag", "--delete", tag]);
    let next = scratch.run("checkout", &["--until", "layout"]).ok();
    assert!(next["tag"].as_str().unwrap().contains("-r2-"), "{next}");
}

#[test]
fn layouts_of_another_lock_damaged_ones_and_other_architectures_are_refused() {
    let scratch = Scratch::new();
    let zeros = format!("sha256:{}", "0".repeat(64));
    scratch.layout("layouts", X86_64, &zeros, "");
    scratch.run("checkout", &[]).failed(&["was not made from this lock", &zeros]);
    scratch.layout("layouts", ["x86_64", "arm64"], &scratch.lock_digest(), "");
    scratch.run("checkout", &["--dry-run"]).failed(&["has an image for arm64 instead of amd64"]);
    scratch.layouts_of("checkout", "layouts");
    let blobs = scratch.path("layouts/aarch64/blobs/sha256");
    for blob in std::fs::read_dir(blobs).unwrap() {
        let blob = blob.unwrap().path();
        let text = std::fs::read(&blob).unwrap();
        if text.starts_with(b"{") {
            std::fs::write(blob, [&text[..], b" "].concat()).unwrap();
        }
    }
    scratch.run("checkout", &[]).failed(&["the layout is damaged"]);
    assert!(scratch.tagged().is_empty() && scratch.registered().is_empty());
}

/// An image that had to be killed or does not start gets no public tag.
#[test]
fn an_image_that_fails_its_probe_is_not_public() {
    let scratch = Scratch::new();
    scratch.write("exit", "137\n");
    scratch.run("checkout", &[]).failed(&["exit code 137"]);
    assert!(scratch.registered().is_empty() && !scratch.path("releases").exists());
    scratch.write("exit", "0\n");
    let document = scratch.run("checkout", &[]).ok();
    assert!(document["tag"].as_str().unwrap().contains("-r1-"), "{document}");
}

#[test]
fn uncommitted_edited_and_future_locks_are_not_released() {
    let scratch = Scratch::new();
    scratch.write("checkout/image/new", "");
    scratch.git("checkout", &["config", "status.showUntrackedFiles", "no"]);
    scratch.run("checkout", &[]).failed(&["uncommitted changes", "image/new"]);
    let orphan = "# @generated from templates/gone.j2 by `cargo xtask render`\n";
    scratch.write("checkout/image/new", orphan);
    scratch.run("checkout", &[]).failed(&["hint: run `cargo xtask render`"]);
    std::fs::remove_file(scratch.path("checkout/image/new")).unwrap();
    let text = scratch.read("checkout/versions.lock");
    scratch.write("checkout/versions.lock", format!("{text}\n# edited\n"));
    scratch.run("checkout", &[]).failed(&["was edited by hand"]);
    scratch.write("checkout/versions.lock", text);
    let mut amend = Command::new("git");
    amend.arg("-C").arg(scratch.path("checkout")).args(["-c", "user.name=t", "-c", "user.email=t@example.invalid"]);
    amend.args(["commit", "--quiet", "--amend", "--no-edit"]).env("GIT_COMMITTER_DATE", "2099-01-01T00:00:00Z");
    assert!(amend.status().unwrap().success());
    scratch.run("checkout", &[]).failed(&["in the future"]);
    assert!(scratch.tagged().is_empty() && scratch.registered().is_empty());
}

#[test]
fn a_dry_run_needs_no_network_and_no_engine() {
    let scratch = Scratch::new();
    let nowhere = ["--registry", "127.0.0.1:1/mission-control", "--dry-run"];
    std::fs::rename(scratch.path("remote.git"), scratch.path("gone")).unwrap();
    let document = scratch.run("checkout", &nowhere).ok();
    let log = scratch.log();
    for word in ["docker", "skopeo", "gh ", "ls-remote", "fetch", " push ", "tag --annotate"] {
        assert!(!log.contains(word), "`{word}` was asked: {log}");
    }
    let dist = scratch.path("checkout/dist");
    for name in ["notes.md", "release.json", "sbom-x86_64.cdx.json", "sbom-aarch64.spdx.json", "layout/index.json"] {
        assert!(dist.join(name).exists(), "{name}");
    }
    // A real run has the same output.
    std::fs::rename(scratch.path("gone"), scratch.path("remote.git")).unwrap();
    let done = scratch.run("checkout", &[]).ok();
    assert_eq!((&document["tag"], &document["digests"]["index"]), (&done["tag"], &done["digest"]));
    // Without layouts, too.
    std::fs::remove_dir_all(&dist).unwrap();
    let mut command = common::xtask(&scratch.path("checkout"));
    assert!(command.arg("release").args(nowhere).status().unwrap().success());
    assert!(dist.join("notes.md").exists() && !dist.join("layout").exists());
}

#[test]
fn a_failing_registry_is_reported_and_nothing_is_public() {
    let scratch = Scratch::new();
    for (status, expected) in [("401 Unauthorized", "log in"), ("503 Service Unavailable", "cannot list the tags of")] {
        let registry = format!("{}/mission-control", answering(status));
        scratch.run("checkout", &["--registry", &registry]).failed(&[expected]);
        assert!(scratch.tagged().is_empty());
    }
    // A full one: the tag is reserved, and the release continues when there is space.
    scratch.run("checkout", &[]).ok();
    scratch.commit("checkout");
    scratch.layout("layouts", AARCH64, &scratch.lock_digest(), "more");
    let uploads = scratch.path("registry/docker/registry/v2/repositories/mission-control/_uploads");
    std::fs::remove_dir_all(&uploads).unwrap();
    std::fs::write(&uploads, "no folder").unwrap();
    scratch.run("checkout", &[]).failed(&["cannot push"]);
    assert_eq!((scratch.tagged().len(), scratch.registered().len()), (4, 3));
    std::fs::remove_file(&uploads).unwrap();
    let document = scratch.run("checkout", &[]).ok();
    assert!(document["tag"].as_str().unwrap().contains("-r2-"), "{document}");
    assert_eq!(scratch.registered().len(), 4);
}

#[test]
fn a_released_image_is_compared_with_its_git_tag() {
    let scratch = Scratch::new();
    let document = scratch.run("checkout", &[]).ok();
    let (tag, digest) = (document["tag"].as_str().unwrap(), document["digest"].as_str().unwrap());
    scratch.clone("clone");
    let verify = |image: &str| scratch.tool("clone", &["verify", "--image", image]);
    for reference in [&format!(":{tag}"), ":latest", &format!("@{digest}")] {
        let document = verify(&format!("{}{reference}", scratch.registry())).ok();
        assert_eq!(document["checks"].as_array().unwrap().len(), 8, "{document}");
    }
    // The attestation must name every pin, in any form.
    let bill = scratch.read("checkout/dist/sbom-x86_64.spdx.json");
    let bill = bill + &scratch.read("checkout/dist/sbom-aarch64.spdx.json");
    let attested = |bill: &str| {
        let bills: Vec<Value> = serde_json::Deserializer::from_str(bill).into_iter().map(Result::unwrap).collect();
        scratch.write("attested", serde_json::json!(bills).to_string());
        let image = format!("{}:{tag}", scratch.registry());
        scratch.tool("clone", &["verify", "--github", "o/n", "--image", &image])
    };
    let checked = attested(&bill).ok();
    let about = |what: &str| checked["checks"].as_array().unwrap().iter().any(|check| check["what"] == what);
    assert!(about("llamacpp of the image for aarch64") && about("base of the image for x86_64"), "{checked}");
    let ran = attested(&bill.replace("pkg:generic/opencode@", "pkg:generic/other@"));
    assert!(ran.code == Some(3) && ran.document.to_string().contains("not in its bill of materials"), "{}", ran.stderr);
    // A lock of another commit, or an image of another architecture's release, differs from the git tag.
    let message = scratch.git("clone", &["for-each-ref", "--format=%(contents)", "refs/tags"]);
    let zeros = "0".repeat(64);
    let other = message.replace(&scratch.lock_digest()[7..], &zeros).replace(&digest[7..], &zeros);
    scratch.git("clone", &["tag", "--force", "--annotate", "--message", &other, tag]);
    let ran = verify(&format!("{}:{tag}", scratch.registry()));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let wrong = ran.document["checks"].as_array().unwrap().iter().filter(|check| check["found"] != check["wanted"]);
    let wrong: Vec<&str> = wrong.map(|check| check["what"].as_str().unwrap()).collect();
    let [of_x86_64, of_aarch64] = ["lock of the image for x86_64", "lock of the image for aarch64"];
    // The signature, because no signer is expected.
    assert_eq!(wrong, ["index", "lock of that commit", of_x86_64, of_aarch64, "signature"]);
    verify(&format!("{}:gone", scratch.registry())).failed(&["there is no "]);
}

#[test]
#[ignore = "wants cosign, which Debian has from trixie on"]
fn a_release_is_signed_and_attested_once_and_another_key_is_reported() {
    let scratch = Scratch::new();
    for name in ["own", "other"] {
        let mut command = Command::new("cosign");
        command.args(["generate-key-pair", "--output-key-prefix", name]).current_dir(scratch.path("."));
        assert!(command.env("COSIGN_PASSWORD", "").output().unwrap().status.success());
    }
    let (key, public) = (scratch.path("own.key"), scratch.path("own.pub"));
    let sign = |key: &str| Ran::of(scratch.release("checkout", &["--sign", key]).env("COSIGN_PASSWORD", ""));
    sign("nowhere.key").failed(&["cannot sign with the key nowhere.key"]);
    assert!(scratch.tagged().is_empty());
    let document = sign(key.to_str().unwrap()).ok();
    let image = document["released"].as_str().unwrap();
    let signatures = || scratch.registered().into_iter().filter(|(name, _)| name.starts_with("sha256-")).count();
    // The index and both images are signed; both images are attested.
    assert_eq!(signatures(), 5);
    let before = scratch.registered();
    assert_eq!(sign(key.to_str().unwrap()).ok()["digest"], document["digest"]);
    assert_eq!(scratch.registered(), before, "something was signed twice");
    let verify =
        |key: &std::path::Path| scratch.tool("checkout", &["verify", "--image", image, "--key", key.to_str().unwrap()]);
    verify(&public).ok();
    verify(&scratch.path("other.pub")).failed(&["is not signed by"]);
    for kind in ["cyclonedx", "slsaprovenance1"] {
        let message = scratch.git("remote.git", &["for-each-ref", "--format=%(contents)", "refs/tags"]);
        let manifest = message.lines().find_map(|line| line.strip_prefix("Manifest x86_64: ")).unwrap();
        let image = format!("{}@{manifest}", scratch.registry());
        let mut command = Command::new("cosign");
        command.args(["verify-attestation", "--private-infrastructure", "--type", kind, "--key"]).arg(&public);
        assert!(command.arg(image).output().unwrap().status.success(), "{kind}");
    }
}

/// The last line of output is true.
#[test]
fn an_interruption_reports_what_was_done() {
    let scratch = Scratch::new();
    let mut command = scratch.release("checkout", &[]);
    command.env("AT_PUSH", format!("touch {}; sleep 600", scratch.path("pushes").display()));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(50));
        if scratch.path("pushes").exists() {
            break;
        }
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(143), "{}", ran.stderr);
    let message = ran.document["errors"][0]["message"].as_str().unwrap();
    let expected = "interrupted; done by then: join under one index; begun and not finished: tag the commit";
    assert_eq!(message, expected);
    assert!(scratch.tagged().is_empty());
    assert!(scratch.run("checkout", &[]).ok()["tag"].as_str().unwrap().contains("-r1-"));
}

#[test]
fn another_flavor_has_its_own_tags_and_revisions_and_does_not_move_latest() {
    let scratch = Scratch::new();
    let first = scratch.run("checkout", &[]).ok();
    scratch.layouts_of("checkout", "layouts-remote");
    let release = |layouts: &str| {
        let (registry, layouts) = (scratch.registry(), scratch.path(layouts).display().to_string());
        let words =
            ["release", "--flavor", "remote", "--github", "o/n", "--registry", &registry, "--layouts", &layouts];
        scratch.tool("checkout", &words)
    };
    release("layouts").failed(&["was not made as this flavor", "is cpu instead of remote"]);
    let second = release("layouts-remote").ok();
    let tag = second["tag"].as_str().unwrap();
    assert!(tag.contains("-remote-opencode-openclaw-r1-opencode-") && !tag.contains("llamacpp"), "{tag}");
    assert!(scratch.tagged().contains(&"revisions/remote-opencode-openclaw/1".to_owned()));
    let registered = scratch.registered();
    let digest = |name: &str| registered.iter().find(|(tag, _)| tag == name).map(|(_, digest)| digest.as_str());
    assert_eq!(digest("latest"), first["digest"].as_str());
    assert_eq!(digest("remote-opencode-openclaw"), second["digest"].as_str());
    assert!(scratch.read(&format!("releases/{tag}/edit")).contains("--latest=false"));
    let bill = |dist: &str| scratch.read(&format!("checkout/{dist}/sbom-x86_64.cdx.json"));
    assert!(bill("dist").contains("llamacpp") && !bill("dist-remote").contains("llamacpp"));
    // Each continues its own release.
    assert_eq!(release("layouts-remote").ok()["digest"], second["digest"]);
    let parsed = scratch.xtask("checkout").args(["tag", "parse", tag]).output().unwrap();
    assert!(String::from_utf8_lossy(&parsed.stdout).contains("flavor    remote-opencode-openclaw"));
}
