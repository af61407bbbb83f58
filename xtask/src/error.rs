//! How errors are printed: what failed, why, and what to type next.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};

use clap::builder::styling::AnsiColor;
use serde::Serialize;

use crate::domain::stack::StackError;
use crate::io::ending::Signal;
use crate::io::files::NoKeyring;
use crate::io::git::MayLackTags;
use crate::io::http::HttpError;
use crate::io::process::NotRun;

/// An error with a hint: what to type next. The hint is separate from the message, so that it is printed once and last,
/// whatever context is added to the error.
#[derive(Debug)]
pub(crate) struct Hinted {
    error: anyhow::Error,
    hint: String,
}

/// The hint that another version of a component can be pinned.
pub(crate) fn bump_hint(why: &str, component: &str, version: &str) -> String {
    format!("{why}: cargo xtask bump {component} --to {version}")
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for Hinted {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

pub(crate) trait HintExt<T> {
    fn hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint<H: Into<String>>(self, hint: impl FnOnce() -> H) -> anyhow::Result<T> {
        self.map_err(|error| hinted(error, hint()))
    }
}

pub(crate) fn hinted(error: impl Into<anyhow::Error>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Hinted { error: error.into(), hint: hint.into() })
}

/// Why a command ended early, if that is not a plain failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// A check found a difference, which is printed already.
    #[error("{0}")]
    Difference(String),
    /// A signal ended it.
    #[error("interrupted; {left}")]
    Interrupted { signal: Signal, left: String },
}

/// The exit codes, as the README documents them (2, a wrong command line, is clap's).
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match causes(error.as_ref()).find_map(|cause| cause.downcast_ref::<Ended>()) {
        Some(Ended::Difference(_)) => 3,
        Some(Ended::Interrupted { signal, .. }) => signal.exit_code(),
        None => 1,
    }
}

/// Several failures of one command, each with its own causes.
#[derive(Debug, thiserror::Error)]
#[error("{} failures", .0.len())]
pub(crate) struct Failures(pub(crate) Vec<anyhow::Error>);

/// Returns all results, or all errors if any failed.
pub(crate) fn all<T>(results: Vec<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let (succeeded, failed) = split(results);
    ended(failed)?;
    Ok(succeeded)
}

/// The values of the results, and the errors.
pub(crate) fn split<T>(results: Vec<anyhow::Result<T>>) -> (Vec<T>, Vec<anyhow::Error>) {
    let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => succeeded.push(value),
            Err(error) => failed.push(error),
        }
    }
    (succeeded, failed)
}

/// Returns all failures as one error, if there are any.
pub(crate) fn ended(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    match failures.len() {
        0 => Ok(()),
        1 => Err(failures.remove(0)),
        _ => Err(Failures(failures).into()),
    }
}

/// An error and all its causes, outermost first, including those below a hint.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let below = |cause: &'a (dyn StdError + 'static)| match cause.downcast_ref::<Hinted>() {
        Some(hinted) => Some(hinted.error.as_ref()),
        None => cause.source(),
    };
    std::iter::successors(Some(error), move |cause| below(*cause))
}

/// Whether an error is an `E`, below any hints and contexts.
pub(crate) fn is<E: StdError + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
    error.is::<E>() || error.downcast_ref::<Hinted>().is_some_and(|hinted| is::<E>(&hinted.error))
}

/// All hints in an error, outermost first.
pub(crate) fn hints(error: &anyhow::Error) -> Vec<String> {
    let hinted = causes(error.as_ref()).filter_map(|cause| cause.downcast_ref::<Hinted>());
    hinted.map(|hinted| hinted.hint.clone()).collect()
}

