//! The trace of a seed, with a line per step. Two runs of one seed have the same trace, byte for byte.

use std::fmt::{Arguments, Write};

#[derive(Default)]
pub struct Trace {
    text: String,
}

impl Trace {
    pub fn line(&mut self, line: Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The FNV-1a hash of the text.
    pub fn hash(&self) -> u64 {
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.text.bytes().fold(0xcbf2_9ce4_8422_2325, fold)
    }
}
