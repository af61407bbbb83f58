//! Retries of requests.

use std::fmt::Display;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::error::HttpError;
use crate::io;

/// For broken connections and server errors (5xx), which load balancers return now and then. Three tries take less than
/// two seconds if nothing answers.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// For a server that throttles. Waits at most [`PATIENCE`] in all.
const THROTTLED_TRIES: u32 = 4;
const THROTTLED_PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(45);
/// Longer waits are reported.
const REPORTED: Duration = Duration::from_secs(5);

/// Sends a request, and again after temporary failures.
pub(super) async fn run<T, F: Future<Output = Result<T, HttpError>>>(request: impl Fn() -> F) -> Result<T, HttpError> {
    again(request, |error, failed, waited| pause(error, failed, waited, Utc::now())).await
}

/// Repeats an operation after failures. `pause` returns the time to wait, for the error, the number of failures and the
/// time waited so far; `None` for a permanent failure.
pub(crate) async fn again<T, E: Display, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
    pause: impl Fn(&E, u32, Duration) -> Option<Duration>,
) -> Result<T, E> {
    let (mut failed, mut waited) = (0, Duration::ZERO);
    loop {
        let error = match attempt().await {
            Err(error) => error,
            result => return result,
        };
        failed += 1;
        let Some(pause) = pause(&error, failed, waited) else { return Err(error) };
        let pause = pause.mul_f64(1.0 + fastrand::f64() / 4.0);
        if pause >= REPORTED {
            io::say(&format!("note: {error}; next try in {} seconds", pause.as_secs()));
        }
        tokio::time::sleep(pause).await;
        waited += pause;
    }
}

/// The time to wait after `failed` failures, the last of which is `error`; `None` to give up.
fn pause(error: &HttpError, failed: u32, waited: Duration, now: DateTime<Utc>) -> Option<Duration> {
    match error {
        HttpError::Throttled { until, .. } if failed < THROTTLED_TRIES => {
            let backoff = THROTTLED_PAUSE * 2_u32.pow(failed - 1);
            let asked = until.and_then(|until| (until - now).to_std().ok());
            let pause = asked.unwrap_or(backoff);
            (waited + pause <= PATIENCE).then_some(pause)
        }
        HttpError::Transport { source, .. } if source.is_builder() => None,
        HttpError::Status { refusal, .. } if !refusal.status.is_server_error() => None,
        HttpError::Transport { .. } | HttpError::Status { .. } if failed < TRIES => Some(PAUSE * 3_u32.pow(failed - 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::refusal;
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn refused(status: u16, headers: &[(&str, &str)]) -> HttpError {
        HttpError::refused("", refusal(status, headers, ""), now())
    }

    #[test]
    fn a_retry_time_is_read_in_all_its_forms() {
        let seconds = |pairs| refusal(429, pairs, "").retry_at(now()).map(|until| (until - now()).num_seconds());
        assert_eq!(seconds(&[("retry-after", "7")]), Some(7));
        assert_eq!(seconds(&[("retry-after", "Fri, 15 Jan 2027 08:00:30 GMT")]), Some(30));
        assert_eq!(seconds(&[("retry-after", "soon")]), None);
        assert_eq!(seconds(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800000009")]), Some(9));
        assert_eq!(seconds(&[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1800000009")]), None);
        assert_eq!(seconds(&[]), None);
    }

    #[test]
    fn waits_for_a_throttling_server_are_limited() {
        let wait = |status, pairs: &[(&str, &str)], failed, waited| {
            pause(&refused(status, pairs), failed, Duration::from_secs(waited), now()).map(|pause| pause.as_millis())
        };
        for status in [429, 503] {
            assert_eq!(wait(status, &[("retry-after", "2")], 1, 0), Some(2000));
            assert_eq!(wait(status, &[("retry-after", "45")], 1, 0), Some(45_000));
            assert_eq!(wait(status, &[("retry-after", "46")], 1, 0), None);
            assert_eq!(wait(status, &[("retry-after", "30")], 2, 16), None);
            assert_eq!(wait(status, &[], 1, 0), Some(1000));
            assert_eq!(wait(status, &[], 3, 0), Some(4000));
            assert_eq!(wait(status, &[], 4, 0), None);
        }
        // A time in the past is ignored.
        assert_eq!(wait(429, &[("retry-after", "Fri, 15 Jan 2027 07:00:00 GMT")], 1, 0), Some(1000));
        assert_eq!(wait(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1800003600")], 1, 0), None);
    }

    #[test]
    fn server_errors_are_retried_and_client_errors_are_not() {
        let wait = |status, failed| pause(&refused(status, &[]), failed, Duration::ZERO, now()).is_some();
        for status in [500, 502, 504] {
            assert_eq!([wait(status, 1), wait(status, 2), wait(status, 3)], [true, true, false]);
        }
        for status in [301, 400, 401, 403, 404, 407, 410, 422] {
            assert!(!wait(status, 1), "{status}");
        }
    }
}
