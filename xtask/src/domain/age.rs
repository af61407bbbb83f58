//! How long a version must have been out before it is taken unasked: one rule for every kind of source.

use chrono::{DateTime, TimeDelta, Utc};

use super::stack::Component;

/// Where `stack.toml` says nothing.
const DEFAULT: TimeDelta = TimeDelta::hours(24);
/// Clocks of different machines differ by so much.
const SKEW: TimeDelta = TimeDelta::minutes(15);

/// What ages are measured by in one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// When the command was started.
    pub(crate) now: DateTime<Utc>,
    /// `--now`: whoever runs it waits for nothing this once.
    pub(crate) waived: bool,
}

impl Clock {
    pub(crate) fn minimum(self, component: &Component) -> TimeDelta {
        if self.waived {
            return TimeDelta::zero();
        }
        component.minimum_age_days.map_or(DEFAULT, |days| TimeDelta::days(days.into()))
    }

    /// Why something is too fresh that was published at a moment which its upstream vouches for.
    pub(crate) fn too_fresh(self, component: &Component, published: DateTime<Utc>) -> Option<String> {
        self.judged(component, published, "out")
    }

    /// The same where upstream tells no moment, or one that anybody can write: it counts from when we first saw it.
    pub(crate) fn too_new_here(self, component: &Component, seen: DateTime<Utc>) -> Option<String> {
        self.judged(component, seen, "seen")
    }

    fn judged(self, component: &Component, since: DateTime<Utc>, verb: &str) -> Option<String> {
        let age = self.now - since;
        let minimum = self.minimum(component);
        // What has to wait anyway may be of later today.
        let skew = if minimum.is_zero() { SKEW } else { TimeDelta::days(1) };
        if age < -skew {
            return Some(format!("dated {}, which lies in the future", since.format("%Y-%m-%d %H:%M UTC")));
        }
        if age >= minimum || minimum.is_zero() {
            return None;
        }
        let age = age.max(TimeDelta::zero());
        Some(if minimum <= TimeDelta::days(2) {
            format!("{verb} for {} of the {} hours that are waited", age.num_hours(), minimum.num_hours())
        } else {
            format!("{verb} for {} of the {} days that stack.toml waits", age.num_days(), minimum.num_days())
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
    fn a_version_waits_for_a_day_or_for_what_the_stack_says() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let clock = Clock { now, waived: false };
        let said = |days, minutes| clock.too_fresh(&component(days), now - TimeDelta::minutes(minutes));
        assert_eq!(said(None, 23 * 60).as_deref(), Some("out for 23 of the 24 hours that are waited"));
        assert_eq!(said(None, 24 * 60), None);
        assert_eq!(said(Some(7), 24 * 60).as_deref(), Some("out for 1 of the 7 days that stack.toml waits"));
        assert_eq!(said(Some(7), 7 * 24 * 60), None);
        let waived = Clock { now, waived: true };
        assert_eq!(waived.too_fresh(&component(Some(7)), now), None);
    }

    #[test]
    fn clocks_that_differ_by_minutes_are_no_reason_and_another_century_is() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        for clock in [Clock { now, waived: false }, Clock { now, waived: true }] {
            assert_eq!(clock.too_fresh(&component(Some(0)), now + TimeDelta::minutes(10)), None);
            let future = clock.too_fresh(&component(Some(0)), now + TimeDelta::days(36_500));
            assert!(future.is_some_and(|reason| reason.contains("lies in the future")));
        }
    }
}
