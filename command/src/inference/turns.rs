//! The turns of a request's targets: each in its order if it has room at once, then those that had none, which are waited for together.

/// The turns that are left.
pub struct Turns {
    next: usize,
    len: usize,
    had_no_room: Vec<usize>,
}

/// What comes next, by places in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This target, if it has room at once.
    AtOnce(usize),
    /// The first of these that has room.
    Waiting(Vec<usize>),
}

impl Turns {
    pub const fn of(len: usize) -> Self {
        Self { next: 0, len, had_no_room: Vec::new() }
    }

    pub fn next(&mut self) -> Option<Turn> {
        if self.next < self.len {
            self.next += 1;
            return Some(Turn::AtOnce(self.next - 1));
        }
        (!self.had_no_room.is_empty()).then(|| Turn::Waiting(self.had_no_room.clone()))
    }

    /// It has no room: its turn comes once more, after all others.
    pub fn had_no_room(&mut self, at: usize) {
        self.had_no_room.push(at);
    }

    /// This one had room when they were waited for; or none had in time, and none is waited for again.
    pub fn has_waited_for(&mut self, at: Option<usize>) {
        match at {
            Some(at) => self.had_no_room.retain(|other| *other != at),
            None => self.had_no_room.clear(),
        }
    }

    /// No other target's turn comes.
    pub const fn are_over(&self) -> bool {
        self.next >= self.len && self.had_no_room.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_without_room_are_waited_for_together_after_all_others() {
        let mut turns = Turns::of(4);
        for at in 0..4 {
            assert_eq!((turns.next(), turns.are_over()), (Some(Turn::AtOnce(at)), false), "{at}");
            if at != 1 {
                turns.had_no_room(at);
            }
        }
        assert_eq!(turns.next(), Some(Turn::Waiting(vec![0, 2, 3])));
        turns.has_waited_for(Some(2));
        assert_eq!((turns.next(), turns.are_over()), (Some(Turn::Waiting(vec![0, 3])), false));
        turns.has_waited_for(None);
        assert_eq!((turns.next(), turns.are_over()), (None, true));
        assert!(Turns::of(0).are_over());
    }
}
