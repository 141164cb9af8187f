//! The required signers of a checkpoint: the log, by one of its keys, and the witnesses that were named.

use chrono::DateTime;
use events::time::{Clock, SystemClock, rfc3339};
use serde_json::{Value, json};
use tlog::{KeyKind, LogPolicy, MalformedCheckpoint, NoteRefused, SignedCheckpoint, VerifierKey};
use transparency::LogKeys;

use super::super::Failure;
use crate::arguments::VerifyArgs;

/// The required signers of a checkpoint.
pub struct Signers {
    pub keys: LogKeys,
    /// Each must have cosigned it.
    pub witnesses: Vec<VerifierKey>,
}

/// A witness's cosignature of a checkpoint.
pub struct Cosigned {
    witness: String,
    at: String,
}

/// A checkpoint lacks the cosignature of a witness.
#[derive(Debug, thiserror::Error)]
pub enum NotCosigned {
    #[error("{witness} has not cosigned the checkpoint")]
    Absent { witness: String },
    #[error("{0}")]
    Wrong(String),
}

impl From<NoteRefused> for NotCosigned {
    fn from(error: NoteRefused) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl From<MalformedCheckpoint> for NotCosigned {
    fn from(error: MalformedCheckpoint) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl Signers {
    pub fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        let keys = log_keys(&args.checkpoint_key)?;
        let witnesses = args.witness_key.iter().map(|key| key_of_kind(key.trim(), KeyKind::CosignatureV1));
        Ok(Self { keys, witnesses: witnesses.collect::<Result<_, _>>()? })
    }

    /// Whose proofs are accepted. The witnesses are checked by [`Self::cosigned_of`].
    pub fn log_policy(&self) -> LogPolicy {
        LogPolicy {
            origin: self.keys.origin().to_owned(),
            log_keys: self.keys.verifiers().to_vec(),
            witnesses: Vec::new(),
            cosignatures_min: 0,
        }
    }

    /// The cosignatures of a checkpoint, if each of the witnesses has cosigned it.
    pub fn cosigned(&self, checkpoint: &[u8]) -> Result<Vec<Cosigned>, NotCosigned> {
        self.cosigned_of(&SignedCheckpoint::parse(checkpoint)?)
    }

    /// Does the same as [`Self::cosigned`], for a checkpoint that has been parsed.
    pub fn cosigned_of(&self, signed: &SignedCheckpoint) -> Result<Vec<Cosigned>, NotCosigned> {
        let now = u64::try_from(SystemClock::new().now().timestamp()).unwrap_or_default();
        let of_one = |key: &VerifierKey| {
            let witness = key.name().to_string();
            let of_it = signed.cosignatures(std::slice::from_ref(key))?;
            let Some(cosignature) = of_it.first() else { return Err(NotCosigned::Absent { witness }) };
            let at =
                i64::try_from(cosignature.unix_seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            match at {
                Some(at) if cosignature.is_of_the_future(now) => {
                    let at = rfc3339(at);
                    Err(NotCosigned::Wrong(format!(
                        "{witness} has cosigned the checkpoint at {at}, which has not come"
                    )))
                }
                Some(at) => Ok(Cosigned { witness, at: rfc3339(at) }),
                None => Err(NotCosigned::Wrong(format!("{witness} has cosigned the checkpoint at no possible time"))),
            }
        };
        self.witnesses.iter().map(of_one).collect()
    }
}

/// The end of a sentence about a checkpoint.
pub fn cosigned_sentence(cosigned: &[Cosigned]) -> String {
    cosigned.iter().map(|Cosigned { witness, at }| format!(", cosigned by {witness} at {at}")).collect()
}

pub fn cosigned_json(cosigned: &[Cosigned]) -> Value {
    cosigned.iter().map(|Cosigned { witness, at }| json!({ "name": witness, "cosigned_at": at })).collect()
}

/// The keys of the log, each on a line.
fn log_keys(texts: &[String]) -> Result<LogKeys, Failure> {
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| key_of_kind(line, KeyKind::Ed25519)).collect::<Result<_, _>>()?;
    LogKeys::of_verifiers(keys)
        .ok_or_else(|| Failure::NotBegun("--checkpoint-key must have the keys of one log".to_owned()))
}

/// The key of a log or of a witness, which the argument for it has.
fn key_of_kind(text: &str, kind: KeyKind) -> Result<VerifierKey, Failure> {
    let (form, other) = match kind {
        KeyKind::Ed25519 => {
            ("--checkpoint-key is not a line of /v1/log/key", "witness, which belongs in --witness-key")
        }
        KeyKind::CosignatureV1 => (
            "--witness-key is not the line that a witness says when it starts",
            "log, which belongs in --checkpoint-key",
        ),
    };
    let why = match text.parse::<VerifierKey>() {
        Ok(key) if key.kind() == kind => return Ok(key),
        Ok(_) => format!("it is the key of a {other}"),
        Err(error) => error.to_string(),
    };
    Err(Failure::NotBegun(format!("{form}, such as NAME+12345678+BASE64: {why}")))
}
