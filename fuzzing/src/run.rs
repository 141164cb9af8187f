//! Running a target as an ordinary test: the same inputs every time, each made from a number.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Variable with the number of seconds for which every target runs on new inputs.
const SECONDS: &str = "LEDGERWAY_FUZZ_SECONDS";
/// Variable with one number, to reproduce its failure.
const CASE: &str = "LEDGERWAY_FUZZ_CASE";
/// Variable with a file whose bytes are the input, as fuzzers write them.
const INPUT: &str = "LEDGERWAY_FUZZ_INPUT";

const INPUT_BYTES_MAX: u64 = 768;

/// Calls `check` with the inputs 0 to `count - 1`, or with those that the variables select.
#[expect(clippy::print_stderr, reason = "who asks for a long run wants to know how far it got")]
pub fn cases(count: u64, check: impl Fn(&[u8])) {
    if let Some(path) = std::env::var_os(INPUT) {
        check(&std::fs::read(path).expect("the file that the environment names"));
    } else if let Some(case) = number(CASE) {
        check(&input(case));
    } else if let Some(seconds) = number(SECONDS) {
        let (until, first) = (Instant::now() + Duration::from_secs(seconds), unseen());
        let unfinished = (0..).take_while(|_| Instant::now() < until);
        let taken = unfinished.inspect(|case| run(first.wrapping_add(*case), &check)).count();
        eprintln!("{taken} inputs in {seconds} s, from {first} on");
    } else {
        (0..count).for_each(|case| run(case, &check));
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a whole number")))
}

fn run(case: u64, check: &impl Fn(&[u8])) {
    // The panic has already printed the failure.
    let outcome = catch_unwind(AssertUnwindSafe(|| check(&input(case))));
    let long = if long_run() { "LEDGERWAY_FUZZ_SECONDS=1 " } else { "" };
    assert!(outcome.is_ok(), "input {case} fails; {long}{CASE}={case} shows it again");
}

/// The first number of a run that should not repeat another.
fn unseen() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// The bytes that a number generates.
fn input(case: u64) -> Vec<u8> {
    let mut state = case;
    let len = 16 + mixed(&mut state) % INPUT_BYTES_MAX;
    words(state, len.div_ceil(8))
}

/// At least so many bytes that a number generates, for tests that choose more often than an input has bytes.
pub fn bytes_of(number: u64, len: usize) -> Vec<u8> {
    words(number, len.div_ceil(8) as u64)
}

fn words(mut state: u64, count: u64) -> Vec<u8> {
    (0..count).flat_map(|_| mixed(&mut state).to_le_bytes()).collect()
}

/// One step of SplitMix64.
fn mixed(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// True if targets run for a given time.
pub fn long_run() -> bool {
    std::env::var_os(SECONDS).is_some()
}

/// Length of an input for tests of time: a megabyte in long runs, otherwise enough to tell quadratic from linear.
pub fn long() -> usize {
    if long_run() { 1 << 20 } else { 1 << 19 }
}

/// Runs work on an input of [`long`] bytes and fails if it takes longer than linear work does, with a wide margin; quadratic
/// work takes far longer.
pub fn within_bounds<T>(what: &str, work: impl FnOnce() -> T) -> T {
    const LIMIT: Duration = Duration::from_secs(4);
    let started = Instant::now();
    let done = work();
    let taken = started.elapsed();
    assert!(taken < LIMIT, "{what} took {taken:?}");
    done
}
