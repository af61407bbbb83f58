//! The steps of a long command: printed on stderr as they run, and as a table at the end.

use std::time::Instant;

use futures_util::future::join_all;
use serde::Serialize;

use super::{columns, ending, say};

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    Done,
    Failed,
    /// Not run, because a requirement is missing.
    Skipped,
}

#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// Its group, if there are groups.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
    /// A line: the result, the error, or the missing requirement.
    pub(crate) detail: String,
}

impl Step {
    pub(crate) fn title(&self) -> String {
        if self.group.is_empty() { self.name.clone() } else { format!("{}: {}", self.group, self.name) }
    }

    pub(crate) fn cells(&self) -> [String; 4] {
        let outcome = match self.outcome {
            Outcome::Done => "ok     ",
            Outcome::Failed => "FAILED ",
            Outcome::Skipped => "skipped",
        };
        [outcome.to_owned(), self.title(), format!("{:>6.1} s", self.seconds), self.detail.clone()]
    }
}

/// A line per step.
pub(crate) fn table(steps: &[Step]) -> String {
    columns(steps.iter().map(Step::cells).collect()).join("\n")
}

/// The steps so far.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Steps {
    steps: Vec<Step>,
    #[serde(skip)]
    lasting: bool,
}

impl Steps {
    /// Steps whose effects outlive this process: an interruption reports the finished ones.
    pub(crate) fn lasting() -> Self {
        Self { lasting: true, ..Self::default() }
    }

    /// Runs a step and records its result. `detail` summarizes its value in a line.
    pub(crate) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<T>>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<T> {
        let (step, result) = timed(name, self.lasting, work, detail).await;
        self.steps.push(step);
        result
    }

    /// Runs steps concurrently; each has its own row, time and result.
    pub(crate) async fn together<T>(
        &mut self,
        steps: impl IntoIterator<Item = (String, impl Future<Output = anyhow::Result<T>>)>,
        detail: impl Fn(&T) -> String + Copy,
    ) -> Vec<anyhow::Result<T>> {
        let lasting = self.lasting;
        let run = async |(name, work): (String, _)| timed(&name, lasting, work, detail).await;
        let (steps, results): (Vec<_>, Vec<_>) = join_all(steps.into_iter().map(run)).await.into_iter().unzip();
        self.steps.extend(steps);
        results
    }

    /// Records a skipped step, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        let (name, detail) = (name.to_owned(), why.to_owned());
        self.steps.push(Step { group: "", name, outcome: Outcome::Skipped, seconds: 0.0, detail });
    }

    pub(crate) fn skipped(&self) -> bool {
        self.steps.iter().any(|step| step.outcome == Outcome::Skipped)
    }

    pub(crate) fn table(&self) -> String {
        table(&self.steps)
    }
}

async fn timed<T>(
    name: &str,
    lasting: bool,
    work: impl Future<Output = anyhow::Result<T>>,
    detail: impl FnOnce(&T) -> String,
) -> (Step, anyhow::Result<T>) {
    say(&format!("{name} ..."));
    let started = Instant::now();
    let begun = lasting.then(|| ending::begin(name));
    let result = work.await;
    // A step that failed may be done in part: an interruption of another one reports it as not finished.
    if let (Some(begun), Ok(_)) = (begun, &result) {
        begun.done();
    }
    let (outcome, detail) = match &result {
        Ok(value) => (Outcome::Done, detail(value)),
        Err(error) => (Outcome::Failed, error.to_string()),
    };
    let seconds = started.elapsed().as_secs_f64();
    (Step { group: "", name: name.to_owned(), outcome, seconds, detail }, result)
}
