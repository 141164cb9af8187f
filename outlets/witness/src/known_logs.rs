//! The logs that a witness cosigns.

use std::collections::BTreeMap;

use tlog::{KeyKind, KeyName, VerifierKey};

/// The logs that a witness cosigns, by origin, with the keys of each: at least one log, and at least one key of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLogs(BTreeMap<String, Vec<VerifierKey>>);

/// A key cannot be that of a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogKeyRefused {
    #[error("no key of a log was given")]
    None,
    #[error("the key of {0} is one for cosignatures, of a witness: the key of a log is of type 0x01")]
    OfWitness(KeyName),
}

impl KnownLogs {
    /// The name of a key is the origin of its log. Keys of one name are keys of one log.
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Result<Self, LogKeyRefused> {
        let mut by_origin = BTreeMap::<String, Vec<VerifierKey>>::new();
        for key in keys {
            if key.kind() != KeyKind::Ed25519 {
                return Err(LogKeyRefused::OfWitness(key.name().clone()));
            }
            by_origin.entry(key.name().to_string()).or_default().push(key);
        }
        if by_origin.is_empty() { Err(LogKeyRefused::None) } else { Ok(Self(by_origin)) }
    }

    pub(crate) fn into_by_origin(self) -> BTreeMap<String, Vec<VerifierKey>> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use tlog::{Cosigner, Signer};

    use super::*;

    #[test]
    fn keys_of_one_name_are_of_one_log_and_a_witness_is_no_log() {
        let key = |name: &str, seed| {
            Signer::from_seed(name.parse().expect("a name"), &[seed; 32]).expect("a seed").verifier_key().clone()
        };
        let (first, next, other) = (key("a.example/log", 1), key("a.example/log", 2), key("b.example/log", 1));
        let known = KnownLogs::new([first.clone(), other.clone(), next.clone()]).expect("keys of logs").0;
        assert_eq!(known["a.example/log"], [first, next]);
        assert_eq!(known["b.example/log"], [other]);
        assert_eq!(KnownLogs::new([]), Err(LogKeyRefused::None));
        let witness = Cosigner::from_seed("w.example".parse().expect("a name"), &[1; 32]).expect("a seed");
        let refused = KnownLogs::new([witness.verifier_key().clone()]);
        assert_eq!(refused, Err(LogKeyRefused::OfWitness(witness.verifier_key().name().clone())));
    }
}
