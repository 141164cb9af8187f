//! The progress of a long command, on stderr: a bar on a terminal; otherwise lines or nothing, as the command chooses. Stdout
//! is for results.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::print_error;

const BAR: &str = "{msg} [{bar:30}] {percent} % {pos}/{len} events, {eta} left";
const SPINNER: &str = "{msg} {elapsed}";
/// The step between two lines.
const LINE_STEP_PERCENT: u64 = 10;

/// The output if stderr is not a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum WithoutTerminal {
    Lines,
    Silent,
}

/// Shows progress until it is dropped; a bar is then removed from the screen.
pub struct Progress {
    task: String,
    output: ProgressOutput,
}

enum ProgressOutput {
    Bar(ProgressBar),
    Lines(Option<LastLine>),
    Silent,
}

/// The values of the last line.
struct LastLine {
    percent: u64,
    /// Number of events in total.
    total: u64,
}

impl Progress {
    pub fn new(task: impl Into<String>, without_terminal: WithoutTerminal) -> Self {
        let task = task.into();
        let output = match without_terminal {
            _ if std::io::stderr().is_terminal() => ProgressOutput::Bar(bar(&task)),
            WithoutTerminal::Lines => ProgressOutput::Lines(None),
            WithoutTerminal::Silent => ProgressOutput::Silent,
        };
        Self { task, output }
    }

    /// Shows a spinner instead of a bar, for a task whose length is unknown.
    pub fn spin(&self) {
        if let ProgressOutput::Bar(bar) = &self.output {
            bar.set_style(style(ProgressStyle::with_template(SPINNER)));
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
        }
    }

    /// Shows that `position` of `total` events are done.
    pub fn at(&mut self, position: u64, total: u64) {
        match &mut self.output {
            // Both at once: one after the other would show a wrong state in between.
            ProgressOutput::Bar(bar) => bar.update(|state| {
                state.set_len(total);
                state.set_pos(position);
            }),
            ProgressOutput::Lines(last_line) => {
                let percent = position.saturating_mul(100).checked_div(total).unwrap_or(0);
                let step = percent - percent % LINE_STEP_PERCENT;
                if last_line.as_ref().is_none_or(|line| step > line.percent) {
                    *last_line = Some(LastLine { percent: step, total });
                    print_error(&format!("{}: {percent} %, {position} of {total} events", self.task));
                }
            }
            ProgressOutput::Silent => {}
        }
    }

    /// Shows the task as complete, even if its last step was never reported.
    pub fn done(mut self) {
        let total = match &self.output {
            ProgressOutput::Bar(bar) => bar.length(),
            ProgressOutput::Lines(last_line) => last_line.as_ref().map(|line| line.total),
            ProgressOutput::Silent => None,
        };
        let Some(total) = total else { return };
        self.at(total, total);
        if let ProgressOutput::Bar(bar) = &self.output {
            // Draws the bar, which an update does not always do.
            bar.finish();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let ProgressOutput::Bar(bar) = &self.output {
            bar.finish_and_clear();
        }
    }
}

fn bar(task: &str) -> ProgressBar {
    ProgressBar::no_length().with_style(style(ProgressStyle::with_template(BAR))).with_message(task.to_owned())
}

/// Falls back to the library's style. The templates are constants, so this does not happen.
fn style<E>(template: Result<ProgressStyle, E>) -> ProgressStyle {
    template.unwrap_or_else(|_| ProgressStyle::default_bar())
}