/// The hint for a cause that needs no context.
pub(crate) fn advice(cause: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(NotRun { program, source }) = cause.downcast_ref() {
        let is_missing = source.kind() == std::io::ErrorKind::NotFound;
        return is_missing.then(|| format!("install `{program}`; `cargo xtask doctor` lists all that is missing"));
    }
    if let Some(StackError::Unknown { nearest, .. }) = cause.downcast_ref() {
        return nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"));
    }
    if cause.is::<NoKeyring>() {
        return Some("apt-get install debian-archive-keyring (Debian and Ubuntu)".to_owned());
    }
    if cause.is::<MayLackTags>() {
        return Some("git fetch --tags".to_owned());
    }
    let hint = match cause.downcast_ref::<HttpError>()? {
        HttpError::Transport { .. } | HttpError::Slow { .. } => {
            "check the network and HTTPS_PROXY, or use another address with --mirror FROM=TO"
        }
        HttpError::Offline { .. } => "run it once without --offline; `cargo xtask fetch` downloads all pinned files",
        HttpError::Throttled { .. } => {
            "the server limits requests: wait and run it again, or use another server with --mirror FROM=TO"
        }
        error if error.is_page() => {
            "a proxy or a login page answers instead of the server: check HTTPS_PROXY and NO_PROXY, and whether this \
             network needs a login"
        }
        HttpError::Status { refusal, .. } if refusal.status.as_u16() == 407 => {
            "the proxy needs a login: set HTTPS_PROXY and HTTP_PROXY to http://USER:PASSWORD@HOST:PORT"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Explained {
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

/// Takes an error apart. Several failures become one entry each, after their common context; hints for all of them come
/// last.
pub(crate) fn explain(error: &anyhow::Error) -> Vec<Explained> {
    let (mut lines, mut hints, mut failures) = (Vec::new(), hints(error), Vec::new());
    // The error below a hint is the next cause.
    for cause in causes(error.as_ref()).filter(|cause| !cause.is::<Hinted>()) {
        if let Some(Failures(several)) = cause.downcast_ref() {
            failures = several.iter().flat_map(explain).collect();
            if lines.is_empty() {
                continue;
            }
        }
        lines.push(cause.to_string());
    }
    if hints.is_empty() {
        hints.extend(causes(error.as_ref()).find_map(advice));
    }
    let mut lines = lines.into_iter();
    let common = lines.next().map(|message| Explained { message, causes: lines.collect(), hints: Vec::new() });
    let mut all: Vec<Explained> = common.into_iter().chain(failures).collect();
    if let Some(last) = all.last_mut() {
        // An outer hint is more general than an inner one.
        last.hints.splice(0..0, hints);
        last.hints.dedup();
    }
    all
}

/// `error:`, `caused by:` and `hint:` lines, for stderr.
pub(crate) fn render(error: &anyhow::Error) -> String {
    explain(error).iter().map(Explained::lines).collect::<Vec<_>>().join("\n")
}

impl Explained {
    fn lines(&self) -> String {
        let [error, hint] = [AnsiColor::Red, AnsiColor::Green].map(|color| color.on_default().bold());
        let mut text = format!("{error}error:{error:#} {}\n", self.message);
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        for advice in &self.hints {
            let _ = writeln!(text, "{hint}hint:{hint:#} {advice}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// Without colours.
    fn plain(error: &anyhow::Error) -> String {
        anstream::adapter::strip_str(&render(error)).to_string()
    }

    #[test]
    fn causes_come_in_order_and_the_hint_last() {
        let result: Result<(), std::io::Error> = Err(std::io::Error::other("disk on fire"));
        let error = result.hint(|| "buy a new one").context("cannot write").unwrap_err();
        assert_eq!(plain(&error), "error: cannot write\n  caused by: disk on fire\nhint: buy a new one\n");
    }

    fn two_failures() -> anyhow::Error {
        let one = Err::<(), _>(std::io::Error::other("one")).hint(|| "first").unwrap_err();
        let two = anyhow::anyhow!("two");
        anyhow::Error::new(Failures(vec![one, two]))
    }

    #[test]
    fn every_failure_is_printed() {
        assert_eq!(plain(&two_failures()), "error: one\nhint: first\n\nerror: two\n");
    }

    #[test]
    fn several_failures_keep_the_context_above_and_the_hint_around() {
        let rest = "\nerror: one\nhint: first\n\nerror: two\nhint: for both\n";
        for error in [
            hinted(two_failures(), "for both".to_owned()).context("cannot do it"),
            hinted(two_failures().context("cannot do it"), "for both".to_owned()),
        ] {
            assert_eq!(plain(&error), format!("error: cannot do it\n  caused by: 2 failures\n{rest}"));
        }
        let within = anyhow::Error::new(Failures(vec![two_failures().context("inner"), anyhow::anyhow!("three")]));
        let expected =
            "error: inner\n  caused by: 2 failures\n\nerror: one\nhint: first\n\nerror: two\n\nerror: three\n";
        assert_eq!(plain(&within), expected);
    }

    #[test]
    fn hints_around_hints_are_all_kept() {
        let inner = hinted(anyhow::anyhow!("down").context("middle"), "inner".to_owned());
        let error = hinted(inner.context("top"), "outer".to_owned());
        assert_eq!(hints(&error), ["outer", "inner"]);
        assert_eq!(plain(&error), "error: top\n  caused by: middle\n  caused by: down\nhint: outer\nhint: inner\n");
    }

    #[test]
    fn an_error_type_is_found_below_hints_and_contexts() {
        let error = anyhow::anyhow!("x").context(Ended::Difference("y".into()));
        let error = hinted(error.context("z"), "a".to_owned()).context("b");
        assert!(is::<Ended>(&error) && !is::<Failures>(&error));
    }

    #[test]
    fn a_difference_and_a_failure_have_different_exit_codes() {
        assert_eq!(exit_code(&anyhow::anyhow!("x")), 1);
        assert_eq!(exit_code(&Ended::Difference("x".into()).into()), 3);
        assert_eq!(exit_code(&hinted(Ended::Difference("x".into()), "y").context("z")), 3);
        for (signal, code) in [(Signal::Hangup, 129), (Signal::Interrupt, 130), (Signal::Terminate, 143)] {
            let ended = Ended::Interrupted { signal, left: String::new() };
            assert_eq!(exit_code(&anyhow::Error::new(ended).context("bump")), code);
        }
    }
}
