//! How a failure reads: what failed, why, and what to type next.

use std::fmt::{self, Write as _};

/// An error with a hint beneath it. The hint is kept apart from the message, so that it is printed once
/// and last, whatever context is put around the error on its way up.
#[derive(Debug)]
pub(crate) struct Hinted {
    error: anyhow::Error,
    hint: String,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

pub(crate) trait HintExt<T> {
    /// Adds what to type next.
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| hinted(error, hint()))
    }
}

/// An error with a hint under it.
pub(crate) fn hinted(error: impl Into<anyhow::Error>, hint: String) -> anyhow::Error {
    anyhow::Error::new(Hinted { error: error.into(), hint })
}

/// Why a command ended without doing what it was asked, where that is no plain failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// A check found a difference; it has been printed already.
    #[error("{0}")]
    Difference(String),
    /// The person pressed Ctrl-C, or the machine asked us to stop.
    #[error("interrupted; nothing was changed")]
    Interrupted,
}

/// The exit codes, as the README documents them (2, a wrong command line, is clap's).
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Ended>() {
        Some(Ended::Difference(_)) => 3,
        Some(Ended::Interrupted) => 130,
        None => 1,
    }
}

/// Several failures of one command, each with its own causes.
#[derive(Debug)]
pub(crate) struct Failures(pub(crate) Vec<anyhow::Error>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failures", self.0.len())
    }
}

impl std::error::Error for Failures {}

/// What to type next, as the hints in an error say.
pub(crate) fn hints(error: &anyhow::Error) -> Vec<&str> {
    error.chain().filter_map(|cause| cause.downcast_ref::<Hinted>()).map(|hinted| hinted.hint.as_str()).collect()
}

/// `error:`, `caused by:` and `hint:` lines, for stderr.
pub(crate) fn render(error: &anyhow::Error) -> String {
    if let Some(Failures(failures)) = error.downcast_ref::<Failures>() {
        return failures.iter().map(render).collect::<Vec<_>>().join("\n");
    }
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        let _ = writeln!(text, "  caused by: {cause}");
    }
    for hint in hints(error) {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_come_in_order_and_the_hint_last() {
        let result: Result<(), std::io::Error> = Err(std::io::Error::other("disk on fire"));
        let error = result.hint(|| "buy a new one".to_owned()).context("cannot write").unwrap_err();
        assert_eq!(render(&error), "error: cannot write\n  caused by: disk on fire\nhint: buy a new one\n");
    }

    #[test]
    fn several_failures_are_all_told() {
        let one = Err::<(), _>(std::io::Error::other("one")).hint(|| "first".to_owned()).unwrap_err();
        let two = anyhow::anyhow!("two");
        let all = anyhow::Error::new(Failures(vec![one, two]));
        assert_eq!(render(&all), "error: one\nhint: first\n\nerror: two\n");
    }

    #[test]
    fn exit_codes_tell_a_difference_from_a_failure() {
        assert_eq!(exit_code(&anyhow::anyhow!("x")), 1);
        assert_eq!(exit_code(&Ended::Difference("x".into()).into()), 3);
        assert_eq!(exit_code(&anyhow::Error::new(Ended::Interrupted).context("bump")), 130);
    }
}
