//! What the fuzz targets of all crates share. A target is an ordinary test: [`fuzz!`] gives it [`Dice`], it makes an
//! input of them, most often out of a [`Corpus`], and asserts what must hold for whatever came out. Run as a test it
//! gets the same few thousand inputs every time; built by a fuzzer (`--cfg fuzzing`) it gets those that reach new code.
//! How to run, replay and lengthen is in `docs/fuzzing.md`.

mod corpus;
mod dice;
mod grow;
mod mutate;
mod run;
mod tokens;

use std::panic::AssertUnwindSafe;

pub use corpus::Corpus;
pub use dice::Dice;
pub use grow::grown;
pub use run::{cases, long, long_run, within_bounds};

#[cfg(fuzzing)]
pub use bolero;

/// As much of an input as a failed assertion should show.
pub fn shown(input: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 4096;
    String::from_utf8_lossy(input.get(..SHOWN_BYTES_MAX).unwrap_or(input)).into_owned()
}

/// `fuzz!(cases, |dice| …)`: calls the closure with so many inputs, or for as long as a fuzzer wants.
#[macro_export]
macro_rules! fuzz {
    ($cases:expr, $check:expr) => {{
        let target = $crate::Target::of($check);
        #[cfg(fuzzing)]
        {
            let _ = $cases;
            $crate::bolero::check!().for_each(|input: &[u8]| target.check(input));
        }
        #[cfg(not(fuzzing))]
        $crate::cases($cases, |input| target.check(input));
    }};
}

/// What is done with every input. A failure ends the run, so that nobody sees what it left behind.
pub struct Target<F>(AssertUnwindSafe<F>);

impl<F: Fn(&mut Dice<'_>)> Target<F> {
    pub const fn of(check: F) -> Self {
        Self(AssertUnwindSafe(check))
    }

    pub fn check(&self, input: &[u8]) {
        (self.0)(&mut Dice::new(input));
    }
}
