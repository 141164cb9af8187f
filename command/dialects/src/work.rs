//! Counts the work that foreign text causes, in steps: a byte looked at, a name compared, a byte copied. A test can hold
//! the count against the bytes that came, with the same result on every machine. Nothing is counted outside of tests.

#[cfg(test)]
pub use counted::{steps, within};

/// So many steps were taken.
#[cfg(not(test))]
pub const fn steps(_count: usize) {}

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
        static MOST: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    /// So many steps were taken. Fails at once beyond the bound of [`within`]: what is quadratic would go on for long.
    pub fn steps(count: usize) {
        let taken = TAKEN.get() + count as u64;
        TAKEN.set(taken);
        let most = MOST.get();
        assert!(taken <= most, "more than {most} steps");
    }

    /// Does something in at most so many steps; says how many it took.
    pub fn within<T>(most: u64, work: impl FnOnce() -> T) -> (T, u64) {
        TAKEN.set(0);
        MOST.set(most);
        let done = work();
        MOST.set(u64::MAX);
        (done, TAKEN.get())
    }
}
