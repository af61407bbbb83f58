//! Median and range of the figures of several runs.

use serde::Serialize;

/// The spread of one measured value over several runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) runs: usize,
}

impl Spread {
    /// Returns `None` without values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, most, runs: values.len() })
    }

    /// `31.4 s (30.9 to 33.0)`.
    pub(crate) fn seconds(&self) -> String {
        format!("{:.1} s ({:.1} to {:.1})", self.median, self.least, self.most)
    }

    /// `1.18x (1.11 to 1.24)`.
    pub(crate) fn ratio(&self) -> String {
        format!("{:.2}x ({:.2} to {:.2})", self.median, self.least, self.most)
    }

    /// `412 MiB (409 to 420)`, of bytes.
    pub(crate) fn mebibytes(&self) -> String {
        const MEBI: f64 = 1_048_576.0;
        format!("{:.0} MiB ({:.0} to {:.0})", self.median / MEBI, self.least / MEBI, self.most / MEBI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_run_moves_the_range_and_not_the_median() {
        let spread = Spread::of([3.0, 90.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, least: 2.0, most: 90.0, runs: 3 });
        assert_eq!(spread.seconds(), "3.0 s (2.0 to 90.0)");
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().ratio(), "1.50x (1.00 to 2.00)");
        assert_eq!(Spread::of([]), None);
    }
}
