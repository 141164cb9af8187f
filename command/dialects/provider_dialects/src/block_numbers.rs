//! The numbers of the blocks of an answer that is streamed in pieces without numbers: pieces of one kind in a row are a block.

use intermediate::delta::DeltaKind;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    Text,
    Reasoning,
}

impl TextKind {
    pub const fn delta(self, text: &str) -> DeltaKind<'_> {
        match self {
            Self::Text => DeltaKind::Text(text),
            Self::Reasoning => DeltaKind::Reasoning(text),
        }
    }
}

/// The number of blocks so far, and the open text.
#[derive(Default)]
pub struct BlockNumbers {
    count: usize,
    open: Option<TextKind>,
}

impl BlockNumbers {
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The number of the last block; 0 without one.
    pub const fn last(&self) -> usize {
        self.count.saturating_sub(1)
    }

    /// Whether a text of this kind continues a block.
    pub fn continues(&self, kind: TextKind) -> bool {
        self.open == Some(kind)
    }

    /// The number of the block for a text of this kind.
    pub fn of_text(&mut self, kind: TextKind) -> usize {
        if !self.continues(kind) {
            self.open = Some(kind);
            self.count += 1;
        }
        self.count - 1
    }

    /// The number of the block of another call, which ends the open text.
    pub const fn of_call(&mut self) -> usize {
        self.end_text();
        self.count += 1;
        self.count - 1
    }

    /// A text that follows is a block of its own.
    pub const fn end_text(&mut self) {
        self.open = None;
    }
}
