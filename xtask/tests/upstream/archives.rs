//! Downloads for a digest are inspected, and an interrupted download has no digest.

use std::io::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wiremock::MockServer;

use crate::support::{
    CONVEX, CONVEX_STACK, Ran, STABLE, Scratch, TOOL, X86_64, convex_asset, digest_of, release, serve, serve_bytes,
    serve_tags, serve_tool, tar_of, undigested, without_digest, zip_of,
};

/// Runs `bump convex` where the x86_64 backend of the newest release has no digest and these bytes.
async fn bump_with(bytes: &[u8]) -> Ran {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    // Read once for the choice; the error's suggestion comes from the cache.
    serve(&server, CONVEX, &[(without_digest(STABLE, X86_64, bytes.len()), 1)]).await;
    serve_bytes(&server, &convex_asset(STABLE, X86_64), bytes).await;
    let temporary = tempfile::tempdir().unwrap();
    let mut command = scratch.command(&server, &["bump", "convex"]);
    let ran = Ran::of(command.env("TMPDIR", temporary.path())).await;
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a download was left behind");
    if ran.code != Some(0) {
        assert_eq!(scratch.names(), ["stack.toml"]);
    }
    ran
}

#[tokio::test]
async fn a_zip_without_the_expected_program() {
    bump_with(&zip_of(&["convex-local-backend"])).await.succeeded();
    bump_with(&zip_of(&["convex-1.0/convex-local-backend"])).await.succeeded();
    for (names, held) in [(&["README.md", "convex"][..], "`README.md`, `convex`"), (&[][..], "nothing")] {
        bump_with(&zip_of(names)).await.failed_with(&[
            "error: failed to bump `convex`\n",
            "caused by: cannot pin `convex`\n",
            &format!("caused by: `{X86_64}` does not contain `convex-local-backend`, but {held}\n"),
            "precompiled-2026-09-11-157eb19 (2026-09-11): cargo xtask bump convex --to precompiled-2026-09-11-157eb19\n",
        ]);
    }
}

#[tokio::test]
async fn a_page_instead_of_a_zip_and_a_truncated_zip() {
    let whole = zip_of(&["convex-local-backend"]);
    for bytes in [b"<html>Sign in</html>", &whole[..whole.len() / 2]] {
        let ran = bump_with(bytes).await;
        ran.failed_with(&[&format!("`{X86_64}` is not a valid archive"), "hint: newest complete releases are"]);
        assert!(!ran.stderr.contains(&format!("--to {STABLE}")), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_tar_without_the_expected_program() {
    for (paths, fits) in [
        (&["tool-1.0.0/bin/tool", "tool-1.0.0/LICENSE"][..], true),
        (&["bin/tool"][..], true),
        (&["tool-1.0.0/tool"][..], false),
    ] {
        let bytes = tar_of(paths);
        let (ran, lock) = bump_tar_with(&bytes, "bin/tool").await;
        if fits {
            ran.succeeded();
            assert!(lock.unwrap().contains(&digest_of(&bytes)["sha256:".len()..]));
        } else {
            ran.failed_with(&[
                "`tool.tar.gz` does not contain `bin/tool`, but `./`, `./tool-1.0.0/`, `./tool-1.0.0/tool`",
            ]);
        }
    }
}

/// An asset that is listed with its size and state, but whose download is 404.
#[tokio::test]
async fn a_listed_file_that_does_not_exist() {
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    serve(&server, CONVEX, &[(without_digest(STABLE, X86_64, 1000), 1)]).await;
    scratch.run(&server, &["bump", "convex"]).await.failed_with(&[
        "caused by: cannot pin `convex`\n",
        "404 Not Found",
        "precompiled-2026-09-11-157eb19 (2026-09-11): cargo xtask bump convex --to precompiled-2026-09-11-157eb19\n",
    ]);
    assert_eq!(scratch.names(), ["stack.toml"]);
}

/// A server that always sends less than its Content-Length.
#[tokio::test]
async fn an_interrupted_download_is_retried_and_then_reported() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf").await.unwrap();
        }
    });
    let (scratch, server) = (Scratch::new(CONVEX_STACK), MockServer::start().await);
    let scratch = scratch.mirror(&format!("https://github.com/{CONVEX}"), &format!("http://{address}"));
    serve_tags(&server, CONVEX, &without_digest(STABLE, X86_64, 1000)).await;
    let ran = scratch.run(&server, &["bump", "convex", "--to", STABLE]).await;
    ran.failed_with(&["failed to bump `convex`", &format!("cannot GET https://github.com/{CONVEX}"), "caused by:"]);
    asked.await.unwrap();
    assert_eq!(scratch.names(), ["stack.toml"]);
}

