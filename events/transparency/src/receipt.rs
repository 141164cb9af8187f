//! A receipt: the events of one request, each with the proof that it is in the published log. Whoever has the log's public key can
//! check it without the gateway.

use events::ids::RequestId;
use events::shown_text::shown_text;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tlog::{Hash, LogPolicy, MalformedTlogProof, SignedCheckpoint, TlogProof, TlogProofRefused};

/// The most characters of the stream of a foreign event that are shown.
const STREAM_CHARS_MAX: usize = 64;

/// The answer of `GET /v1/inferences/{request_id}/receipt`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    pub request_id: RequestId,
    pub entries: Vec<ReceiptEntry>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiptEntry {
    pub position: u64,
    /// The canonical JSON of the event: the leaf.
    pub entry: String,
    /// The text of a file `c2sp.org/tlog-proof@v1`.
    pub proof: String,
}

/// An event of a receipt that is in the log.
#[derive(Clone, PartialEq, Debug)]
pub struct ProvenEvent {
    pub event: ReceiptEvent,
    /// The one that its proof is of. Only the log's signature was checked.
    pub checkpoint: SignedCheckpoint,
}

/// The members of an event that say what it is.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct ReceiptEvent {
    pub position: u64,
    pub recorded_at: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub stream: String,
    pub data: Value,
}

impl ReceiptEvent {
    /// The charge of a hold's end, or the signed correction of one.
    pub fn charged_usd(&self) -> Option<&str> {
        self.data.get("charged_usd").or_else(|| self.data.get("delta_usd"))?.as_str()
    }
}

/// An event of a receipt is not what it has to be.
#[derive(Debug, thiserror::Error)]
#[error("position {position}: {reason}")]
pub struct ReceiptRefused {
    pub position: u64,
    pub reason: ReceiptFault,
}

#[derive(Debug, thiserror::Error)]
pub enum ReceiptFault {
    #[error("it is not after the event before it")]
    Order,
    #[error("its proof cannot be read: {0}")]
    Proof(#[from] MalformedTlogProof),
    #[error(transparent)]
    Refused(#[from] TlogProofRefused),
    #[error("its entry is no event of a ledger: {0}")]
    Entry(#[from] serde_json::Error),
    #[error("it is another event: its proof is of position {proven}, and it says {said}")]
    OtherEvent { proven: u64, said: u64 },
    #[error("it is of the stream {}, and not of the request", shown_text(.stream, STREAM_CHARS_MAX))]
    OtherRequest { stream: String },
}

impl Receipt {
    /// Checks that each of its events is one of the request, and in the log. Whether the request has others, it cannot show.
    pub fn verify(&self, policy: &LogPolicy) -> Result<Vec<ProvenEvent>, ReceiptRefused> {
        let mut before = 0;
        let proven = |entry: &ReceiptEntry| {
            let position = entry.position;
            let proven = self.proven(entry, std::mem::replace(&mut before, position), policy);
            proven.map_err(|reason| ReceiptRefused { position, reason })
        };
        self.entries.iter().map(proven).collect()
    }

    fn proven(&self, entry: &ReceiptEntry, before: u64, policy: &LogPolicy) -> Result<ProvenEvent, ReceiptFault> {
        if entry.position <= before {
            return Err(ReceiptFault::Order);
        }
        let proof = TlogProof::parse(entry.proof.as_bytes())?;
        proof.verify(&Hash::of_leaf(entry.entry.as_bytes()), policy)?;
        let event: ReceiptEvent = serde_json::from_str(&entry.entry)?;
        let proven = proof.index.saturating_add(1);
        if proven != entry.position || event.position != entry.position {
            return Err(ReceiptFault::OtherEvent { proven, said: event.position });
        }
        if ["inference", "hold"].iter().all(|kind| event.stream != format!("{kind}-{}", self.request_id)) {
            return Err(ReceiptFault::OtherRequest { stream: event.stream });
        }
        Ok(ProvenEvent { event, checkpoint: proof.checkpoint })
    }
}
