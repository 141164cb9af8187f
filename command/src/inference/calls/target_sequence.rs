//! In which sequence a request's targets are called: each in its order if it has room at once, then those that had none, which are waited for
//! together. Those whose breakers are open come last, in the same way, and only if nothing could be sent to one
//! whose breaker was closed.

/// The targets that are left.
pub struct TargetSequence {
    next: usize,
    len: usize,
    had_no_room: Vec<usize>,
    had_open_breaker: Vec<usize>,
    phase: SequencePhase,
    /// Whether a wait ended without a place. The request does not wait again.
    has_waited_in_vain: bool,
    /// The target that was called beside another one.
    called_beside: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SequencePhase {
    InOrder,
    /// Only targets with open breakers are left, and nothing could be sent to one whose breaker was closed.
    LastResort,
}

/// The next targets, by places in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextTarget {
    /// This target, if it has room at once.
    AtOnce(usize),
    /// The first of these that has room.
    Waiting(Vec<usize>),
}

impl TargetSequence {
    pub const fn of(len: usize) -> Self {
        Self {
            next: 0,
            len,
            had_no_room: Vec::new(),
            had_open_breaker: Vec::new(),
            phase: SequencePhase::InOrder,
            has_waited_in_vain: false,
            called_beside: None,
        }
    }

    /// Returns the next target. Targets with open breakers come only while there is time, and stay otherwise, so that
    /// they can be left out.
    pub fn next_target(&mut self, is_out_of_time: impl FnOnce() -> bool) -> Option<NextTarget> {
        while self.next < self.len {
            self.next += 1;
            if self.called_beside != Some(self.next - 1) {
                return Some(NextTarget::AtOnce(self.next - 1));
            }
        }
        if let Some(wait) = self.wait_for_room().filter(|_| !self.is_last_resort()) {
            return Some(wait);
        }
        self.begin_last_resort();
        if is_out_of_time() {
            return None;
        }
        if !self.had_open_breaker.is_empty() {
            return Some(NextTarget::AtOnce(self.had_open_breaker.remove(0)));
        }
        self.wait_for_room()
    }

    /// The wait for the targets that had no room; `None` if there are none.
    fn wait_for_room(&self) -> Option<NextTarget> {
        (!self.had_no_room.is_empty()).then(|| NextTarget::Waiting(self.had_no_room.clone()))
    }

    /// Notes that the target has no room: it comes once more, after all others, unless they were waited for in vain.
    pub fn had_no_room(&mut self, at: usize) {
        if !self.has_waited_in_vain {
            self.had_no_room.push(at);
        }
    }

    /// Whether only targets come whose breakers are open. They are called although they are.
    pub fn is_last_resort(&self) -> bool {
        self.phase == SequencePhase::LastResort
    }

    /// All targets that are left have open breakers.
    pub const fn begin_last_resort(&mut self) {
        self.phase = SequencePhase::LastResort;
    }

    /// Whether this holds for any target that is still waited for.
    pub fn waits_for_any(&self, holds: impl Fn(usize) -> bool) -> bool {
        self.had_no_room.iter().any(|at| holds(*at))
    }

    /// Its breaker is open: it comes once more, after all others, unless it is left out before.
    pub fn had_open_breaker(&mut self, at: usize) {
        self.had_open_breaker.push(at);
    }

