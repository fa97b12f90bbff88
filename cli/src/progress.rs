//! Progress bars on standard error: drawn when that is a terminal, never when it is not.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar towards `total` steps, or a running count where the total is not known.
pub(crate) fn bar(what: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{msg:10} [{bar:40}] {human_pos}/{human_len} {per_sec} {elapsed}")
        }
        None => (ProgressBar::new_spinner(), "{msg:10} {spinner} {human_pos} {per_sec} {elapsed}"),
    };
    // The templates are constants; were one wrong, the default style serves as well.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
