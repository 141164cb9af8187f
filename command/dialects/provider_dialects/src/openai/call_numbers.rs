//! Tells the calls of a stream apart, and numbers those whose server does not.
//!
//! By OpenAI's documentation every piece of a call has the `index` of its call, and clients put the pieces together by it.
//! Google's endpoint leaves it out, and some servers give every call the index 0.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};

use intermediate::chat::ANSWER_BLOCKS_MAX;

/// The part of a piece of a call that says which call it is of.
#[derive(Clone, Copy, Default)]
pub struct CallMark {
    /// The hash of its id; `None` if it is absent or empty.
    id: Option<u64>,
    has_name: bool,
    has_arguments: bool,
}

impl CallMark {
    pub fn of(id: &str, name: &str, arguments: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(id.as_bytes());
        let id = (!id.is_empty()).then(|| hasher.finish());
        Self { id, has_name: !name.is_empty(), has_arguments: !arguments.is_empty() }
    }
}

/// A call that has begun, as its later pieces are told by it.
#[derive(Clone, Copy)]
pub struct StartedCall {
    id: Option<u64>,
    has_arguments: bool,
}

impl StartedCall {
    pub const fn of(mark: CallMark) -> Self {
        Self { id: mark.id, has_arguments: mark.has_arguments }
    }

    /// True if a piece at the same index is of this call, and not the beginning of another. Some servers put every call at
    /// index 0, so another id is another call. Of calls without ids, a name after arguments begins another.
    pub fn is_continued_by(&self, mark: CallMark) -> bool {
        let is_same = mark.id.is_none() || self.id.is_none() || mark.id == self.id;
        is_same && !(self.id.is_none() && self.has_arguments && mark.has_name)
    }

    pub const fn note(&mut self, mark: CallMark) {
        self.has_arguments |= mark.has_arguments;
    }
}

/// The indexes that a client gets for the calls of a stream. All are by choice.
#[derive(Default)]
pub struct CallNumbers {
    /// The newest call at each index that the server gave, with the index that the client got for it.
    newest: BTreeMap<(u64, u64), (StartedCall, u64)>,
    /// The index of the piece before, as the server gave it. A piece without one is read as if it had this.
    last: BTreeMap<u64, u64>,
    /// The indexes that the client got.
    taken: BTreeSet<(u64, u64)>,
}

impl CallNumbers {
    /// The index that the client gets for a piece of a call: the server's, unless there is none or another call has it.
    /// `None` once there are more calls than an answer can have: the rest goes as it comes.
    pub fn index(&mut self, choice: u64, given: Option<u64>, mark: CallMark) -> Option<u64> {
        let last = self.last.entry(choice).or_default();
        let key = (choice, given.unwrap_or(*last));
        *last = key.1;
        // At an index that the server gave, only an id with a name begins another call: some give each piece a new id.
        let begins_none = given.is_some() && !(mark.id.is_some() && mark.has_name);
        if let Some((call, index)) = self.newest.get_mut(&key)
            && (begins_none || call.is_continued_by(mark))
        {
            call.note(mark);
            return Some(*index);
        }
        if self.taken.len() == ANSWER_BLOCKS_MAX {
            return None;
        }
        let highest = self.taken.range((choice, 0)..=(choice, u64::MAX)).next_back();
        let next = highest.map_or(Some(0), |(_, highest)| highest.checked_add(1))?;
        let index = given.filter(|given| !self.taken.contains(&(choice, *given))).unwrap_or(next);
        self.taken.insert((choice, index));
        self.newest.insert(key, (StartedCall::of(mark), index));
        Some(index)
    }

    /// Bytes of memory taken.
    pub fn held_bytes(&self) -> usize {
        self.newest.len() * size_of::<((u64, u64), (StartedCall, u64))>()
            + self.taken.len() * size_of::<(u64, u64)>()
            + self.last.len() * size_of::<(u64, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_an_index_of_its_own_and_that_of_the_server_where_it_can() {
        let begins = |id| CallMark::of(id, "f", "");
        let piece = CallMark::of("", "", "1");
        let nameless = CallMark::of("", "f", "1");
        for (pieces, wanted) in [
            // As OpenAI has them, in turns and in any order.
            (
                &[(Some(0), begins("a")), (Some(1), begins("b")), (Some(0), piece), (Some(1), piece)][..],
                &[0, 1, 0, 1][..],
            ),
            (&[(Some(3), begins("a")), (Some(1), begins("b")), (Some(3), piece)], &[3, 1, 3]),
            (&[(Some(0), begins("a")), (Some(0), begins("a")), (Some(0), piece)], &[0, 0, 0]),
            (&[(Some(0), begins("a")), (Some(0), CallMark::of("b", "", "1")), (Some(0), nameless)], &[0, 0, 0]),
            // Without an index, or with the same.
            (&[(None, begins("a")), (None, piece), (None, begins("b")), (None, piece)], &[0, 0, 1, 1]),
            (&[(Some(0), begins("a")), (Some(0), piece), (Some(0), begins("b")), (Some(0), piece)], &[0, 0, 1, 1]),
            (&[(None, nameless), (None, piece), (None, nameless)], &[0, 0, 1]),
            // Some with and some without.
            (&[(Some(0), begins("a")), (Some(1), begins("b")), (None, piece), (None, begins("c"))], &[0, 1, 1, 2]),
            (&[(None, begins("a")), (Some(0), begins("b")), (Some(1), begins("c"))], &[0, 1, 2]),
        ] {
            let mut numbers = CallNumbers::default();
            let found: Vec<_> =
                pieces.iter().map(|(given, mark)| numbers.index(0, *given, *mark).expect("an index")).collect();
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn as_many_calls_are_numbered_as_an_answer_has() {
        let mut numbers = CallNumbers::default();
        for number in 0..ANSWER_BLOCKS_MAX {
            let choice = number as u64 % 2;
            assert_eq!(
                numbers.index(choice, None, CallMark::of(&number.to_string(), "f", "")),
                Some(number as u64 / 2)
            );
        }
        assert_eq!(numbers.index(0, None, CallMark::of("more", "f", "")), None);
        assert_eq!(numbers.index(1, None, CallMark::default()), Some(511), "a piece of the last");
        assert_eq!(CallNumbers::default().index(0, Some(u64::MAX), CallMark::default()), Some(u64::MAX));
    }
}
