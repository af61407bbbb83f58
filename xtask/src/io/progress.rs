//! Progress bars of long downloads, on a terminal only.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::locked;

/// All bars of this process, so that messages can be printed between them.
static ALL: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Hides the bars while writing to the terminal.
pub(super) fn aside<T>(write: impl FnOnce() -> T) -> T {
    ALL.suspend(write)
}

/// Draws no bars from now on.
pub(super) fn hide() {
    ALL.set_draw_target(ProgressDrawTarget::hidden());
}

/// A bar for a download of `total` bytes, or a counter if the size is unknown. indicatif draws on stderr, and only on a
/// terminal. A bar disappears when it is dropped.
pub(super) fn download(label: &str, total: Option<u64>) -> ProgressBar {
    let bar = ALL.add(match total {
        Some(total) => ProgressBar::new(total).with_style(style("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")),
        None => ProgressBar::no_length().with_style(style("{msg} {bytes} {bytes_per_sec}")),
    });
    bar.with_message(label.to_owned())
}

/// The names that are still waited for, on one line, until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    bar: ProgressBar,
    left: Mutex<BTreeSet<String>>,
}

impl Waiting {
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        let left: BTreeSet<String> = names.into_iter().cloned().collect();
        let bar = ALL.add(ProgressBar::new(left.len() as u64));
        bar.set_style(style("{spinner} {pos} of {len}, waiting for {wide_msg}"));
        bar.set_message(listed(&left));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, left: Mutex::new(left) }
    }

    pub(crate) fn done(&self, name: &str) {
        let mut left = locked(&self.left);
        left.remove(name);
        self.bar.set_message(listed(&left));
        self.bar.inc(1);
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// A style without colours, so that `NO_COLOR` needs no care.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