/// A tar of raw entries: a name, a kind, a link's target and contents.
fn raw_tar(entries: &[(&str, tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, target, contents) in entries {
        let mut header = tar::Header::new_gnu();
        // Not with the builder, which refuses names outside of the folder.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *contents).unwrap();
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&archive.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}

/// Runs `bump` of a tar that must have the path `contains`; returns the lock, too.
async fn bump_tar_with(bytes: &[u8], contains: &str) -> (Ran, Option<String>) {
    let stack =
        TOOL.replace("tool.zip", "tool.tar.gz").replace("contains = \"tool", &format!("contains = \"{contains}"));
    let (scratch, server) = (Scratch::new(&stack), MockServer::start().await);
    let one = release("v1.0.0", "2026-09-01", false, &[("tool.tar.gz", "")]);
    serve_tool(&server, vec![undigested(one, bytes.len())]).await;
    serve_bytes(&server, "/github/files/v1.0.0/tool.tar.gz", bytes).await;
    // Inspecting an archive needs no program.
    let ran = Ran::of(scratch.command(&server, &["bump"]).env("PATH", "/nowhere")).await;
    let lock = scratch.lock();
    assert_eq!(lock.is_some(), ran.code == Some(0));
    (ran, lock)
}

#[tokio::test]
async fn a_harmful_tar_is_refused_with_the_name_of_its_entry() {
    use tar::EntryType as Type;
    let tool = ("tool", Type::Regular, "", &b"x"[..]);
    let whole = raw_tar(&[tool, ("so", Type::Symlink, "tool", b""), ("hard", Type::Link, "tool", b"")]);
    bump_tar_with(&whole, "tool").await.0.succeeded();
    let zeros = vec![0; 70 << 20];
    for (bytes, expected) in [
        (raw_tar(&[tool, ("../evil", Type::Regular, "", b"x")]), "its entry `../evil` would be written outside"),
        (raw_tar(&[tool, ("/evil", Type::Regular, "", b"x")]), "its entry `/evil` would be written outside"),
        (raw_tar(&[tool, ("l", Type::Symlink, "/etc", b"")]), "its link `l` points to `/etc`, outside of its folder"),
        (raw_tar(&[tool, ("l", Type::Link, "../x", b"")]), "its link `l` points to `../x`, outside of its folder"),
        (raw_tar(&[("l", Type::Symlink, "x", b""), ("l/tool", Type::Regular, "", b"x")]), "written through a link"),
        (raw_tar(&[tool, ("./tool", Type::Regular, "", b"y")]), "it contains `./tool` twice"),
        (raw_tar(&[tool, ("pipe", Type::Fifo, "", b"")]), "its entry `pipe` is neither a file"),
        (raw_tar(&[tool, ("zeros", Type::Regular, "", &zeros)]), "it would unpack to more than 67108864 bytes"),
        (whole[..whole.len() - 9].to_vec(), "it is truncated or damaged"),
        (zip_of(&["tool"]), "its name is that of gzip, but it starts like a zip archive"),
        (Vec::new(), "it starts like nothing"),
    ] {
        bump_tar_with(&bytes, "tool").await.0.failed_with(&["`tool.tar.gz`", expected]);
    }
}

type Writer = zip::ZipWriter<std::io::Cursor<Vec<u8>>>;

#[tokio::test]
async fn a_harmful_zip_is_refused_with_the_name_of_its_entry() {
    use zip::write::SimpleFileOptions as Options;
    let program = "convex-local-backend";
    let zip = |write: &dyn Fn(&mut Writer)| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        archive.start_file(program, Options::default()).unwrap();
        archive.write_all(b"x").unwrap();
        write(&mut archive);
        archive.finish().unwrap().into_inner()
    };
    let replaced = |bytes: &[u8], from: &[u8], to: &[u8]| {
        let mut bytes = bytes.to_vec();
        let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        bytes
    };
    let other = zip(&|archive| archive.start_file("convex-local-backenD", Options::default()).unwrap());
    let escaping = zip(&|archive| archive.start_file("xx/evil", Options::default()).unwrap());
    // Bit 0 of the flags in each header: the entry is encrypted.
    let plain = zip(&|_| {});
    let mut encrypted = plain.clone();
    encrypted[6] |= 1;
    let central = (0..plain.len()).find(|at| plain[*at..].starts_with(b"PK\x01\x02")).unwrap();
    encrypted[central + 8] |= 1;
    for (bytes, expected) in [
        (replaced(&escaping, b"xx/evil", b"../evil"), "its entry `../evil` would be written outside"),
        (zip(&|archive| archive.add_symlink("l", "../../x", Options::default()).unwrap()), "its link `l` points to"),
        (replaced(&other, b"backenD", b"backend"), "two of its entries have one name"),
        (encrypted, "its entry `convex-local-backend` is encrypted"),
        (
            zip(&|archive| {
                archive.start_file("zeros", Options::default()).unwrap();
                archive.write_all(&vec![0; 70 << 20]).unwrap();
            }),
            "it would unpack to more than 67108864 bytes",
        ),
        (plain[..plain.len() - 30].to_vec(), "it is truncated or damaged"),
        (raw_tar(&[]), "its name is that of a zip archive, but it starts like gzip"),
    ] {
        bump_with(&bytes).await.failed_with(&[&format!("`{X86_64}`"), expected]);
    }
}
