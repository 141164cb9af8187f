//! Checks a bundle, with nothing but the file and the public keys of the log.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Seek};

use events::canonical;
use events::event::{Event, Hold, Recorded, Resource};
use events::ids::RequestId;
use events_log::verify::{CheckedPart, PartCheck};
use tlog::{PrunedTree, TreeHead};
use transparency::{CheckpointError, LogKeys, leaf_of_envelope};

use crate::file::{Header, Line, read_line};

/// A line without this text is no correction of a charge; one with it may be.
const CORRECTED: &str = "\"budget.adjusted.v";

/// A bundle that was checked.
#[derive(Clone, Debug)]
pub struct Verified {
    pub header: Header,
    /// The tree of its checkpoint.
    pub head: TreeHead,
    pub part: CheckedPart,
}

/// Why a bundle is refused, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("cannot read the bundle: {0}")]
    File(#[from] io::Error),
    #[error("it is not a bundle of this version: its first line is not a header")]
    NotABundle,
    #[error("its header names a range that ends before it begins")]
    EmptyRange,
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The position is that of the event that would be there.
    #[error("position {position}: line {line}: {reason}")]
    Line { position: u64, line: u64, reason: String },
    #[error("position {position}: {reason}")]
    Event { position: u64, reason: String },
    #[error(
        "the root of its {found} leaves is not that of the checkpoint, which has {size}: an event was changed, removed or added, or a \
         hash between the events was; which one cannot be told"
    )]
    OtherRoot { found: u64, size: u64 },
}

/// Checks that the events are those of a checkpoint that one of the keys has signed, and that costs, charges and life cycles of
/// requests follow from them. Reads the file twice. Blocking.
pub fn verify(
    file: &mut (impl BufRead + Seek),
    keys: &LogKeys,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Verified, VerifyError> {
    let header = header(file)?;
    let head = keys.read(header.checkpoint.as_bytes())?;
    if header.from.zip(header.to).is_some_and(|(from, to)| to <= from) {
        return Err(VerifyError::EmptyRange);
    }
    let corrected = corrected(file)?;
    file.rewind()?;
    // Somebody may change the file meanwhile.
    if self::header(file)? != header {
        return Err(VerifyError::NotABundle);
    }
    let (found, part) = check(file, &header, corrected, &mut |position| progress(position, head.size))?;
    if found != head {
        return Err(VerifyError::OtherRoot { found: found.size, size: head.size });
    }
    Ok(Verified { header, head, part })
}

fn header(file: &mut impl BufRead) -> Result<Header, VerifyError> {
    let mut line = Vec::new();
    match read_line(file, &mut line) {
        Ok(line) => line.and_then(Header::parse).ok_or(VerifyError::NotABundle),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(VerifyError::NotABundle),
        Err(error) => Err(error.into()),
    }
}

/// Calls `each` with the lines after the header, and the position of the first leaf that each has.
fn lines(
    file: &mut impl BufRead,
    each: &mut dyn FnMut(u64, &Line<'_>) -> Result<(), Reason>,
) -> Result<(), VerifyError> {
    let (mut buffer, mut line, mut position) = (Vec::new(), 1, 1_u64);
    loop {
        line += 1;
        let wrong = |reason: String| VerifyError::Line { position, line, reason };
        let text = match read_line(file, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(wrong(error.to_string())),
            read => read?,
        };
        let Some(text) = text else { return Ok(()) };
        let read =
            Line::parse(text).ok_or_else(|| wrong("it is neither an event nor the hash of a subtree".to_owned()))?;
        each(position, &read).map_err(|reason| match reason {
            Reason::OfLine(reason) => wrong(reason),
            Reason::OfEvent(reason) => VerifyError::Event { position, reason },
        })?;
        position = position.saturating_add(read.leaves());
    }
}

/// The fault of a line, or of the event in it.
enum Reason {
    OfLine(String),
    OfEvent(String),
}

impl Reason {
    fn of_line(error: impl std::fmt::Display) -> Self {
        Self::OfLine(error.to_string())
    }
}

/// The requests whose charge was corrected. What is wrong with a line is found later.
fn corrected(file: &mut impl BufRead) -> Result<BTreeSet<RequestId>, VerifyError> {
    let mut corrected = BTreeSet::new();
    let read = lines(file, &mut |_, line| {
        if let Line::Event(envelope) = line
            && envelope.contains(CORRECTED)
            && let Ok(Recorded { context, event: Event::Hold(Hold::Adjusted(_)), .. }) = canonical::recorded(envelope)
        {
            corrected.extend(context.request_id);
        }
        Ok(())
    });
    match read {
        Err(error @ VerifyError::File(_)) => Err(error),
        _ => Ok(corrected),
    }
}

/// Checks the events by the rules of the ledger, and returns the tree that the lines are.
fn check(
    file: &mut impl BufRead,
    header: &Header,
    corrected: BTreeSet<RequestId>,
    progress: &mut dyn FnMut(u64),
) -> Result<(TreeHead, CheckedPart), VerifyError> {
    let (mut tree, mut check, mut last) = (PrunedTree::new(), PartCheck::new(header.from, corrected), 0);
    lines(file, &mut |position, line| {
        let (height, hash) = match line {
            Line::Subtree { height, hash } => (*height, *hash),
            Line::Event(envelope) => {
                let recorded = canonical::recorded(envelope).map_err(Reason::of_line)?;
                (last, _) = (position, progress(position));
                let checked = must_belong(header, position, &recorded).and_then(|()| check.check(&recorded));
                checked.map_err(Reason::OfEvent)?;
                (0, leaf_of_envelope(envelope).map_err(Reason::of_line)?)
            }
        };
        tree.add(height, hash).map_err(Reason::of_line)
    })?;
    let part = check.finish().map_err(|reason| VerifyError::Event { position: last, reason })?;
    Ok((tree.head(), part))
}

/// Nothing of others is in the file, but what was in force for the tenant.
fn must_belong(header: &Header, position: u64, recorded: &Recorded) -> Result<(), String> {
    if recorded.position != position {
        return Err(format!("the event here says that it is at position {}", recorded.position));
    }
    if header.to.is_some_and(|to| recorded.recorded_at >= to) {
        return Err("it was recorded after the range of the bundle".to_owned());
    }
    let is_shared = || {
        matches!(&recorded.event, Event::Resource(Resource::Price(_) | Resource::Budget(_) | Resource::RateLimit(_)))
    };
    let belongs = match recorded.context.tenant_id {
        Some(tenant) => tenant == header.tenant_id,
        None => is_shared(),
    };
    if belongs { Ok(()) } else { Err(format!("it is not of {}", header.tenant_id)) }
}
