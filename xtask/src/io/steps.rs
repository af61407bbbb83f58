//! The steps of a long command: told as they go on stderr, and as a table at the end.

use std::time::Instant;

use serde::Serialize;

use super::{ending, say};

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
pub(crate) struct Steps {
    steps: Vec<Step>,
    #[serde(skip)]
    lasting: bool,
}

impl Steps {
    /// Steps that outlive this process: an interruption tells which were done.
    pub(crate) fn lasting() -> Self {
        Self { lasting: true, ..Self::default() }
    }

    /// Runs one step and records how it ended. `detail` tells its result in a line.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        say(&format!("{name} ..."));
        let started = Instant::now();
        let begun = self.lasting.then(|| ending::begin(name));
        let result = work.await;
        if let Some(begun) = begun {
            begun.done();
        }
        let (outcome, detail) = match &result {
            Ok(value) => (Outcome::Done, detail(value)),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        self.steps.push(Step { name: name.to_owned(), outcome, seconds: started.elapsed().as_secs_f64(), detail });
        result
    }

    /// Records what was left out, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        self.steps.push(Step {
            name: name.to_owned(),
            outcome: Outcome::Skipped,
            seconds: 0.0,
            detail: why.to_owned(),
        });
    }

    pub(crate) fn skipped(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Skipped)
    }

    /// The table: a line a step.
    pub(crate) fn table(&self) -> String {
        let width = self.steps.iter().map(|step| step.name.len()).max().unwrap_or_default();
        let line = |step: &Step| {
            let outcome = match step.outcome {
                Outcome::Done => "ok     ",
                Outcome::Failed => "FAILED ",
                Outcome::Skipped => "skipped",
            };
            format!("{:width$}  {outcome}  {:>7.1} s  {}", step.name, step.seconds, step.detail)
        };
        self.steps.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
