//! The machine of a benchmark, and how much its other processes use it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

/// How often the load is checked, and how often in a row it must be low.
const LOOK: Duration = Duration::from_secs(1);
const LOOKS: u32 = 3;
/// Timeout of waiting for an idle machine.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Processor seconds of the engine per start that do not count as a disturbance: the engine counts as another process,
/// and has a large share of a short start.
const ENGINE: f64 = 0.5;

/// The machine's description, from its kernel.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// The version of the Docker engine.
    pub(crate) engine: String,
}

impl Machine {
    pub(crate) fn this(engine: String) -> Self {
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory = memory.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            // The kernels of some architectures report no model name.
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or(std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory.unwrap_or_default() * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            engine,
        }
    }

    pub(crate) fn line(&self) -> String {
        let memory = crate::domain::size::mebibytes(self.memory_bytes);
        format!("{} cores of {}, {memory}, Linux {}, Docker {}", self.cores, self.processor, self.kernel, self.engine)
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Processor time of all cores since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    busy: u64,
    all: u64,
}

impl Ticks {
    pub(crate) fn now() -> Option<Self> {
        Self::parse(&fs_err::read_to_string("/proc/stat").ok()?)
    }

    /// Parses the first line of `/proc/stat`: user, nice, system, idle, iowait and so on. User includes the time of
    /// guests.
    fn parse(stat: &str) -> Option<Self> {
        let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
        let fields: Vec<u64> = fields.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
        let all: u64 = fields.iter().sum();
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        Some(Self { busy: all - idle, all })
    }

    fn busy_share(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = self.busy.checked_sub(before.busy)?;
        #[expect(clippy::cast_precision_loss, reason = "ticks of minutes fit")]
        Some(busy as f64 / all as f64)
    }

    /// Returns the share of the machine's time since `before` that processes outside of the container used, which
    /// include the engine. `container` is the container's processor time in seconds.
    pub(crate) fn others(self, before: Self, container: f64, cores: usize, elapsed: f64) -> Option<f64> {
        Some((self.busy_share(before)? - container / (elapsed * as_number(cores))).max(0.0))
    }
}

/// Waits until other processes use at most this share of the machine.
pub(crate) async fn wait_until_quiet(share: f64) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut quiet = 0;
    while quiet < LOOKS {
        if started.elapsed() > LONGEST_WAIT {
            bail!("this machine was not idle enough to measure on for {} minutes", LONGEST_WAIT.as_secs() / 60);
        }
        let unreadable = "/proc/stat of this machine cannot be read: measure without --others";
        let before = Ticks::now().context(unreadable)?;
        tokio::time::sleep(LOOK).await;
        let busy = Ticks::now().context(unreadable)?.busy_share(before);
        quiet = if busy.is_some_and(|busy| busy <= share) { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// Returns whether other processes used so much of the machine during a start that its time says little about the
/// image.
pub(crate) fn is_disturbed(others: f64, limit: f64, seconds: f64, cores: usize) -> bool {
    others > limit + ENGINE / (seconds * as_number(cores))
}

fn as_number(cores: usize) -> f64 {
    u32::try_from(cores).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_time_does_not_count_as_others() {
        let before = Ticks::parse("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2\n").unwrap();
        let after = Ticks::parse("cpu  900 0 200 1800 100 0 0 0 900 0\n").unwrap();
        assert_eq!(after, Ticks { busy: 1100, all: 3000 });
        // 20 s of two cores, 45 % busy. The container's 10 s are a quarter of all time.
        let others = after.others(before, 10.0, 2, 20.0).unwrap();
        assert!((others - 0.2).abs() < 1e-9, "{others}");
        assert_eq!(Ticks::parse("intr 5"), None);
    }

    #[test]
    fn the_engines_share_of_a_short_start_is_no_disturbance() {
        assert!(!is_disturbed(0.3, 0.1, 1.0, 2));
        assert!(is_disturbed(0.3, 0.1, 10.0, 2));
    }

    #[test]
    fn a_field_is_found_with_any_whitespace_before_its_colon() {
        let processor = field("vendor_id\t: x\nmodel name\t: Some CPU @ 2 GHz\n", "model name");
        assert_eq!(processor.unwrap(), "Some CPU @ 2 GHz");
        assert_eq!(field("MemTotal:  100 kB\n", "MemTotal").unwrap(), "100 kB");
    }
}
