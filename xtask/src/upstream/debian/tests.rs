use super::*;
use crate::domain::version::Scheme;

fn snapshot(mirrors: &[&str], check: impl Fn(Snapshot<'_>)) {
    let source = Source::Debian {
        suite: "trixie".to_owned(),
        archive: "http://snapshot.debian.org/archive/debian/{version}".to_owned(),
        security: "http://snapshot.debian.org/archive/debian-security/{version}".to_owned(),
        packages: Vec::new(),
        omit: BTreeMap::new(),
    };
    let version = Scheme::Snapshot.parse("20261124T000000Z").unwrap();
    let mirrors = Mirrors::new(mirrors.iter().map(|text| text.parse().unwrap()).collect());
    check(Snapshot::new(&source, &version, &mirrors).unwrap());
}

fn package(name: &str, snapshot: &str, digit: char) -> PackagePin {
    PackagePin {
        name: name.to_owned(),
        version: "1".to_owned(),
        url: format!("http://snapshot.debian.org/archive/debian/{snapshot}/{name}.deb").parse().unwrap(),
        sha256: digit.to_string().repeat(64).parse().unwrap(),
        size: 1,
    }
}

#[test]
fn a_file_of_a_mirror_is_pinned_at_the_snapshot() {
    for mirrors in [
        &[
            "http://snapshot.debian.org/archive/debian/20261124T000000Z=http://mirror.example/debian",
            "http://snapshot.debian.org/archive/debian-security/20261124T000000Z=http://mirror.example/debian-security",
        ][..],
        &["http://snapshot.debian.org/archive=http://127.0.0.1:9/snapshots"],
        &[],
    ] {
        snapshot(mirrors, |snapshot| {
            for (address, name) in [(&snapshot.main, "debian"), (&snapshot.security, "debian-security")] {
                let at = "pool/main/x/xz-utils/x_1%2b2_amd64.deb";
                let pinned = snapshot.pinned(&format!("{}/{at}", address.read)).unwrap();
                let expected = format!("http://snapshot.debian.org/archive/{name}/20261124T000000Z/{at}");
                assert_eq!(pinned.as_str(), expected);
            }
            assert!(snapshot.pinned("http://elsewhere/pool/x.deb").is_err());
        });
    }
}

#[test]
fn the_sources_are_the_suite_its_updates_and_its_security() {
    let at = |archive: &str, suite: &str| {
        format!(
            "deb [signed-by=/k.gpg] http://snapshot.debian.org/archive/{archive}/20261124T000000Z trixie{suite} main\n"
        )
    };
    let wanted = [at("debian", ""), at("debian", "-updates"), at("debian-security", "-security")];
    snapshot(&[], |snapshot| assert_eq!(snapshot.sources(Path::new("/k.gpg")), wanted.concat()));
}

#[test]
fn a_newer_snapshot_with_the_same_bytes_is_no_change() {
    let lists = |snapshot, digit| BTreeMap::from([(Arch::X86_64, vec![package("git", snapshot, digit)])]);
    let old = lists("20261123T000000Z", 'a');
    assert_eq!(content(&old), content(&lists("20261124T000000Z", 'a')));
    assert_ne!(content(&old), content(&lists("20261124T000000Z", 'b')));
}

#[test]
fn only_package_names_are_passed_to_apt() {
    for good in ["git", "s6", "libstdc++6", "perl-modules-5.40", "trixie"] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in ["", "a", "git-", "-o", "?name(x)", "~n", "git=1", "git/sid", "Git", "a b", "a;id", "a\nb", "./x.deb"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_index_has_digests_by_name_and_version() {
    let stanza = |name: &str, version: &str, digit: &str| {
        format!(
            "Package: {name}\nPackage-List: x\nVersion: {version}\nDescription: a\n SHA256: b\nSHA256: {}\n\n",
            digit.repeat(64)
        )
    };
    let index = parse_index(&[stanza("git", "1", "a"), stanza("git", "2", "b"), stanza("odd", "1", "x")].concat());
    assert_eq!(index.keys().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>(), ["git 1", "git 2"]);
    let found = |digit| {
        let package = package("git", "20261124T000000Z", digit);
        compare(&package, &index)
    };
    assert_eq!(found('a'), None);
    assert!(matches!(found('c'), Some(Finding::Replaced { .. })));
    let gone = PackagePin { version: "3".to_owned(), ..package("git", "20261124T000000Z", 'a') };
    assert!(matches!(compare(&gone, &index), Some(Finding::Deleted { .. })));
}
