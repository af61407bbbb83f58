//! The figures as a table, with the goals that they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::figures::Spread;
use super::machine::Machine;
use super::memory::Memory;
use super::size::{Sizes, ratio};
use super::start::{Timed, Way};
use crate::domain::size::mebibytes;
use crate::domain::stack::Stack;
use crate::io;

/// The limits of docs/benchmarks.md.
const WITHIN_SLOWEST: f64 = 1.2;
const AGAIN: f64 = 1.0;
const STOPPED_WITHIN: f64 = 3.0;
const WITHIN_ARTIFACTS: f64 = 1.15;

/// Figures of an idle container that was then stopped.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) stop_seconds: f64,
    pub(crate) memory: BTreeMap<String, Memory>,
}

/// All figures of a benchmark.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) starts: Vec<Timed>,
    pub(super) idle: Vec<Idle>,
    /// The number of starts that were repeated because other processes used too much of the machine.
    pub(super) repeated: u32,
}

#[derive(Debug, Serialize)]
struct Aim {
    what: &'static str,
    limit: f64,
    measured: f64,
    met: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    image: Option<String>,
    machine: Option<Machine>,
    aims: Vec<Aim>,
    /// The start of all together, relative to the slowest service alone and to one after the other, by round.
    against_slowest: Option<Spread>,
    slowest: Option<String>,
    one_after_the_other: Option<Spread>,
    ways: Vec<Summary>,
    /// Time until each service was ready when all start together.
    ready: BTreeMap<String, Spread>,
    memory: Vec<Share>,
    stop: Option<Spread>,
    sizes: Option<Sizes>,
    starts: Vec<Timed>,
    idle: Vec<Idle>,
    repeated: u32,
    #[serde(skip)]
    company: BTreeMap<String, String>,
}

/// All runs of one way to start.
#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    way: Way,
    seconds: Spread,
    cpu_seconds: Option<Spread>,
    others: Option<Spread>,
}

/// The memory of one service, in bytes.
#[derive(Debug, Serialize)]
struct Share {
    service: String,
    processes: usize,
    pss: Spread,
    anonymous: Spread,
}

impl Figures {
    pub(super) fn new(
        stack: &Stack,
        running: Option<(Machine, String)>,
        sizes: Option<Sizes>,
        measured: Measured,
    ) -> Self {
        let Measured { starts, idle, repeated } = measured;
        let (machine, image) = running.unzip();
        let mut report = Self {
            image,
            machine,
            aims: Vec::new(),
            against_slowest: None,
            slowest: None,
            one_after_the_other: None,
            ways: summaries(&starts),
            ready: ready(&starts),
            memory: shares(&idle),
            stop: Spread::of(idle.iter().map(|idle| idle.stop_seconds)),
            sizes,
            starts,
            idle,
            repeated,
            company: company(stack),
        };
        report.compare();
        report
    }

    /// Sets the ratios and compares them with the goals. A ratio is computed within each round, whose runs are close in
    /// time; the median of the rounds counts.
    fn compare(&mut self) {
        let of = |way: &Way| -> Vec<f64> {
            self.starts.iter().filter(|timed| timed.way == *way).map(|timed| timed.seconds).collect()
        };
        let alone = self.ways.iter().filter(|summary| matches!(summary.way, Way::Alone(_)));
        let slowest = alone.max_by(|a, b| a.seconds.median.total_cmp(&b.seconds.median));
        let ratios =
            |over: &Way, under: &Way| Spread::of(of(over).into_iter().zip(of(under)).map(|(over, under)| over / under));
        let against_slowest = slowest.and_then(|slowest| ratios(&Way::Together, &slowest.way));
        self.slowest = slowest.map(|slowest| slowest.way.to_string());
        self.one_after_the_other = ratios(&Way::OneAfterTheOther, &Way::Together);
        self.against_slowest = against_slowest;
        let measured = [
            ("start, of the slowest service's alone", WITHIN_SLOWEST, against_slowest.map(|spread| spread.median)),
            ("second start, of the first", AGAIN, ratios(&Way::Again, &Way::Together).map(|spread| spread.median)),
            ("seconds to stop when idle", STOPPED_WITHIN, self.stop.map(|stop| stop.median)),
            ("image, of its compressed artifacts", WITHIN_ARTIFACTS, self.sizes.as_ref().map(Sizes::ratio)),
        ];
        let aim = |(what, limit, measured): (&'static str, f64, Option<f64>)| {
            measured.map(|measured| Aim { what, limit, measured, met: measured <= limit })
        };
        self.aims = measured.into_iter().filter_map(aim).collect();
    }

    pub(crate) fn table(&self) -> String {
        let mut parts = vec![self.head(), self.starts_table(), self.memory_table(), self.sizes_table()];
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    }

