//! Counts the work that untrusted text causes, in steps: a byte read, a name compared, a byte copied. Tests compare the
//! steps with the bytes received, with the same result on every machine. Builds without debug assertions count nothing.

#[cfg(debug_assertions)]
pub use counted::{steps, within};

/// Counts steps, in builds with debug assertions only.
#[cfg(not(debug_assertions))]
pub const fn steps(_count: usize) {}

/// Runs `work`, of which no steps are counted.
#[cfg(not(debug_assertions))]
pub fn within<T>(_most: u64, work: impl FnOnce() -> T) -> (T, u64) {
    (work(), 0)
}

#[cfg(debug_assertions)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
        static MOST: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    /// Counts steps. Panics beyond the bound of [`within`], because quadratic work could go on for hours.
    pub fn steps(count: usize) {
        let taken = TAKEN.get() + count as u64;
        TAKEN.set(taken);
        let most = MOST.get();
        assert!(taken <= most, "more than {most} steps");
    }

    /// Runs `work` with a bound on its steps; returns its result and the steps taken.
    pub fn within<T>(most: u64, work: impl FnOnce() -> T) -> (T, u64) {
        TAKEN.set(0);
        MOST.set(most);
        let done = work();
        MOST.set(u64::MAX);
        (done, TAKEN.get())
    }
}
