//! The required signers of a checkpoint: the log, by one of its keys, and the witnesses that were named.

use chrono::DateTime;
use events::time::rfc3339;
use serde_json::{Value, json};
use tlog::{KeyKind, LogPolicy, SignedCheckpoint, VerifierKey};
use transparency::LogKeys;

use super::super::Failure;
use crate::arguments::VerifyArgs;

/// The required signers of a checkpoint.
pub struct Signers {
    pub keys: LogKeys,
    /// Each must have cosigned it.
    witnesses: Vec<VerifierKey>,
}

/// A witness's cosignature of a checkpoint.
pub struct Cosigned {
    witness: String,
    at: String,
}

impl Signers {
    pub fn read(args: &VerifyArgs) -> Result<Self, Failure> {
        let keys = log_keys(&args.checkpoint_key)?;
        let witnesses = args.witness_key.iter().map(|key| witness_key(key)).collect::<Result<_, _>>()?;
        Ok(Self { keys, witnesses })
    }

    pub const fn have_witnesses(&self) -> bool {
        !self.witnesses.is_empty()
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
    pub fn cosigned(&self, checkpoint: &[u8]) -> Result<Vec<Cosigned>, String> {
        self.cosigned_of(&SignedCheckpoint::parse(checkpoint).map_err(|error| error.to_string())?)
    }

    /// Does the same as [`Self::cosigned`], for a checkpoint that has been parsed.
    pub fn cosigned_of(&self, signed: &SignedCheckpoint) -> Result<Vec<Cosigned>, String> {
        let of_one = |witness: &VerifierKey| {
            let of_it = signed.cosignatures(std::slice::from_ref(witness)).map_err(|error| error.to_string())?;
            let cosignature =
                of_it.first().ok_or_else(|| format!("{} has not cosigned the checkpoint", witness.name()))?;
            let at =
                i64::try_from(cosignature.unix_seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            let at = at.ok_or_else(|| format!("{} has cosigned the checkpoint at no possible time", witness.name()))?;
            Ok(Cosigned { witness: witness.name().to_string(), at: rfc3339(at) })
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
    let wrong = |why: &dyn std::fmt::Display| {
        let form = "--checkpoint-key is not a line of /v1/log/key, such as NAME+12345678+BASE64";
        Failure::NotBegun(format!("{form}: {why}"))
    };
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| match line.parse::<VerifierKey>() {
        Ok(key) if key.kind() == KeyKind::Ed25519 => Ok(key),
        Ok(_) => Err(wrong(&"it is the key of a witness, which belongs in --witness-key")),
        Err(error) => Err(wrong(&error)),
    });
    let keys = LogKeys::of_verifiers(keys.collect::<Result<_, _>>()?);
    keys.ok_or_else(|| Failure::NotBegun("--checkpoint-key must have the keys of one log".to_owned()))
}

/// The key of a witness.
fn witness_key(text: &str) -> Result<VerifierKey, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        let form = "--witness-key is not the line that a witness says when it starts, such as NAME+12345678+BASE64";
        Failure::NotBegun(format!("{form}: {why}"))
    };
    match text.trim().parse::<VerifierKey>() {
        Ok(key) if key.kind() == KeyKind::CosignatureV1 => Ok(key),
        Ok(_) => Err(wrong(&"it is the key of a log, which belongs in --checkpoint-key")),
        Err(error) => Err(wrong(&error)),
    }
}
