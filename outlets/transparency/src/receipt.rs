//! A receipt: the events of one request, each with the proof that it is in the published log. Whoever has the log's public key can
//! check it without the gateway.

use events::ids::RequestId;
use events::plain_json;
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

/// The events of a receipt that are in the log.
#[derive(Clone, PartialEq, Debug)]
pub struct ProvenEvents {
    pub events: Vec<ReceiptEvent>,
    /// The checkpoint that has them all. Of its signatures, only the log's was checked.
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
    /// An entry that is too long has only its hash.
    #[serde(default, deserialize_with = "plain_json::option")]
    pub data: Option<Value>,
}

impl ReceiptEvent {
    /// The charge of a hold's end.
    pub fn charged_usd(&self) -> Option<&str> {
        self.amount("charged_usd")
    }

    /// The signed correction of an earlier charge.
    pub fn delta_usd(&self) -> Option<&str> {
        self.amount("delta_usd")
    }

    fn amount(&self, name: &str) -> Option<&str> {
        self.data.as_ref()?.get(name)?.as_str()
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
    #[error("its proof is of another checkpoint than that of the first event")]
    OtherCheckpoint,
    #[error("its entry is not a ledger event: {0}")]
    Entry(#[from] serde_json::Error),
    #[error("it is another event: its proof is of position {proven}, and it says {said}")]
    OtherEvent { proven: u64, said: u64 },
    #[error("it belongs to the stream {}, and not to the request", shown_text(.stream, STREAM_CHARS_MAX))]
    OtherRequest { stream: String },
}

impl Receipt {
    /// Checks that each of its events is one of the request, and in the log at one checkpoint. It cannot show whether the request has
    /// other events. `None` if it has none.
    pub fn verify(&self, policy: &LogPolicy) -> Result<Option<ProvenEvents>, ReceiptRefused> {
        let (mut before, mut proven): (_, Option<ProvenEvents>) = (0, None);
        for entry in &self.entries {
            let refused = |reason| ReceiptRefused { position: entry.position, reason };
            let (event, checkpoint) = self.proven(entry, before, policy).map_err(refused)?;
            before = entry.position;
            let all = proven.get_or_insert_with(|| ProvenEvents { events: Vec::new(), checkpoint: checkpoint.clone() });
            // Each is of a tree that the log has signed. Of two that do not continue each other, it may not show one event each.
            if checkpoint.unverified().head() != all.checkpoint.unverified().head() {
                return Err(refused(ReceiptFault::OtherCheckpoint));
            }
            all.events.push(event);
        }
        Ok(proven)
    }

    fn proven(
        &self,
        entry: &ReceiptEntry,
        before: u64,
        policy: &LogPolicy,
    ) -> Result<(ReceiptEvent, SignedCheckpoint), ReceiptFault> {
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
        Ok((event, proof.checkpoint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of members may be chosen by a provider or a client, and an entry that is too long has no data.
    #[test]
    fn an_event_is_read_whatever_its_data_is() {
        let event = |data: &str| {
            let text = format!("{{{data}\"position\":1,\"recorded_at\":\"\",\"stream\":\"s\",\"type\":\"t\"}}");
            serde_json::from_str::<ReceiptEvent>(&text).expect("an event")
        };
        let reserved = "\"data\":{\"$serde_json::private::RawValue\":\"x\",\"charged_usd\":\"0.5\"},";
        assert_eq!(event(reserved).charged_usd(), Some("0.5"));
        assert_eq!(event("\"data_sha256\":\"ab\",").charged_usd(), None);
        assert_eq!(event("\"data\":{\"delta_usd\":\"-1\"},").delta_usd(), Some("-1"));
    }
}
