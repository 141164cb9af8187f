//! The tool calls of a conversation, for dialects that match results to calls by the tool's name, or by their order.

use std::collections::{HashMap, VecDeque};

use intermediate::work;

/// The calls so far. Some providers give one id to several calls of a turn, or to one call in each turn: their results have
/// the order of the calls.
#[derive(Default)]
pub struct Calls<'a> {
    by_id: HashMap<&'a str, VecDeque<EarlierCall<'a>>>,
    count: usize,
    turn: usize,
    /// There were results since the last call.
    is_answered: bool,
}

/// A call that has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierCall<'a> {
    pub name: &'a str,
    /// The number of calls before it.
    pub ordinal: usize,
    turn: usize,
}

impl<'a> Calls<'a> {
    pub fn add(&mut self, id: &'a str, name: &'a str) {
        if std::mem::take(&mut self.is_answered) {
            self.turn += 1;
        }
        let calls = self.by_id.entry(id).or_default();
        // All of an id are of one turn.
        if calls.back().is_some_and(|call| call.turn != self.turn) {
            work::steps(calls.len());
            calls.clear();
        }
        calls.push_back(EarlierCall { name, ordinal: self.count, turn: self.turn });
        self.count += 1;
    }

    /// The call of the next result with this id; `None` if there is none left. A call has one result, so that its name is
    /// written once more and not without end.
    pub fn of_result(&mut self, id: &str) -> Option<EarlierCall<'a>> {
        self.is_answered = true;
        self.by_id.get_mut(id)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_id_have_their_results_in_order_and_those_of_an_earlier_turn_have_no_more() {
        let mut calls = Calls::default();
        let found = |called: Option<EarlierCall<'static>>| called.map(|called| (called.name, called.ordinal));
        assert_eq!(found(calls.of_result("a")), None);
        for (id, name) in [("a", "f"), ("b", "g"), ("a", "h")] {
            calls.add(id, name);
        }
        assert_eq!(found(calls.of_result("b")), Some(("g", 1)));
        assert_eq!(found(calls.of_result("a")), Some(("f", 0)));
        // The second call of this id was never answered.
        calls.add("a", "i");
        assert_eq!(found(calls.of_result("a")), Some(("i", 3)));
        assert_eq!(found(calls.of_result("a")), None);
    }
}