    fn head(&self) -> String {
        let mut lines = Vec::new();
        if let (Some(image), Some(machine)) = (&self.image, &self.machine) {
            lines.push(format!("{image} on {}", machine.line()));
        }
        for aim in &self.aims {
            let verdict = if aim.met { "met   " } else { "MISSED" };
            lines.push(format!("{verdict}  {:38}  {:.2}, the aim is {:.2}", aim.what, aim.measured, aim.limit));
        }
        if let (Some(spread), Some(slowest)) = (&self.against_slowest, &self.slowest) {
            lines.push(format!("all together take {} of {slowest}", spread.ratio()));
        }
        if self.repeated > 0 {
            lines.push(format!(
                "{} starts were repeated because other processes used too much of the machine",
                self.repeated
            ));
        }
        if let Some(spread) = &self.one_after_the_other {
            lines.push(format!("one after the other takes {} of all together", spread.ratio()));
        }
        lines.join("\n")
    }

    fn starts_table(&self) -> String {
        let mut rows = Vec::new();
        for summary in &self.ways {
            let company = match &summary.way {
                Way::Alone(service) => self.company.get(service).map(String::as_str).unwrap_or_default(),
                Way::Together | Way::Again | Way::OneAfterTheOther => "",
            };
            let cpu = summary.cpu_seconds.map_or("?".to_owned(), |cpu| format!("{:.1} s", cpu.median));
            let others = summary.others.map_or("?".to_owned(), |share| format!("{:.0} %", share.most * 100.0));
            rows.push([format!("{}{company}", summary.way), summary.seconds.seconds(), cpu, others]);
        }
        let starts = columns(["from `docker run` to ready", "seconds", "processor", "others, at most"], rows);
        let rows = self.ready.iter().map(|(service, spread)| [service.clone(), spread.seconds()]).collect();
        let ready = columns(["ready when all start together", "seconds"], rows);
        [starts, ready].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    fn memory_table(&self) -> String {
        let row = |share: &Share| {
            let processes = share.processes.to_string();
            [share.service.clone(), share.pss.mebibytes(), share.anonymous.mebibytes(), processes]
        };
        let table = columns(
            ["memory when idle", "proportional share (PSS)", "of it without a file", "processes"],
            self.memory.iter().map(row).collect(),
        );
        match &self.stop {
            Some(stop) => format!("{table}\n\nstopped in {}", stop.seconds()),
            None => table,
        }
    }

    fn sizes_table(&self) -> String {
        let Some(sizes) = &self.sizes else { return String::new() };
        let mut rows: Vec<[String; 5]> = Vec::new();
        for row in &sizes.rows {
            let artifacts = row.artifacts.map_or("-".to_owned(), mebibytes);
            let of = row.artifacts.map_or("-".to_owned(), |size| format!("{:.2}x", ratio(row.layer, size)));
            rows.push([row.component.clone(), mebibytes(row.layer), artifacts, of, row.how.clone()]);
        }
        let (compared, artifacts) = (mebibytes(sizes.compared), mebibytes(sizes.artifacts));
        let what = if sizes.compared == sizes.image { "image" } else { "image, of what is known" };
        rows.push([what.to_owned(), compared, artifacts, format!("{:.2}x", sizes.ratio()), sizes.digest.clone()]);
        columns([&format!("layers ({})", sizes.arch), "compressed", "artifacts", "ratio", "artifacts' size"], rows)
    }
}

/// One run, as a line of progress.
pub(super) fn line(timed: &Timed) -> String {
    let others = timed.others.map_or(String::new(), |share| format!("  others {:.0} %", share * 100.0));
    format!("{:26}  {:6.1} s{others}", timed.way, timed.seconds)
}

fn summaries(starts: &[Timed]) -> Vec<Summary> {
    let ways: BTreeSet<&Way> = starts.iter().map(|timed| &timed.way).collect();
    let summary = |way: &Way| {
        let all = || starts.iter().filter(|timed| timed.way == *way);
        Some(Summary {
            way: way.clone(),
            seconds: Spread::of(all().map(|timed| timed.seconds))?,
            cpu_seconds: Spread::of(all().filter_map(|timed| timed.cpu_seconds)),
            others: Spread::of(all().filter_map(|timed| timed.others)),
        })
    };
    let mut summaries: Vec<Summary> = ways.into_iter().filter_map(summary).collect();
    // Services by their time, after both ways of starting all of them.
    let is_alone = |summary: &Summary| matches!(summary.way, Way::Alone(_));
    summaries.sort_by(|a, b| is_alone(a).cmp(&is_alone(b)).then_with(|| b.seconds.median.total_cmp(&a.seconds.median)));
    summaries
}

fn ready(starts: &[Timed]) -> BTreeMap<String, Spread> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for timed in starts.iter().filter(|timed| timed.way == Way::Together) {
        for (service, seconds) in &timed.ready {
            all.entry(service.clone()).or_default().push(*seconds);
        }
    }
    all.into_iter().filter_map(|(service, seconds)| Some((service, Spread::of(seconds)?))).collect()
}

