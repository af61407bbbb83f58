//! The figures as a table, with the goals that they are compared with.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::figures::Spread;
use super::machine::Machine;
use super::memory::Memory;
use super::size::{Sizes, ratio};
use super::start::{Timed, Way};
use crate::domain::service::Service;
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

/// The figures of an image that was started.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Measured {
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
    #[serde(flatten)]
    measured: Measured,
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
    /// Computes all figures, and compares them with the goals. A ratio is computed within each round, whose runs are close
    /// in time; the median of the rounds counts.
    pub(crate) fn new(
        stack: &Stack,
        running: Option<(Machine, String)>,
        sizes: Option<Sizes>,
        measured: Measured,
    ) -> Self {
        let (machine, image) = running.unzip();
        let Measured { starts, idle, .. } = &measured;
        let ways = summaries(starts);
        let alone = ways.iter().filter(|summary| matches!(summary.way, Way::Alone(_)));
        let slowest = alone.max_by(|a, b| a.seconds.median.total_cmp(&b.seconds.median));
        let of = |way: &Way| -> Vec<f64> {
            starts.iter().filter(|timed| timed.way == *way).map(|timed| timed.seconds).collect()
        };
        let ratios =
            |over: &Way, under: &Way| Spread::of(of(over).into_iter().zip(of(under)).map(|(over, under)| over / under));
        let against_slowest = slowest.and_then(|slowest| ratios(&Way::Together, &slowest.way));
        let again = ratios(&Way::Again, &Way::Together);
        let stop = Spread::of(idle.iter().map(|idle| idle.stop_seconds));
        let aims = [
            ("start, of the slowest service's alone", WITHIN_SLOWEST, against_slowest.map(|spread| spread.median)),
            ("second start, of the first", AGAIN, again.map(|spread| spread.median)),
            ("seconds to stop when idle", STOPPED_WITHIN, stop.map(|spread| spread.median)),
            ("image, of its compressed artifacts", WITHIN_ARTIFACTS, sizes.as_ref().map(Sizes::ratio)),
        ];
        let aim = |(what, limit, measured): (&'static str, f64, Option<f64>)| {
            measured.map(|measured| Aim { what, limit, measured, met: measured <= limit })
        };
        Self {
            image,
            machine,
            aims: aims.into_iter().filter_map(aim).collect(),
            against_slowest,
            slowest: slowest.map(|slowest| slowest.way.to_string()),
            one_after_the_other: ratios(&Way::OneAfterTheOther, &Way::Together),
            ways,
            ready: ready(starts),
            memory: shares(idle),
            stop,
            sizes,
            measured,
            company: company(stack),
        }
    }

    pub(crate) fn table(&self) -> String {
        let ready = self.ready.iter().map(|(service, spread)| [service.clone(), spread.seconds()]).collect();
        let mut parts = vec![
            self.head(),
            self.starts_table(),
            columns(["ready when all start together", "seconds"], ready),
            self.memory_table(),
            self.stop.map_or(String::new(), |stop| format!("stopped in {}", stop.seconds())),
            self.sizes_table(),
        ];
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
        let repeated = self.measured.repeated;
        if repeated > 0 {
            let why = "because other processes used too much of the machine";
            lines.push(format!("{repeated} starts were repeated {why}"));
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
        columns(["from `docker run` to ready", "seconds", "processor", "others, at most"], rows)
    }

    fn memory_table(&self) -> String {
        let row = |share: &Share| {
            let processes = share.processes.to_string();
            [share.service.clone(), share.pss.mebibytes(), share.anonymous.mebibytes(), processes]
        };
        let titles = ["memory when idle", "proportional share (PSS)", "of it without a file", "processes"];
        columns(titles, self.memory.iter().map(row).collect())
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
    #[expect(clippy::cast_precision_loss, reason = "sizes of memory fit")]
    let share = |service: &str, all: &[Memory]| {
        Some(Share {
            service: service.to_owned(),
            processes: all.last()?.processes,
            pss: Spread::of(all.iter().map(|memory| memory.pss as f64))?,
            anonymous: Spread::of(all.iter().map(|memory| memory.anonymous as f64))?,
        })
    };
    let mut services: BTreeMap<&str, Vec<Memory>> = BTreeMap::new();
    for (service, memory) in idle.iter().flat_map(|idle| &idle.memory) {
        services.entry(service).or_default().push(*memory);
    }
    let mut shares: Vec<Share> = services.iter().filter_map(|(service, all)| share(service, all)).collect();
    shares.sort_by(|a, b| b.pss.median.total_cmp(&a.pss.median));
    let sum = |sum: Memory, memory: &Memory| Memory {
        processes: sum.processes + memory.processes,
        pss: sum.pss + memory.pss,
        anonymous: sum.anonymous + memory.anonymous,
    };
    let sums: Vec<Memory> = idle.iter().map(|idle| idle.memory.values().fold(Memory::default(), sum)).collect();
    shares.extend(share("all", &sums));
    shares
}

/// ` (with convex)` for services that cannot run alone.
fn company(stack: &Stack) -> BTreeMap<String, String> {
    let with = |service: &Service| {
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
