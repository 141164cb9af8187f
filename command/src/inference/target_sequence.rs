//! In which sequence a request's targets are called: each in its order if it has room at once, then those that had none, which are waited for
//! together. Those whose breakers are open come last, in the same way, and only if no other one was called.

/// The targets that are left.
pub struct TargetSequence {
    next: usize,
    len: usize,
    had_no_room: Vec<usize>,
    had_open_breaker: Vec<usize>,
    /// Whether only those are left that had open breakers.
    is_last_resort: bool,
    /// Whether none had room in time: then none is waited for again.
    has_waited_in_vain: bool,
    /// The target that was called beside another one.
    called_beside: Option<usize>,
}

/// What comes next, by places in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextTarget {
    /// This target, if it has room at once.
    AtOnce(usize),
    /// The first of these that has room.
    Waiting(Vec<usize>),
    /// This target, although its breaker is open, if it has room at once.
    LastResort(usize),
}

impl TargetSequence {
    pub const fn of(len: usize) -> Self {
        Self {
            next: 0,
            len,
            had_no_room: Vec::new(),
            had_open_breaker: Vec::new(),
            is_last_resort: false,
            has_waited_in_vain: false,
            called_beside: None,
        }
    }

    pub fn next(&mut self) -> Option<NextTarget> {
        while self.next < self.len {
            self.next += 1;
            if self.called_beside != Some(self.next - 1) {
                return Some(NextTarget::AtOnce(self.next - 1));
            }
        }
        if let Some(full) = self.full().filter(|_| !self.is_last_resort) {
            return Some(full);
        }
        self.is_last_resort = true;
        if !self.had_open_breaker.is_empty() {
            return Some(NextTarget::LastResort(self.had_open_breaker.remove(0)));
        }
        self.full()
    }

    /// Those that had no room.
    fn full(&self) -> Option<NextTarget> {
        (!self.had_no_room.is_empty()).then(|| NextTarget::Waiting(self.had_no_room.clone()))
    }

    /// It has no room: it comes once more, after all others, unless they were waited for in vain.
    pub fn had_no_room(&mut self, at: usize) {
        if !self.has_waited_in_vain {
            self.had_no_room.push(at);
        }
    }

    /// Whether only targets come whose breakers are open.
    pub const fn is_last_resort(&self) -> bool {
        self.is_last_resort
    }

    /// Its breaker is open: it comes once more, after all others, unless one of them is called.
    pub fn had_open_breaker(&mut self, at: usize) {
        self.had_open_breaker.push(at);
    }

    /// Those whose breakers were open do not come any more. Returns them.
    pub fn leave_out_open_breakers(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.had_open_breaker)
    }

    /// This one had room when they were waited for; or none had in time, and none is waited for again.
    pub fn has_waited_for(&mut self, at: Option<usize>) {
        match at {
            Some(at) => self.had_no_room.retain(|other| *other != at),
            None => {
                self.had_no_room.clear();
                self.has_waited_in_vain = true;
            }
        }
    }

    /// It was called beside another one: it does not come any more.
    pub fn was_called_beside(&mut self, at: usize) {
        self.called_beside = Some(at);
        self.had_no_room.retain(|other| *other != at);
    }

    /// No other target comes once this one has been called.
    pub fn is_over(&self) -> bool {
        let has_other_last_resort = self.is_last_resort && !self.had_open_breaker.is_empty();
        !has_other_last_resort
            && self.had_no_room.is_empty()
            && (self.next..self.len).all(|at| self.called_beside == Some(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_without_room_are_waited_for_together_after_all_others() {
        let mut sequence = TargetSequence::of(4);
        for at in 0..4 {
            assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::AtOnce(at)), false), "{at}");
            if at != 1 {
                sequence.had_no_room(at);
            }
        }
        assert_eq!(sequence.next(), Some(NextTarget::Waiting(vec![0, 2, 3])));
        sequence.has_waited_for(Some(2));
        assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::Waiting(vec![0, 3])), false));
        sequence.has_waited_for(None);
        assert_eq!((sequence.next(), sequence.is_over()), (None, true));
        assert!(TargetSequence::of(0).is_over());
    }

    #[test]
    fn targets_with_open_breakers_come_last_and_only_if_no_other_one_was_called() {
        let begin = || {
            let mut sequence = TargetSequence::of(3);
            assert_eq!(sequence.next(), Some(NextTarget::AtOnce(0)));
            sequence.had_no_room(0);
            for at in [1, 2] {
                assert_eq!(sequence.next(), Some(NextTarget::AtOnce(at)));
                sequence.had_open_breaker(at);
            }
            assert_eq!(sequence.next(), Some(NextTarget::Waiting(vec![0])));
            sequence.has_waited_for(Some(0));
            sequence
        };
        // The one that had no room was not called either.
        let mut sequence = begin();
        assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::LastResort(1)), false));
        assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::LastResort(2)), true));
        assert_eq!(sequence.next(), None);
        // One of them has no room: it is waited for after the other one.
        let mut sequence = begin();
        assert_eq!(sequence.next(), Some(NextTarget::LastResort(1)));
        sequence.had_no_room(1);
        assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::LastResort(2)), false));
        assert_eq!(sequence.next(), Some(NextTarget::Waiting(vec![1])));
        sequence.has_waited_for(Some(1));
        assert!(sequence.is_over() && sequence.is_last_resort() && sequence.next().is_none());
        // Nothing is waited for twice in vain.
        let mut sequence = TargetSequence::of(2);
        assert_eq!(sequence.next(), Some(NextTarget::AtOnce(0)));
        sequence.had_no_room(0);
        assert_eq!(sequence.next(), Some(NextTarget::AtOnce(1)));
        sequence.had_open_breaker(1);
        assert_eq!(sequence.next(), Some(NextTarget::Waiting(vec![0])));
        sequence.has_waited_for(None);
        assert_eq!(sequence.next(), Some(NextTarget::LastResort(1)));
        sequence.had_no_room(1);
        assert_eq!(sequence.next(), None);
        let mut sequence = begin();
        assert!(sequence.is_over(), "it is called");
        assert_eq!((sequence.leave_out_open_breakers(), sequence.next()), (vec![1, 2], None));
    }

    #[test]
    fn a_target_that_was_called_beside_another_one_does_not_come_any_more() {
        let mut sequence = TargetSequence::of(3);
        assert_eq!(sequence.next(), Some(NextTarget::AtOnce(0)));
        sequence.was_called_beside(1);
        assert_eq!((sequence.next(), sequence.is_over()), (Some(NextTarget::AtOnce(2)), true));
        assert_eq!(sequence.next(), None);
        let mut sequence = TargetSequence::of(2);
        assert_eq!(sequence.next(), Some(NextTarget::AtOnce(0)));
        sequence.was_called_beside(1);
        assert!(sequence.is_over() && sequence.next().is_none());
        // Both had no room, and the second one has some when the first one is called.
        let mut sequence = TargetSequence::of(2);
        for at in 0..2 {
            assert_eq!(sequence.next(), Some(NextTarget::AtOnce(at)));
            sequence.had_no_room(at);
        }
        assert_eq!(sequence.next(), Some(NextTarget::Waiting(vec![0, 1])));
        sequence.has_waited_for(Some(0));
        sequence.was_called_beside(1);
        assert!(sequence.is_over() && sequence.next().is_none());
    }
}
