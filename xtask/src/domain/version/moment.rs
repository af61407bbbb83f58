//! Versions with a date: Convex's releases and Debian's snapshots.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _};

use crate::domain::digest::is_lower_hex;

/// `precompiled-YYYY-MM-DD-hash7`, from get-convex/convex-backend's precompile.yml with `date +%F` and
/// `git rev-parse --short HEAD`. One commit can have two days, and about a hundred tags name another commit than they
/// point to, so the hash does not identify the commit.
pub(super) fn precompiled(text: &str) -> Result<NaiveDate, &'static str> {
    let rest = text.strip_prefix("precompiled-").ok_or("it does not start with `precompiled-`")?;
    let (day, hash) = rest.rsplit_once('-').ok_or("the hash is missing")?;
    if !is_lower_hex(hash, 7) {
        return Err("the hash has not exactly seven lower-case hex digits");
    }
    date(day, "%Y-%m-%d").ok_or("its date is not in the calendar")
}

/// `YYYYMMDDTHHMMSSZ`, as in snapshot.debian.org.
pub(super) fn snapshot(text: &str) -> Result<NaiveDateTime, &'static str> {
    const CLOCK: &str = "%H%M%S";
    let (day, clock) =
        text.strip_suffix('Z').and_then(|rest| rest.split_once('T')).ok_or("the `T` or the final `Z` is missing")?;
    let day = compact_date(day).ok_or("its date is not in the calendar")?;
    let time = NaiveTime::parse_from_str(clock, CLOCK).ok();
    // chrono also accepts the second 60, as 59 with 1,000,000,000 nanoseconds.
    let time = time.filter(|time| time.nanosecond() == 0 && time.format(CLOCK).to_string() == clock);
    Ok(day.and_time(time.ok_or("its time is not on the clock")?))
}

/// `YYYYMMDD`, as in snapshots and in image tags.
pub(crate) fn compact_date(text: &str) -> Option<NaiveDate> {
    date(text, "%Y%m%d")
}

/// A date of a year with four digits, in its only spelling.
fn date(text: &str, format: &str) -> Option<NaiveDate> {
    let date = NaiveDate::parse_from_str(text, format).ok()?;
    ((0..=9999).contains(&date.year()) && date.format(format).to_string() == text).then_some(date)
}

#[cfg(test)]
mod tests {
    use crate::domain::version::Scheme;

    #[test]
    fn precompiled_sorts_by_day() {
        let parse = |text| Scheme::Precompiled.parse(text).unwrap();
        assert!(parse("precompiled-2026-06-30-ffffffe") < parse("precompiled-2026-07-01-0000001"));
        assert!(parse("precompiled-2026-08-21-652b828") < parse("precompiled-2026-08-22-652b828"));
        assert!(!parse("precompiled-2026-08-21-652b828").is_prerelease());
        let bad = "precompiled-2026-02-30-652b828 precompiled-2026-13-01-652b828 precompiled-2026-8-21-652b828 \
            precompiled-26-08-21-652b828 precompiled-2026-08-21-652b82 precompiled-2026-08-21-652b8280 \
            precompiled-2026-08-21-652B828 precompiled-2026-08-21-652b82g precompiled-2026-08-21 \
            precompiled-2026-08-21-x-652b828 precompiled- testing-precompiled-2026-08-21-652b828 \
            self-hosted-release-2025-02-19-663640f 2026-08-21-652b828";
        for text in bad.split(' ') {
            assert!(Scheme::Precompiled.parse(text).is_err(), "{text}");
        }
        assert!(Scheme::Precompiled.parse("precompiled-2024-02-29-652b828").is_ok());
    }

    #[test]
    fn snapshots_are_moments() {
        let parse = |text| Scheme::Snapshot.parse(text).unwrap();
        assert!(parse("20261123T235959Z") < parse("20261124T000000Z"));
        let bad = "20261124T000000 20261124T240000Z 20261124T006000Z 20261124T000060Z 20261324T000000Z 20260230T000000Z \
            20261124t000000z 2026-11-24T00:00:00Z 20261124T0000000Z 20261124TZ T000000Z Z";
        for text in bad.split(' ') {
            assert!(Scheme::Snapshot.parse(text).is_err(), "{text}");
        }
    }
}
