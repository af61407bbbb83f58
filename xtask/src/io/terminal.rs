//! What is said and what is printed: talk on stderr, results on stdout.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{locked, progress};

/// The schema of the JSON documents; it grows when a field goes or changes its meaning.
const SCHEMA: u32 = 1;

const QUIET: u8 = 0;
const USUAL: u8 = 1;
const VERBOSE: u8 = 2;

static VOLUME: AtomicU8 = AtomicU8::new(USUAL);
/// Why a result could not be printed.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);
/// The result of this run for machines.
static DOCUMENT: Mutex<Option<Map<String, Value>>> = Mutex::new(None);

pub(crate) fn set_volume(quiet: bool, verbose: bool) {
    let volume = if quiet { QUIET } else { USUAL + u8::from(verbose) };
    VOLUME.store(volume, Ordering::Relaxed);
    if quiet {
        progress::hide();
    }
}

/// Talk; `--quiet` leaves it out.
pub(crate) fn say(text: &str) {
    if VOLUME.load(Ordering::Relaxed) > QUIET {
        complain(text);
    }
}

/// What `--verbose` adds.
pub(super) fn tell(text: impl FnOnce() -> String) {
    if VOLUME.load(Ordering::Relaxed) >= VERBOSE {
        complain(text());
    }
}

/// Says it in any case. There is no other place to tell that stderr cannot be written to.
pub(crate) fn complain(text: impl Display) {
    progress::aside(|| {
        let _ = writeln!(anstream::stderr(), "{text}");
    });
}

/// A line of a result, on stdout.
pub(crate) fn print(text: &str) {
    let printed = progress::aside(|| {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    });
    note(printed);
}

/// Keeps the first failure for the end of the run. A reader that has gone away (`| head`) is none.
pub(crate) fn note(printed: io::Result<()>) {
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        locked(&UNPRINTED).get_or_insert(error);
    }
}

/// Why not all of the result could be printed.
pub(crate) fn unprinted() -> Option<io::Error> {
    locked(&UNPRINTED).take()
}

/// The result for machines: the fields of one JSON object, which is printed at the end of the run, with the errors.
pub(crate) fn document(fields: &impl Serialize) -> anyhow::Result<()> {
    let Value::Object(fields) = serde_json::to_value(fields)? else {
        anyhow::bail!("a JSON document must be an object");
    };
    *locked(&DOCUMENT) = Some(fields);
    Ok(())
}

/// Prints the document of this run: the result, where there is one, and what failed.
pub(crate) fn print_document(errors: &impl Serialize) -> anyhow::Result<()> {
    let mut document = locked(&DOCUMENT).take().unwrap_or_default();
    document.insert("schema".to_owned(), SCHEMA.into());
    let errors = serde_json::to_value(errors)?;
    if errors.as_array().is_some_and(|errors| !errors.is_empty()) {
        document.insert("errors".to_owned(), errors);
    }
    print(&serde_json::to_string_pretty(&document)?);
    Ok(())
}
