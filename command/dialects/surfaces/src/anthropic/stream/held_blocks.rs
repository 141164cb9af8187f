//! Blocks of a stream that wait until the open one has ended.

use std::collections::BTreeMap;

use intermediate::delta::DeltaKind;

/// About how many bytes the events of a piece take besides what is held of it.
const PIECE_EVENT_BYTES: usize = 256;

/// Blocks by their number, which is the order in which they began.
#[derive(Default)]
pub struct HeldBlocks {
    by_block: BTreeMap<usize, Vec<HeldPiece>>,
    /// Bytes of memory that they take, and the bytes that their events will have.
    held_bytes: usize,
    event_bytes: usize,
}

/// Pieces of one kind in a row, as one.
pub enum HeldPiece {
    Text(String),
    Reasoning(String),
    Signature(String),
    Redacted(String),
    CallBegins { ordinal: usize, id: String, name: String },
    CallArguments { ordinal: usize, piece: String },
}

impl HeldPiece {
    /// `None` for what is not part of a block.
    fn of(kind: &DeltaKind<'_>) -> Option<Self> {
        Some(match *kind {
            DeltaKind::Text(text) => Self::Text(text.to_owned()),
            DeltaKind::Reasoning(text) => Self::Reasoning(text.to_owned()),
            DeltaKind::Signature(data) => Self::Signature(data.to_owned()),
            DeltaKind::Redacted(data) => Self::Redacted(data.to_owned()),
            DeltaKind::CallBegins { ordinal, id, name, .. } => {
                Self::CallBegins { ordinal, id: id.to_owned(), name: name.to_owned() }
            }
            DeltaKind::CallArguments { ordinal, piece } => Self::CallArguments { ordinal, piece: piece.to_owned() },
            DeltaKind::Logprobs(_) | DeltaKind::Finish(_) => return None,
        })
    }

    pub fn kind(&self) -> DeltaKind<'_> {
        match self {
            Self::Text(text) => DeltaKind::Text(text),
            Self::Reasoning(text) => DeltaKind::Reasoning(text),
            Self::Signature(data) => DeltaKind::Signature(data),
            Self::Redacted(data) => DeltaKind::Redacted(data),
            Self::CallBegins { ordinal, id, name } => {
                DeltaKind::CallBegins { ordinal: *ordinal, id, name, signature: None }
            }
            Self::CallArguments { ordinal, piece } => DeltaKind::CallArguments { ordinal: *ordinal, piece },
        }
    }

    /// Appends a piece of the same kind; false if it is of another. What is encrypted is a block for itself.
    fn extend(&mut self, kind: &DeltaKind<'_>) -> bool {
        let (held, more) = match (self, kind) {
            (Self::Text(held), DeltaKind::Text(more))
            | (Self::Reasoning(held), DeltaKind::Reasoning(more))
            | (Self::Signature(held), DeltaKind::Signature(more))
            | (Self::CallArguments { piece: held, .. }, DeltaKind::CallArguments { piece: more, .. }) => (held, more),
            _ => return false,
        };
        held.push_str(more);
        true
    }
}

impl HeldBlocks {
    pub fn contains(&self, block: usize) -> bool {
        self.by_block.contains_key(&block)
    }

    /// Holds a piece of a block.
    pub fn add(&mut self, block: usize, kind: &DeltaKind<'_>) {
        let (text, name) = texts(kind);
        let pieces = self.by_block.entry(block).or_default();
        if !pieces.last_mut().is_some_and(|last| last.extend(kind)) {
            let Some(piece) = HeldPiece::of(kind) else { return };
            pieces.push(piece);
            self.held_bytes += size_of::<HeldPiece>();
            self.event_bytes += PIECE_EVENT_BYTES;
        }
        self.held_bytes += text.len() + name.len();
        self.event_bytes += escaped_bytes(text) + escaped_bytes(name);
    }

    /// Takes out the block that began first.
    pub fn pop(&mut self) -> Option<(usize, Vec<HeldPiece>)> {
        let (block, pieces) = self.by_block.pop_first()?;
        for piece in &pieces {
            let kind = piece.kind();
            let (text, name) = texts(&kind);
            self.held_bytes -= size_of::<HeldPiece>() + text.len() + name.len();
            self.event_bytes -= PIECE_EVENT_BYTES + escaped_bytes(text) + escaped_bytes(name);
        }
        Some((block, pieces))
    }

    /// The blocks in the order in which they began.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[HeldPiece])> {
        self.by_block.iter().map(|(block, pieces)| (*block, pieces.as_slice()))
    }

    pub const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// About how many bytes the events of all blocks will have.
    pub const fn event_bytes(&self) -> usize {
        self.event_bytes
    }
}

/// The texts of a piece that are held: the name of a call is beside its id.
const fn texts<'a>(kind: &DeltaKind<'a>) -> (&'a str, &'a str) {
    match *kind {
        DeltaKind::Text(text)
        | DeltaKind::Reasoning(text)
        | DeltaKind::Signature(text)
        | DeltaKind::Redacted(text)
        | DeltaKind::CallArguments { piece: text, .. } => (text, ""),
        DeltaKind::CallBegins { id, name, .. } => (id, name),
        DeltaKind::Logprobs(_) | DeltaKind::Finish(_) => ("", ""),
    }
}

/// Bytes that a text has at most in a JSON string.
fn escaped_bytes(text: &str) -> usize {
    let more = |byte: u8| match byte {
        b'"' | b'\\' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(more).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_counted_off() {
        let mut held = HeldBlocks::default();
        held.add(4, &DeltaKind::CallBegins { ordinal: 1, id: "b", name: "\"", signature: None });
        held.add(3, &DeltaKind::Text("x\n"));
        held.add(4, &DeltaKind::CallArguments { ordinal: 1, piece: "{" });
        held.add(4, &DeltaKind::CallArguments { ordinal: 1, piece: "}" });
        held.add(4, &DeltaKind::Redacted("r"));
        held.add(4, &DeltaKind::Redacted("s"));
        assert_eq!(held.held_bytes(), 5 * size_of::<HeldPiece>() + 8);
        assert_eq!(held.event_bytes(), 5 * PIECE_EVENT_BYTES + 8 + 1 + 5);
        let blocks: Vec<_> = std::iter::from_fn(|| held.pop()).map(|(block, pieces)| (block, pieces.len())).collect();
        assert_eq!(blocks, [(3, 1), (4, 4)]);
        assert_eq!((held.held_bytes(), held.event_bytes()), (0, 0));
    }
}
