//! The turns of a request's targets: each in its order if it has room at once, then those that had none, which are waited for.

use std::collections::VecDeque;

/// The turns that are left.
pub struct Turns {
    next: usize,
    len: usize,
    had_no_room: VecDeque<usize>,
}

/// A target's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its place in the order.
    pub at: usize,
    /// It had no room before: it is waited for.
    pub waits: bool,
}

impl Turns {
    pub const fn of(len: usize) -> Self {
        Self { next: 0, len, had_no_room: VecDeque::new() }
    }

    pub fn next(&mut self) -> Option<Turn> {
        if self.next < self.len {
            self.next += 1;
            return Some(Turn { at: self.next - 1, waits: false });
        }
        self.had_no_room.pop_front().map(|at| Turn { at, waits: true })
    }

    /// It has no room: its turn comes once more, after all others.
    pub fn had_no_room(&mut self, Turn { at, waits }: Turn) {
        if !waits {
            self.had_no_room.push_back(at);
        }
    }

    /// No other target's turn comes.
    pub fn are_over(&self) -> bool {
        self.next >= self.len && self.had_no_room.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_without_room_come_once_more_in_their_order_after_all_others() {
        let (mut turns, mut taken) = (Turns::of(4), Vec::new());
        while let Some(turn) = turns.next() {
            if turn.at != 1 {
                turns.had_no_room(turn);
            }
            taken.push((turn.at, turn.waits, turns.are_over()));
        }
        assert_eq!(
            taken,
            [
                (0, false, false),
                (1, false, false),
                (2, false, false),
                (3, false, false),
                (0, true, false),
                (2, true, false),
                (3, true, true),
            ]
        );
        assert!(Turns::of(0).are_over());
    }
}
