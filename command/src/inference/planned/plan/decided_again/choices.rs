//! The choices of a history, read from the bytes that its number makes.

use fuzzing::{Dice, bytes_of};
use uuid::Uuid;

/// More than a history chooses by.
const BYTES: usize = 32 * 1024;

/// The bytes of the history with this number.
pub fn of_history(number: u64) -> Vec<u8> {
    bytes_of(number, BYTES)
}

pub struct Choices<'b>(Dice<'b>);

impl<'b> Choices<'b> {
    pub const fn of(bytes: &'b [u8]) -> Self {
        Self(Dice::new(bytes))
    }

    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.0.below(usize::try_from(bound).unwrap())).unwrap()
    }

    pub fn once_in(&mut self, times: usize) -> bool {
        self.0.one_in(times)
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.0.below(len)
    }

    pub fn one_of<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.0.below(values.len())].clone()
    }

    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.0.word(), self.0.word())
    }
}
