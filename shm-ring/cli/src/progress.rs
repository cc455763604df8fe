//! Progress: how far something is that takes long, on stderr.
//!
//! ```text
//!   start --> 500 ms --> a terminal, and not quiet? --> drawn, ten times a second --> gone without a trace at the end
//!                |no: nothing, ever
//! ```
//!
//! (I1) not a byte of it goes anywhere but to a terminal, and none where data goes to that terminal; (I2) what is over sooner shows
//! nothing.

use crate::output::Messages;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is over sooner is not worth a word.
const PATIENCE: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);

/// Something that takes long; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Of which is known how many bytes it goes through.
    pub(crate) fn of_bytes(what: String, n_bytes: u64, messages: Messages) -> Self {
        let bar = ProgressBar::with_draw_target(Some(n_bytes), ProgressDrawTarget::hidden());
        let line = "{msg} [{bar:32}] {binary_bytes} of {binary_total_bytes}, {elapsed}";
        Self::draw(bar, line, what, messages)
    }

    /// Of which is known nothing but how long it has taken.
    pub(crate) fn of_time(what: String, messages: Messages) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self::draw(bar, "{spinner} {msg}, {elapsed}", what, messages)
    }

    fn draw(bar: ProgressBar, line: &str, what: String, messages: Messages) -> Self {
        if messages.is_quiet() || !std::io::stderr().is_terminal() {
            return Self { bar, drawing: None };
        }
        bar.set_style(ProgressStyle::with_template(line).expect("a template of ours"));
        bar.set_message(what);
        let (over, is_over) = channel::<()>();
        let drawn = bar.clone();
        let drawing = std::thread::spawn(move || {
            if is_over.recv_timeout(PATIENCE).is_err() {
                drawn.set_draw_target(ProgressDrawTarget::stderr());
                drawn.enable_steady_tick(TICK);
                // Until the end.
                let _ = is_over.recv();
            }
            drawn.finish_and_clear();
        });
        Self { bar, drawing: Some((over, drawing)) }
    }

    /// What it is at.
    pub(crate) fn say(&self, what: String) {
        if self.drawing.is_some() {
            self.bar.set_message(what);
        }
    }

    /// So many bytes further.
    pub(crate) fn advance(&self, n_bytes: u64) {
        self.bar.inc(n_bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((over, drawing)) = self.drawing.take() {
            let _ = over.send(());
            // It clears its line before anything else is said.
            let _ = drawing.join();
        }
    }
}
