//! `OpenClaw`'s calendar versions (docs/reference/RELEASING.md of openclaw/openclaw), which look like semver but sort
//! differently:
//!
//! | form | what it is |
//! |---|---|
//! | `YYYY.M.PATCH-alpha.N`, `YYYY.M.PATCH-beta.N` | before `YYYY.M.PATCH` |
//! | `YYYY.M.PATCH` | a release; PATCH is a sequence number, not a day, and never zero-padded |
//! | `YYYY.M.PATCH-N` | a correction, published later; semver would sort it before the release |
//!
//! A PATCH of 33 and above is the extended-stable line.

use semver::Prerelease;

use super::number::decimal;

const EXTENDED_STABLE_FROM: u64 = 33;

/// The derived order is the sort order: of fields and of stages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Calver {
    year: u64,
    month: u64,
    patch: u64,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Alpha(u64),
    Beta(u64),
    Release,
    Correction(u64),
}

impl Calver {
    pub(super) fn is_prerelease(&self) -> bool {
        matches!(self.stage, Stage::Alpha(_) | Stage::Beta(_))
    }

    pub(super) fn is_extended_stable(&self) -> bool {
        self.patch >= EXTENDED_STABLE_FROM
    }

    /// For requirements, not for sorting: a correction becomes its release, because semver would treat it as a prerelease.
    pub(super) fn to_semver(&self) -> semver::Version {
        let mut version = semver::Version::new(self.year, self.month, self.patch);
        let prerelease = match self.stage {
            Stage::Alpha(number) => format!("alpha.{number}"),
            Stage::Beta(number) => format!("beta.{number}"),
            Stage::Release | Stage::Correction(_) => String::new(),
        };
        // Always valid.
        version.pre = Prerelease::new(&prerelease).unwrap_or_default();
        version
    }
}

pub(super) fn parse(text: &str) -> Result<Calver, &'static str> {
    let (date, stage) = match text.split_once('-') {
        None => (text, Stage::Release),
        Some((date, suffix)) => (date, stage(suffix).ok_or("what follows `-` is not N, beta.N or alpha.N")?),
    };
    let [Some(year), Some(month), Some(patch)] = date.split('.').map(decimal).collect::<Vec<_>>()[..] else {
        return Err("it is not three plain integers");
    };
    // Also refuses npm's placeholder `0.0.1`.
    if !(1000..=9999).contains(&year) {
        return Err("the year has not four digits");
    }
    if !(1..=12).contains(&month) {
        return Err("the month is not 1 to 12");
    }
    Ok(Calver { year, month, patch, stage })
}

fn stage(suffix: &str) -> Option<Stage> {
    match suffix.split_once('.') {
        Some(("alpha", number)) => decimal(number).map(Stage::Alpha),
        Some(("beta", number)) => decimal(number).map(Stage::Beta),
        Some(_) => None,
        None => decimal(suffix).map(Stage::Correction),
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::version::Scheme;

    #[test]
    fn corrections_come_after_and_betas_before() {
        let ascending = "2026.2.2 2026.2.2-1 2026.2.2-3 2026.2.2-10 2026.2.3 2026.2.23-alpha.2 2026.2.23-beta.1 \
            2026.2.23-beta.10 2026.2.23 2026.2.33 2026.10.1 2027.1.1";
        assert!(ascending.split(' ').map(|text| Scheme::Calver.parse(text).unwrap()).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn prereleases_and_extended_stable_versions_are_recognized() {
        for (text, prerelease, extended_stable) in [
            ("2026.9.6", false, false),
            ("v2026.9.6", false, false),
            ("2026.7.1-2", false, false),
            ("2026.7.2-beta.7", true, false),
            ("2026.7.2-alpha.1", true, false),
            ("2026.6.32", false, false),
            ("2026.6.33", false, true),
            ("2026.7.35", false, true),
        ] {
            let version = Scheme::Calver.parse(text).unwrap();
            assert_eq!(version.is_prerelease(), prerelease, "{text}");
            assert_eq!(version.is_extended_stable(), extended_stable, "{text}");
            assert_eq!(version.as_str(), text.trim_start_matches('v'));
        }
        assert!(!Scheme::Semver.parse("2026.6.33").unwrap().is_extended_stable());
    }

    #[test]
    fn other_forms_are_refused() {
        let bad = "0.0.1 2026.2 2026.02.2 2026.2.02 2026.13.1 2026.0.1 26.2.1 2026.2.2- 2026.2.2-rc.1 2026.2.2-beta \
            2026.2.2-beta.01 2026.2.2-1-2 2026.2.2.1 2026.2.99999999999999999999 linux-stable";
        for text in bad.split(' ') {
            assert!(Scheme::Calver.parse(text).is_err(), "{text}");
        }
    }
}
