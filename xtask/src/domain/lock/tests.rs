use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::domain::rules;

const SHA: &str = "c64b3339f9c4fa97b146741a1ed551b4b2a99dbcbe539ee1063c49069b7b49c4";

fn text(version: &str, url: &str) -> String {
    format!(
        "{HEADER}schema = 1\n\n[components.convex]\nversion = \"{version}\"\n\n\
         [components.convex.pinned.files.aarch64]\nurl = \"{url}\"\nsha256 = \"{SHA}\"\n\n\
         [components.convex.pinned.files.x86_64]\nurl = \"{url}\"\nsha256 = \"{SHA}\"\nsize = 7\n"
    )
}

fn sample() -> String {
    text("precompiled-2026-09-11-157eb19", "https://github.com/a/b/releases/download/c/d.zip")
}

fn stack() -> Stack {
    Stack::parse(include_str!("../../../../stack.toml")).unwrap()
}

#[test]
fn a_lock_that_is_read_and_written_stays_the_same() {
    assert_eq!(Lock::parse(&sample()).unwrap().to_text().unwrap(), sample());
}

#[test]
fn newer_schemas_conflicts_and_changed_line_endings_have_clear_errors() {
    for (from, to, expected) in [
        ("schema = 1", "schema = 9\nfuture = {}", "has schema 9, this program knows 4 at most"),
        ("version = ", "<<<<<<< HEAD\nversion = \"1\"\n=======\nversion = ", "contains a merge conflict, at line 6"),
        ("\n", "\r\n", "has Windows line endings (CRLF)"),
    ] {
        let error = Lock::parse(&sample().replace(from, to)).unwrap_err();
        assert_eq!(error.to_string(), format!("versions.lock {expected}"));
    }
}

#[test]
fn invalid_values_are_refused_when_read() {
    for (from, to) in [
        (SHA, "abc"),
        ("size = 7", "size = -7"),
        ("size = 7", "colour = \"red\""),
        ("d.zip", "d.zip; rm -rf /"),
        ("d.zip", "{{ d }}"),
        ("files", "fils"),
        ("schema = 1", "schema = \"one\""),
        ("aarch64", "riscv64"),
    ] {
        assert!(Lock::parse(&sample().replacen(from, to, 1)).is_err(), "{from} -> {to}");
    }
}

#[test]
fn checking_against_the_stack_returns_all_errors() {
    let stack = stack();
    let mut lock = Lock::parse(&text("v1.2.3", "https://github.com/a")).unwrap();
    lock.components.insert("nonsense".into(), lock.components["convex"].clone());
    let wrong: Vec<String> = lock.check(&stack).unwrap_err().iter().map(ToString::to_string).collect();
    for expected in [
        "does not pin `node`",
        "pins `nonsense`, which stack.toml does not have",
        "pins `convex` at an invalid version",
    ] {
        assert!(wrong.contains(&format!("versions.lock {expected}")), "{expected}: {wrong:?}");
    }
}

#[test]
fn a_version_is_compared_in_the_scheme_of_its_component() {
    let convex = "precompiled-2026-09-11-157eb19";
    for (name, text, expected) in [
        ("convex", convex, Some(convex)),
        ("convex", "v1.2.3", None),
        ("convex", "precompiled-2026-09-11-157eb19; id", None),
        ("node", convex, None),
        ("nonsense", convex, None),
    ] {
        let lock = Lock::parse(&self::text(text, "https://github.com/a")).unwrap();
        let found = lock.version(&stack(), name);
        assert_eq!(found.as_ref().map(Version::as_str), expected, "{name} {text}");
    }
}

#[test]
fn a_pin_must_have_every_architecture() {
    let stack = stack();
    let mut lock = Lock::parse(&sample()).unwrap();
    if let Pinned::Files(files) = &mut lock.components.get_mut("convex").unwrap().pinned {
        files.remove(&FileFor::Aarch64);
    }
    let error = lock.components["convex"].check("convex", &stack).unwrap_err();
    assert_eq!(error.to_string(), "versions.lock pins no file of `convex` for aarch64");
}