    /// Removes the targets with open breakers, and returns them.
    pub fn leave_out_open_breakers(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.had_open_breaker)
    }

    /// The wait is over: this target had room, or none had in time.
    pub fn has_waited_for(&mut self, at: Option<usize>) {
        match at {
            Some(at) => self.had_no_room.retain(|other| *other != at),
            None => {
                self.had_no_room.clear();
                self.has_waited_in_vain = true;
            }
        }
    }

    /// Notes that the target was called beside another one: it does not come any more.
    pub fn was_called_beside(&mut self, at: usize) {
        self.called_beside = Some(at);
        self.had_no_room.retain(|other| *other != at);
        self.had_open_breaker.retain(|other| *other != at);
    }

    /// Whether no other target comes after this one.
    pub fn is_over(&self) -> bool {
        self.is_over_but_for(|_| false)
    }

    /// Whether no other target comes after this one, not counting those that are left out.
    pub fn is_over_but_for(&self, left_out: impl Fn(usize) -> bool) -> bool {
        let has_other_last_resort = self.is_last_resort() && !self.had_open_breaker.is_empty();
        !has_other_last_resort
            && self.had_no_room.is_empty()
            && (self.next..self.len).all(|at| self.called_beside == Some(at) || left_out(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time is never over.
    const fn never() -> bool {
        false
    }

    /// Neither of two had room.
    fn waiting_for_both() -> TargetSequence {
        let mut sequence = TargetSequence::of(2);
        for at in 0..2 {
            assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(at)));
            sequence.had_no_room(at);
        }
        assert_eq!(sequence.next_target(never), Some(NextTarget::Waiting(vec![0, 1])));
        sequence
    }

    /// The first one had no room, and the second one an open breaker.
    fn waiting_for_first_of_two() -> TargetSequence {
        let mut sequence = TargetSequence::of(2);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(0)));
        sequence.had_no_room(0);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(1)));
        sequence.had_open_breaker(1);
        assert_eq!(sequence.next_target(never), Some(NextTarget::Waiting(vec![0])));
        sequence
    }

    #[test]
    fn targets_without_room_are_waited_for_together_after_all_others() {
        let mut sequence = TargetSequence::of(4);
        for at in 0..4 {
            assert_eq!(
                (sequence.next_target(never), sequence.is_over()),
                (Some(NextTarget::AtOnce(at)), false),
                "{at}"
            );
            if at != 1 {
                sequence.had_no_room(at);
            }
        }
        assert_eq!(sequence.next_target(never), Some(NextTarget::Waiting(vec![0, 2, 3])));
        sequence.has_waited_for(Some(2));
        assert_eq!((sequence.next_target(never), sequence.is_over()), (Some(NextTarget::Waiting(vec![0, 3])), false));
        sequence.has_waited_for(None);
        assert_eq!((sequence.next_target(never), sequence.is_over()), (None, true));
        assert!(TargetSequence::of(0).is_over());
    }

    #[test]
    fn targets_with_open_breakers_come_last_and_not_once_they_are_left_out() {
        let begin = || {
            let mut sequence = TargetSequence::of(3);
            assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(0)));
            sequence.had_no_room(0);
            for at in [1, 2] {
                assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(at)));
                sequence.had_open_breaker(at);
            }
            assert_eq!(sequence.next_target(never), Some(NextTarget::Waiting(vec![0])));
            sequence.has_waited_for(Some(0));
            sequence
        };
        // The one that had no room was not called either.
        let mut sequence = begin();
        assert_eq!((sequence.next_target(never), sequence.is_over()), (Some(NextTarget::AtOnce(1)), false));
        assert_eq!((sequence.next_target(never), sequence.is_over()), (Some(NextTarget::AtOnce(2)), true));
        assert_eq!(sequence.next_target(never), None);
        // One of them has no room: it is waited for after the other one.
        let mut sequence = begin();
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(1)));
        sequence.had_no_room(1);
        assert_eq!((sequence.next_target(never), sequence.is_over()), (Some(NextTarget::AtOnce(2)), false));
        assert_eq!(sequence.next_target(never), Some(NextTarget::Waiting(vec![1])));
        sequence.has_waited_for(Some(1));
        assert!(sequence.is_over() && sequence.is_last_resort() && sequence.next_target(never).is_none());
        // The breaker of the one that was waited for has opened, and so have all others'.
        let mut sequence = waiting_for_both();
        sequence.has_waited_for(Some(1));
        assert!(sequence.waits_for_any(|at| at == 0) && !sequence.waits_for_any(|at| at == 1));
        sequence.begin_last_resort();
        assert_eq!((sequence.is_over(), sequence.next_target(never)), (false, Some(NextTarget::Waiting(vec![0]))));
        // The wait has taken all the time: they stay to be recorded.
        let mut sequence = waiting_for_first_of_two();
        sequence.has_waited_for(None);
        assert_eq!((sequence.next_target(|| true), sequence.leave_out_open_breakers()), (None, vec![1]));
        // Nothing is waited for twice in vain.
        let mut sequence = waiting_for_first_of_two();
        sequence.has_waited_for(None);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(1)));
        sequence.had_no_room(1);
        assert_eq!(sequence.next_target(never), None);
        let mut sequence = TargetSequence::of(3);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(0)));
        assert!(
            !sequence.is_over() && !sequence.is_over_but_for(|at| at == 1) && sequence.is_over_but_for(|at| at > 0)
        );
        let mut sequence = begin();
        assert!(sequence.is_over(), "it is called");
        assert_eq!((sequence.leave_out_open_breakers(), sequence.next_target(never)), (vec![1, 2], None));
    }

    #[test]
    fn a_target_that_was_called_beside_another_one_does_not_come_any_more() {
        let mut sequence = TargetSequence::of(3);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(0)));
        sequence.was_called_beside(1);
        assert_eq!((sequence.next_target(never), sequence.is_over()), (Some(NextTarget::AtOnce(2)), true));
        assert_eq!(sequence.next_target(never), None);
        let mut sequence = TargetSequence::of(2);
        assert_eq!(sequence.next_target(never), Some(NextTarget::AtOnce(0)));
        sequence.was_called_beside(1);
        assert!(sequence.is_over() && sequence.next_target(never).is_none());
        // Both had no room, and the second one has some when the first one is called.
        let mut sequence = waiting_for_both();
        sequence.has_waited_for(Some(0));
        sequence.was_called_beside(1);
        assert!(sequence.is_over() && sequence.next_target(never).is_none());
        // Its breaker was open when it was its turn.
        let mut sequence = waiting_for_first_of_two();
        sequence.has_waited_for(Some(0));
        sequence.was_called_beside(1);
        assert_eq!((sequence.leave_out_open_breakers(), sequence.next_target(never)), (vec![], None));
    }
}
