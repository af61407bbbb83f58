//! The steps of a long command: told as they go on stderr, and as a table at the end.

use std::time::Instant;

use serde::Serialize;

use super::say;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Done,
    Failed,
    /// Not tried, because something that it needs is not here.
    Skipped,
}

#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
    /// What came out of it, in a line.
    pub(crate) detail: String,
}

/// What has been done so far.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Steps(Vec<Step>);

impl Steps {
    /// Runs one step and records how it ended. `detail` tells its result in a line.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        say(&format!("{name} ..."));
        let started = Instant::now();
        let result = work.await;
        let (outcome, detail) = match &result {
            Ok(value) => (Outcome::Done, detail(value)),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        self.0.push(Step { name: name.to_owned(), outcome, seconds: started.elapsed().as_secs_f64(), detail });
        result
    }

    /// Records what was left out, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.0.push(Step { name: name.to_owned(), outcome: Outcome::Skipped, seconds: 0.0, detail: why.to_owned() });
    }

    pub(crate) fn skipped(&self) -> bool {
        self.0.iter().any(|step| step.outcome == Outcome::Skipped)
    }

    /// The table: a line a step.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|step| step.name.len()).max().unwrap_or_default();
        let line = |step: &Step| {
            let outcome = match step.outcome {
                Outcome::Done => "ok     ",
                Outcome::Failed => "FAILED ",
                Outcome::Skipped => "skipped",
            };
            format!("{:width$}  {outcome}  {:>7.1} s  {}", step.name, step.seconds, step.detail)
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