/// The largest first, and a line with the sum.
fn shares(idle: &[Idle]) -> Vec<Share> {
    let services: BTreeSet<&String> = idle.iter().flat_map(|idle| idle.memory.keys()).collect();
    #[expect(clippy::cast_precision_loss, reason = "sizes of memory fit")]
    let share = |service: &str, of: &dyn Fn(&Idle) -> Option<Memory>| {
        let all: Vec<Memory> = idle.iter().filter_map(of).collect();
        Some(Share {
            service: service.to_owned(),
            processes: all.last()?.processes,
            pss: Spread::of(all.iter().map(|memory| memory.pss as f64))?,
            anonymous: Spread::of(all.iter().map(|memory| memory.anonymous as f64))?,
        })
    };
    let one = |service: &&String| share(service, &|idle| idle.memory.get(service.as_str()).copied());
    let mut shares: Vec<Share> = services.iter().filter_map(one).collect();
    shares.sort_by(|a, b| b.pss.median.total_cmp(&a.pss.median));
    let sum = |idle: &Idle| {
        Some(idle.memory.values().fold(Memory::default(), |sum, memory| Memory {
            processes: sum.processes + memory.processes,
            pss: sum.pss + memory.pss,
            anonymous: sum.anonymous + memory.anonymous,
        }))
    };
    shares.extend(share("all", &sum));
    shares
}

/// ` (with convex)` for services that cannot run alone.
fn company(stack: &Stack) -> BTreeMap<String, String> {
    let with = |service: &crate::domain::service::Service| {
        let needed: Vec<&str> = service.requires().collect();
        (!needed.is_empty()).then(|| (service.name.clone(), format!(" (with {})", needed.join(", "))))
    };
    stack.services.iter().filter_map(with).collect()
}

/// Aligned columns; empty without rows.
fn columns<const N: usize>(titles: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    io::columns(std::iter::once(titles.map(str::to_owned)).chain(rows).collect()).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(way: Way, seconds: f64) -> Timed {
        let ready = BTreeMap::from([("openclaw".to_owned(), seconds)]);
        Timed { way, seconds, ready, cpu_seconds: Some(2.0 * seconds), others: None }
    }

    fn report(together: [f64; 3]) -> Figures {
        let stack = Stack::parse(include_str!("../../../stack.toml")).unwrap();
        let mut starts: Vec<Timed> = together.map(|seconds| timed(Way::Together, seconds)).into();
        starts.extend([20.0, 25.0, 30.0].map(|seconds| timed(Way::Alone("openclaw".into()), seconds)));
        starts.extend([3.0, 3.0, 3.0].map(|seconds| timed(Way::Alone("manager".into()), seconds)));
        starts.extend([50.0, 50.0, 60.0].map(|seconds| timed(Way::OneAfterTheOther, seconds)));
        let memory = |pss: u64| Memory { processes: 2, pss: pss << 20, anonymous: pss << 19 };
        let idle = |pss, stop_seconds| Idle {
            stop_seconds,
            memory: BTreeMap::from([("openclaw".to_owned(), memory(pss)), ("supervision".to_owned(), memory(1))]),
        };
        let idle = vec![idle(500, 0.5), idle(600, 3.5), idle(510, 0.6)];
        Figures::new(&stack, None, None, Measured { starts, idle, repeated: 0 })
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let report = report([22.0, 25.0, 36.0]);
        assert_eq!(report.slowest.as_deref(), Some("openclaw alone"));
        assert_eq!(report.against_slowest.unwrap().ratio(), "1.10x (1.00 to 1.20)");
        let met: Vec<bool> = report.aims.iter().map(|aim| aim.met).collect();
        assert_eq!(met, [true, true]);
        assert!(report.table().contains("manager alone (with opencode)  3.0 s (3.0 to 3.0)"), "{}", report.table());
    }

    #[test]
    fn a_missed_goal_is_reported() {
        let report = report([30.0, 35.0, 40.0]);
        assert!(report.table().starts_with("MISSED  start"), "{}", report.table());
    }

    #[test]
    fn memory_is_listed_from_the_largest_with_its_sum() {
        let report = report([22.0, 25.0, 36.0]);
        let services: Vec<&str> = report.memory.iter().map(|share| share.service.as_str()).collect();
        assert_eq!(services, ["openclaw", "supervision", "all"]);
        assert_eq!(report.memory[2].pss.mebibytes(), "511 MiB (501 to 601)");
        assert_eq!(report.memory[2].processes, 4);
    }
}