#[test]
fn a_publication_is_a_date_or_a_moment() {
    let read = |text: &str| Published::try_from(text.to_owned());
    assert_eq!(read("2026-09-11").unwrap().moment().to_rfc3339(), "2026-09-11T00:00:00+00:00");
    assert!(read("2026-09-11T01:02:03Z").is_ok());
    for bad in ["", "2026-13-01", "yesterday", "2026-09-11T01:02:03", "2026-9-1"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

/// The committed lock is as the tool writes it, and valid.
#[test]
fn the_committed_lock_is_valid() {
    let text = include_str!("../../../../versions.lock");
    let (stack, lock) = (stack(), Lock::parse(text).unwrap());
    lock.check(&stack).unwrap();
    assert_eq!(rules::check(&stack, &lock).violations, []);
    assert_eq!(lock.to_text().unwrap(), text, "versions.lock was edited by hand");
}

/// The checkout has the npm lockfiles that the lock pins.
#[test]
fn the_committed_npm_lockfiles_are_the_pinned_ones() {
    let stack = stack();
    let lock = Lock::parse(include_str!("../../../../versions.lock")).unwrap();
    let mut seen = 0;
    for (name, pin) in &lock.components {
        if let (Pinned::Npm(npm), Source::Npm { directory, .. }) = (&pin.pinned, &stack.components[name].source) {
            let path = format!("{}/../image/{directory}/package-lock.json", env!("CARGO_MANIFEST_DIR"));
            assert_eq!(Sha256::of(&fs_err::read(path).unwrap()), npm.lockfile, "{name}");
            seen += 1;
        }
    }
    assert!(seen > 0);
}

/// The texts of a pattern, all of which a type accepts.
fn of<T: TryFrom<String, Error: fmt::Debug> + fmt::Debug>(pattern: &'static str) -> impl Strategy<Value = T> {
    pattern.prop_map(|text| T::try_from(text).unwrap())
}

fn url() -> impl Strategy<Value = FileUrl> {
    URL.prop_filter_map("no plain address", |text| text.parse().ok())
}

const SHA256: &str = "[0-9a-f]{64}";
const COMMIT: &str = "[0-9a-f]{40}";
const OCI_DIGEST: &str = "sha256:[0-9a-f]{64}";
const INTEGRITY: &str = "sha512-[A-Za-z0-9+/]{86}==";
const URL: &str = "https?://[a-z]{1,8}(\\.[a-z]{2,5}){1,2}(/[a-zA-Z0-9._%+~-]{1,12}){0,4}";
const PUBLISHED: &str = "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])(T([01][0-9]|2[0-3])(:[0-5][0-9]){2}Z)?";

/// TOML's integers have 64 bits and a sign.
fn size() -> impl Strategy<Value = u64> {
    0..=i64::MAX.unsigned_abs()
}

fn arch() -> impl Strategy<Value = Arch> {
    prop::sample::select(&Arch::ALL[..])
}

fn pinned() -> impl Strategy<Value = Pinned> {
    let which = prop::sample::select(vec![FileFor::Any, FileFor::Aarch64, FileFor::X86_64]);
    let file = (url(), of(SHA256), option::of(size())).prop_map(|(url, sha256, size)| FilePin { url, sha256, size });
    let package = ("[a-z][a-z0-9.+-]{1,8}", "[0-9][a-z0-9.+:~-]{0,8}", url(), of(SHA256), size())
        .prop_map(|(name, version, url, sha256, size)| PackagePin { name, version, url, sha256, size });
    prop_oneof![
        btree_map(which, file, 0..3).prop_map(Pinned::Files),
        ("(@[a-z]{1,5}/)?[a-z]{1,8}", of(INTEGRITY), of(SHA256))
            .prop_map(|(package, integrity, lockfile)| Pinned::Npm(NpmPin { package, integrity, lockfile })),
        (url(), of(COMMIT)).prop_map(|(repository, commit)| Pinned::Git(GitPin { repository, commit })),
        ("[a-z.]{1,9}/[a-z/]{1,9}", of(OCI_DIGEST), btree_map(arch(), of(OCI_DIGEST), 0..3))
            .prop_map(|(name, digest, platforms)| Pinned::Image(ImagePin { name, digest, platforms })),
        btree_map(arch(), vec(package, 0..4), 0..3).prop_map(Pinned::Packages),
    ]
}

/// Versions and tags of any text: they are checked against the stack, after reading.
fn pin() -> impl Strategy<Value = Pin> {
    let seen = btree_map(any::<String>(), of(PUBLISHED), 0..2);
    let trust = option::of(prop::sample::select(vec![Trust::Computed, Trust::Stated, Trust::Signed, Trust::Attested]));
    let tag = option::of(any::<String>());
    (any::<String>(), tag, option::of(of(COMMIT)), option::of(of(PUBLISHED)), seen, trust, pinned()).prop_map(
        |(version, tag, commit, published, seen, trust, pinned)| Pin {
            version,
            tag,
            commit,
            published,
            seen,
            trust,
            pinned,
        },
    )
}

fn lock() -> impl Strategy<Value = Lock> {
    btree_map("[a-z-]{1,12}", pin(), 0..4).prop_map(Lock::new)
}

#[test]
fn a_moment_outside_four_digit_years_is_unknown() {
    let at = |text: &str| Published::at(text.parse().unwrap()).map(|published| published.to_string());
    assert_eq!(at("2026-09-11T01:02:03.9Z").as_deref(), Some("2026-09-11T01:02:03Z"));
    assert_eq!(at("+12026-09-11T01:02:03Z"), None);
    assert_eq!(at("-0001-01-01T00:00:00Z"), None);
}

proptest! {
    #[test]
    fn every_lock_can_be_written_and_read(lock in lock()) {
        let text = lock.to_text().unwrap();
        let again = Lock::parse(&text).unwrap();
        prop_assert_eq!(&again, &lock);
        prop_assert_eq!(again.to_text().unwrap(), text);
    }

    /// A damaged lock is read or refused, without a panic, and can be written if it was read.
    #[test]
    fn a_damaged_lock_is_read_or_refused(lock in lock(), at in any::<prop::sample::Index>(), pasted in "[ -~\n]{0,9}") {
        let mut text = lock.to_text().unwrap();
        let at = (0..=at.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.insert_str(at, &pasted);
        if let Ok(read) = Lock::parse(&text) {
            prop_assert_eq!(Lock::parse(&read.to_text().unwrap()).unwrap(), read);
        }
    }
}
