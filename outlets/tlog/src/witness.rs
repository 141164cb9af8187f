//! The protocol between a log and a witness (<https://c2sp.org/tlog-witness>): a `POST` to
//! [`ADD_CHECKPOINT_PATH`] below the address of the witness.

use std::fmt;

use crate::checkpoint::SignedCheckpoint;
use crate::decimal;
use crate::hash::Hash;
use crate::note::{MalformedNote, NOTE_BYTES_MAX, NoteSignature, parse_signatures};
use crate::proof_lines::{self, MalformedProofLines};

/// The path of [`AddCheckpoint`] below the address of a witness.
pub const ADD_CHECKPOINT_PATH: &str = "/add-checkpoint";
/// A longer request is refused: a note of full length, with a proof of full length.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 4096;
/// The longest answer that is read. A cosignature takes a few hundred bytes, and one that no quantum computer forges 4 KB.
pub const ANSWER_BYTES_MAX: usize = 65_536;
/// The content type of an answer that has a size of a tree.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// Asks a witness to cosign a checkpoint. Its text is the body of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddCheckpoint {
    /// The size of the last checkpoint of this log that the witness cosigned, as far as the log knows.
    pub old_size: u64,
    /// The proof that the checkpoint continues it.
    pub consistency: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

/// The bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedRequest {
    #[error("a request has at most {REQUEST_BYTES_MAX} bytes, not {0}")]
    TooLong(usize),
    #[error("a request is UTF-8")]
    NotUtf8,
    #[error("the first line is `old` with a decimal number")]
    OldSize,
    #[error(transparent)]
    Lines(#[from] MalformedProofLines),
}

/// The answer of a witness to a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// 200: its cosignatures, which are not verified yet ([`SignedCheckpoint::add_cosignatures`]).
    Cosigned(Vec<NoteSignature>),
    /// 409: the last checkpoint that it cosigned has another size. Ask again, with a proof from this one.
    OtherSize(u64),
    /// 409 without a size: it has cosigned another root of the same size.
    OtherRoot,
    /// 404: it does not know the log.
    UnknownLog,
    /// 403: it trusts none of the signatures, or one of a key that it trusts is wrong.
    Untrusted,
    /// 422: the proof does not verify.
    Inconsistent,
    /// 400: the request is malformed, or the checkpoint is smaller than the old size.
    BadRequest,
    /// A status that the specification does not have, for example 429 or 503.
    Other { status: u16 },
}

/// A witness's answer has a status that the specification has, and not its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer is not UTF-8")]
    NotUtf8,
    #[error("the answer is not lines of signatures: {0}")]
    Signatures(MalformedNote),
    #[error("the answer is not a size of a tree on a line")]
    Size,
}

impl AddCheckpoint {
    /// Reads the body of a request, as a witness does.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedRequest> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(MalformedRequest::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| MalformedRequest::NotUtf8)?;
        let line = text.strip_prefix("old ").and_then(|rest| rest.split_once('\n'));
        let (old_size, rest) = line.ok_or(MalformedRequest::OldSize)?;
        let old_size = decimal::parse(old_size).ok_or(MalformedRequest::OldSize)?;
        let (consistency, checkpoint) = proof_lines::parse(rest)?;
        Ok(Self { old_size, consistency, checkpoint })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.consistency.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Reads what a witness answered to [`AddCheckpoint`]. `content_type` is the header, if there is one.
pub fn parse_answer(status: u16, content_type: Option<&str>, body: &[u8]) -> Result<Answer, MalformedAnswer> {
    let text = || {
        if body.len() > ANSWER_BYTES_MAX {
            return Err(MalformedAnswer::TooLong);
        }
        std::str::from_utf8(body).map_err(|_| MalformedAnswer::NotUtf8)
    };
    match status {
        200 => parse_signatures(text()?).map(Answer::Cosigned).map_err(MalformedAnswer::Signatures),
        // The other conflict has no size, and no body that is specified.
        409 if content_type.is_some_and(is_size) => {
            let size = text()?.strip_suffix('\n').and_then(decimal::parse);
            size.map(Answer::OtherSize).ok_or(MalformedAnswer::Size)
        }
        409 => Ok(Answer::OtherRoot),
        404 => Ok(Answer::UnknownLog),
        403 => Ok(Answer::Untrusted),
        422 => Ok(Answer::Inconsistent),
        400 => Ok(Answer::BadRequest),
        _ => Ok(Answer::Other { status }),
    }
}

/// True for the content type of a size, with parameters or without.
fn is_size(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(SIZE_CONTENT_TYPE)
}
