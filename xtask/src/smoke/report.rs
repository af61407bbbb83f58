//! The results of the checks: printed on stderr as they run, as a table and as JSON at the end.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::engine::container::Container;
use crate::error::Failures;
use crate::io::say;
use crate::io::steps::{self, Outcome, Step};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) image: String,
    pub(crate) checks: Vec<Step>,
    #[serde(skip)]
    group: &'static str,
}

impl Report {
    pub(super) fn new(image: &str) -> Self {
        Self { image: image.to_owned(), checks: Vec::new(), group: "" }
    }

    /// Sets the group of the following checks.
    pub(super) fn group(&mut self, group: &'static str) {
        self.group = group;
    }

    /// Runs one check, for at most `limit` seconds, and returns its value for later ones. `detail` summarizes the value
    /// in a line.
    pub(super) async fn check<T>(
        &mut self,
        name: &str,
        limit: u64,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let started = Instant::now();
        let result = tokio::time::timeout(Duration::from_secs(limit), work)
            .await
            .with_context(|| format!("it took longer than {limit} s"))
            .flatten();
        let (outcome, detail) = match &result {
            Ok(value) => (Outcome::Done, detail(value)),
            Err(error) => (Outcome::Failed, reasons(error)),
        };
        self.push(name, outcome, started.elapsed().as_secs_f64(), detail);
        result.ok()
    }

    /// Like [`check`](Self::check), for a check that returns its own summary, too.
    pub(super) async fn keep<T>(
        &mut self,
        name: &str,
        limit: u64,
        work: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> Option<T> {
        Some(self.check(name, limit, work, |(_, summary)| summary.clone()).await?.0)
    }

    /// The same, for a check that returns its own summary only.
    pub(super) async fn see(
        &mut self,
        name: &str,
        limit: u64,
        work: impl Future<Output = anyhow::Result<String>>,
    ) -> bool {
        self.check(name, limit, work, String::clone).await.is_some()
    }

    /// Records a skipped check, and what it needs.
    pub(super) fn skip(&mut self, name: &str, why: &str) {
        self.push(name, Outcome::Skipped, 0.0, why.to_owned());
    }

    /// Records a skipped check as a failure, because it was required.
    pub(super) fn miss(&mut self, name: &str, why: &str) {
        self.push(name, Outcome::Failed, 0.0, why.to_owned());
    }

    fn push(&mut self, name: &str, outcome: Outcome, seconds: f64, detail: String) {
        let check = Step { group: self.group, name: name.to_owned(), outcome, seconds, detail };
        say(&check.cells().join("  "));
        self.checks.push(check);
    }

    /// Writes the container's logs to a file if a check failed.
    pub(super) async fn keep_log(&self, container: &Container, file: &Path) {
        if self.failed().next().is_none() {
            return;
        }
        let kept = container.logs().await.and_then(|logs| Ok(fs_err::write(file, logs)?));
        match kept {
            Ok(()) => say(&format!("the container's logs are in {}", file.display())),
            Err(error) => say(&format!("the container's logs could not be written: {}", reasons(&error))),
        }
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = &Step> {
        self.checks.iter().filter(|check| check.outcome == Outcome::Failed)
    }

    /// A line per check, and a summary.
    pub(crate) fn table(&self) -> String {
        format!("{}\n{}", steps::table(&self.checks), self.summary())
    }

    pub(crate) fn summary(&self) -> String {
        let count = |outcome| self.checks.iter().filter(|check| check.outcome == outcome).count();
        let (done, failed, skipped) = (count(Outcome::Done), count(Outcome::Failed), count(Outcome::Skipped));
        format!("{done} passed, {failed} failed, {skipped} skipped")
    }

    /// Returns an error with all failed checks.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let failed: Vec<anyhow::Error> =
            self.failed().map(|check| anyhow::anyhow!("{}", check.detail).context(check.title())).collect();
        if failed.is_empty() { Ok(()) } else { Err(Failures(failed).into()) }
    }
}

/// Joins an error and its causes into one line, for the table.
fn reasons(error: &anyhow::Error) -> String {
    let all = match error.downcast_ref::<Failures>() {
        Some(Failures(failures)) => failures.iter().map(reasons).collect::<Vec<_>>().join("; "),
        None => format!("{error:#}"),
    };
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn failures_and_timeouts_are_reported_and_later_checks_run() {
        let mut report = Report::new("i");
        report.group("g");
        assert!(report.see("good", 5, async { Ok("seen".to_owned()) }).await);
        let bad = async { Err(anyhow::anyhow!("a\n b").context("outer")) };
        assert!(!report.see("bad", 5, bad).await);
        assert!(!report.see("slow", 0, std::future::pending()).await);
        let both = Failures(vec![anyhow::anyhow!("one"), anyhow::anyhow!("two")]);
        assert!(!report.see("both", 5, async { Err(both.into()) }).await);
        report.skip("other", "needs x");
        let failed: Vec<String> = report.failed().map(|check| format!("{} {}", check.title(), check.detail)).collect();
        let slow = "g: slow it took longer than 0 s: deadline has elapsed";
        assert_eq!(failed, ["g: bad outer: a b", slow, "g: both one; two"]);
        let table = report.table();
        assert!(table.starts_with("ok       g: good "), "{table}");
        assert!(table.ends_with("\n1 passed, 3 failed, 1 skipped"), "{table}");
    }
}
