//! How old a version must be before `bump` takes it by itself: one rule for every kind of source.

use chrono::{DateTime, TimeDelta, Utc};

use super::stack::Component;

/// Without `minimum_age_days` in `stack.toml`.
const DEFAULT: TimeDelta = TimeDelta::hours(24);
/// How far the clocks of two machines may differ.
const SKEW: TimeDelta = TimeDelta::minutes(15);

/// The time that ages are measured against in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// When the command was started.
    pub(crate) now: DateTime<Utc>,
    /// `--now`: no minimum age applies.
    pub(crate) waived: bool,
}

impl Clock {
    pub(crate) fn minimum(self, component: &Component) -> TimeDelta {
        if self.waived {
            return TimeDelta::zero();
        }
        component.minimum_age_days.map_or(DEFAULT, |days| TimeDelta::days(days.into()))
    }

    /// Why a version is too fresh, by a publication time that can be trusted.
    pub(crate) fn too_fresh(self, component: &Component, published: DateTime<Utc>) -> Option<String> {
        self.judged(component, published, "out")
    }

    /// The same for upstreams without a trustworthy publication time, by when it was first seen here.
    pub(crate) fn too_new_here(self, component: &Component, seen: DateTime<Utc>) -> Option<String> {
        self.judged(component, seen, "seen")
    }

    fn judged(self, component: &Component, since: DateTime<Utc>, verb: &str) -> Option<String> {
        let age = self.now - since;
        let minimum = self.minimum(component);
        // If it has to wait anyway, a time later today is harmless.
        let skew = if minimum.is_zero() { SKEW } else { TimeDelta::days(1) };
        if age < -skew {
            return Some(format!("dated {}, which lies in the future", since.format("%Y-%m-%d %H:%M UTC")));
        }
        if age >= minimum || minimum.is_zero() {
            return None;
        }
        let age = age.max(TimeDelta::zero());
        Some(if minimum <= TimeDelta::days(2) {
            format!("{verb} for {} of {} hours", age.num_hours(), minimum.num_hours())
        } else {
            format!("{verb} for {} of the {} days in stack.toml", age.num_days(), minimum.num_days())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::stack::Stack;

    fn component(days: Option<u32>) -> Component {
        let stack = Stack::parse(include_str!("../../../stack.toml")).unwrap();
        Component { minimum_age_days: days, ..stack.component("bun").unwrap().clone() }
    }

    #[test]
    fn the_minimum_age_is_a_day_or_what_the_stack_says() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let clock = Clock { now, waived: false };
        let reason = |days, minutes| clock.too_fresh(&component(days), now - TimeDelta::minutes(minutes));
        assert_eq!(reason(None, 23 * 60).as_deref(), Some("out for 23 of 24 hours"));
        assert_eq!(reason(None, 24 * 60), None);
        assert_eq!(reason(Some(7), 24 * 60).as_deref(), Some("out for 1 of the 7 days in stack.toml"));
        assert_eq!(reason(Some(7), 7 * 24 * 60), None);
        let waived = Clock { now, waived: true };
        assert_eq!(waived.too_fresh(&component(Some(7)), now), None);
    }

    #[test]
    fn clocks_may_differ_by_minutes_but_not_by_a_century() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for clock in [Clock { now, waived: false }, Clock { now, waived: true }] {
            assert_eq!(clock.too_fresh(&component(Some(0)), now + TimeDelta::minutes(10)), None);
            let future = clock.too_fresh(&component(Some(0)), now + TimeDelta::days(36_500));
            assert!(future.is_some_and(|reason| reason.contains("lies in the future")));
        }
    }
}
