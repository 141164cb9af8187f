//! How far a long command is: a bar on a terminal; elsewhere lines, where the command has nothing else to say meanwhile,
//! or nothing. On stderr, since stdout is for what was found.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::complain;

const BAR: &str = "{msg} [{bar:30}] {percent} % {pos}/{len} events, {eta} left";
const SPINNER: &str = "{msg} {elapsed}";
/// Between two lines.
const LINE_EVERY_PERCENT: u64 = 10;

/// What is shown where stderr is no terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    Lines,
    Nothing,
}

/// Dropped, the screen is left to what was found, or to what went wrong.
pub struct Progress {
    what: String,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines(Option<Said>),
    Nothing,
}

/// What the last line said.
struct Said {
    percent: u64,
    /// How many events there are in all.
    last: u64,
}

impl Progress {
    pub fn of(what: impl Into<String>, elsewhere: Elsewhere) -> Self {
        let what = what.into();
        let shown = match elsewhere {
            _ if std::io::stderr().is_terminal() => Shown::Bar(bar(&what)),
            Elsewhere::Lines => Shown::Lines(None),
            Elsewhere::Nothing => Shown::Nothing,
        };
        Self { what, shown }
    }

    /// Nothing is known but that it goes on.
    pub fn turn(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.set_style(style(ProgressStyle::with_template(SPINNER)));
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
        }
    }

    pub fn at(&mut self, position: u64, last: u64) {
        match &mut self.shown {
            // Both at once: one after the other would show what was never so.
            Shown::Bar(bar) => bar.update(|state| {
                state.set_len(last);
                state.set_pos(position);
            }),
            Shown::Lines(said) => {
                let percent = position.saturating_mul(100).checked_div(last).unwrap_or(0);
                let step = percent - percent % LINE_EVERY_PERCENT;
                if said.as_ref().is_none_or(|said| step > said.percent) {
                    *said = Some(Said { percent: step, last });
                    complain(&format!("{}: {percent} %, {position} of {last} events", self.what));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// It came to its end, also where nobody told how the last of it went.
    pub fn done(mut self) {
        let last = match &self.shown {
            Shown::Bar(bar) => bar.length(),
            Shown::Lines(said) => said.as_ref().map(|said| said.last),
            Shown::Nothing => None,
        };
        let Some(last) = last else { return };
        self.at(last, last);
        if let Shown::Bar(bar) = &self.shown {
            // Draws, which a change alone does not always.
            bar.finish();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str) -> ProgressBar {
    ProgressBar::no_length().with_style(style(ProgressStyle::with_template(BAR))).with_message(what.to_owned())
}

/// Templates are our own: one that is wrong is shown in the library's way.
fn style<E>(template: Result<ProgressStyle, E>) -> ProgressStyle {
    template.unwrap_or_else(|_| ProgressStyle::default_bar())
}
