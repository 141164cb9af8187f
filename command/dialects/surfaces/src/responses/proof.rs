//! `encrypted_content` of a reasoning item: a provider's proof, which a client sends back unchanged. The gateway keeps
//! nothing between requests, so each proof says what it proves:
//!
//! - `ledgerway.signature.PROOF`: the provider's signature of the summary's text.
//! - `ledgerway.redacted.PROOF`: reasoning that the provider encrypted.
//! - `ledgerway.call.BYTES.ID.PROOF`: the signature of the tool call with this `call_id`, which has so many bytes. Calls
//!   have no field for it.
//!
//! The proof is the provider's text as it came. It is bounded like any part of a response: 8 MiB in a stream, 32 MiB
//! otherwise.

use std::borrow::Cow;

pub const SIGNATURE: &str = "ledgerway.signature.";
pub const REDACTED: &str = "ledgerway.redacted.";
const CALL: &str = "ledgerway.call.";

/// A proof that came back.
#[derive(Debug, PartialEq, Eq)]
pub enum Proof<'a> {
    Signature(&'a str),
    Redacted(&'a str),
    Call { id: &'a str, signature: &'a str },
}

impl<'a> Proof<'a> {
    /// `None` for text that this gateway did not write.
    pub fn read(text: &'a str) -> Option<Self> {
        if let Some(signature) = text.strip_prefix(SIGNATURE) {
            return Some(Self::Signature(signature));
        }
        if let Some(redacted) = text.strip_prefix(REDACTED) {
            return Some(Self::Redacted(redacted));
        }
        let (bytes, rest) = text.strip_prefix(CALL)?.split_once('.')?;
        let (id, rest) = rest.split_at_checked(bytes.parse().ok()?)?;
        Some(Self::Call { id, signature: rest.strip_prefix('.')? })
    }
}

/// The proof of a call.
pub fn of_call(id: &str, signature: &str) -> Cow<'static, str> {
    format!("{CALL}{}.{id}.{signature}", id.len()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_comes_back_as_it_went() {
        let call = of_call("call.1.é", "a.b");
        for (text, proof) in [
            ("ledgerway.signature.EqQB.x", Some(Proof::Signature("EqQB.x"))),
            ("ledgerway.redacted.", Some(Proof::Redacted(""))),
            (&*call, Some(Proof::Call { id: "call.1.é", signature: "a.b" })),
            ("ledgerway.call.0..s", Some(Proof::Call { id: "", signature: "s" })),
            ("ledgerway.call.9.c.s", None),
            ("ledgerway.call.1.é.s", None),
            ("ledgerway.call.-1.é.s", None),
            ("ledgerway.other.s", None),
            ("gAAAAAB", None),
            ("", None),
        ] {
            assert_eq!(Proof::read(text), proof, "{text}");
        }
    }
}
