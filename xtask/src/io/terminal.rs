//! Messages on stderr, results on stdout.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{locked, progress};

/// The schema of the JSON documents. It changes when a field is removed or changes its meaning.
const SCHEMA: u32 = 1;

static QUIET: AtomicBool = AtomicBool::new(false);
static VERBOSE: AtomicBool = AtomicBool::new(false);
/// The first error of printing a result.
static UNPRINTED: Mutex<Option<io::Error>> = Mutex::new(None);
/// The JSON result of this run.
static DOCUMENT: Mutex<Option<Map<String, Value>>> = Mutex::new(None);

pub(crate) fn set_volume(quiet: bool, verbose: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    // clap refuses both only if they are at the same level of the command line.
    VERBOSE.store(verbose && !quiet, Ordering::Relaxed);
    if quiet {
        progress::hide();
    }
}

/// Prints a message, except with `--quiet`.
pub(crate) fn say(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        complain(text);
    }
}

/// Prints a message with `--verbose`.
pub(super) fn tell(text: impl FnOnce() -> String) {
    if VERBOSE.load(Ordering::Relaxed) {
        complain(text());
    }
}

/// Prints a message always. Errors of stderr cannot be reported.
pub(crate) fn complain(text: impl Display) {
    progress::aside(|| {
        let _ = writeln!(anstream::stderr(), "{text}");
    });
}

/// Prints a line of a result on stdout.
pub(crate) fn print(text: &str) {
    let printed = progress::aside(|| {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush())
    });
    note(printed);
}

/// Keeps the first error for the end of the run. A closed pipe (`| head`) is not an error.
pub(crate) fn note(printed: io::Result<()>) {
    if let Err(error) = printed
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        locked(&UNPRINTED).get_or_insert(error);
    }
}

/// The first error of printing the result.
pub(crate) fn unprinted() -> Option<io::Error> {
    locked(&UNPRINTED).take()
}

/// Sets the result for `--format json`: an object, printed with the errors at the end of the run.
pub(crate) fn document(fields: &impl Serialize) -> anyhow::Result<()> {
    let Value::Object(fields) = serde_json::to_value(fields)? else {
        anyhow::bail!("a JSON document must be an object");
    };
    *locked(&DOCUMENT) = Some(fields);
    Ok(())
}

/// Prints the JSON document of this run: the result, if there is one, and the errors.
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
