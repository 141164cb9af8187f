//! Shared by the fuzz targets of all crates. A target is an ordinary test: [`fuzz!`] gives it [`Dice`], from which it makes an
//! input, most often with a [`Corpus`], and it asserts what must hold for every input. As a test it gets the same few thousand
//! inputs every time; built for a fuzzer (`--cfg fuzzing`) it gets inputs that reach new code. `docs/fuzzing.md` says how to run
//! and replay targets.

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
pub use run::{bytes_of, cases, long, long_run, within_bounds};

#[cfg(fuzzing)]
pub use bolero;

/// The beginning of an input, for the message of a failed assertion.
pub fn shown(input: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 4096;
    String::from_utf8_lossy(input.get(..SHOWN_BYTES_MAX).unwrap_or(input)).into_owned()
}

/// `fuzz!(cases, |dice| …)`: calls the closure with that many inputs, or for as long as a fuzzer runs.
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

/// The closure of a target. A failure ends the run, so the state that it leaves behind is never used.
pub struct Target<F>(AssertUnwindSafe<F>);

impl<F: Fn(&mut Dice<'_>)> Target<F> {
    pub const fn of(check: F) -> Self {
        Self(AssertUnwindSafe(check))
    }

    pub fn check(&self, input: &[u8]) {
        (self.0)(&mut Dice::new(input));
    }
}
