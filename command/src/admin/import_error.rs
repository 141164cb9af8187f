//! Why a catalogue is not taken, or not completely.

use built_in_catalogue::{InvalidCatalogue, Older};
use events::refusal::{ErrorCode, Refusal};

use crate::ledger_unavailable::ledger_unavailable;

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the document {0}")]
    Invalid(InvalidCatalogue),
    #[error("the document is not UTF-8")]
    NotText,
    #[error("the document {0}{advice}", advice = advice(*.0))]
    Older(Older),
    /// Nothing was changed.
    #[error("cannot write the catalogue: {0}")]
    NotWritten(std::io::Error),
    /// Nothing was changed.
    #[error("too many imports that are in force could not be recorded yet")]
    TooManyKept,
    /// The catalogue is taken; not everything that follows from it is recorded.
    #[error("the catalogue is taken, but not everything is recorded: {0}")]
    Unfinished(String),
    /// The gateway is shutting down.
    #[error("the gateway takes no imports any more")]
    Stopped,
}

const fn advice(older: Older) -> &'static str {
    match older {
        Older::ThanShipped { .. } => "",
        Older::ThanInForce { .. } => "; to go back, send force=true",
    }
}

impl ImportError {
    /// The place in the document is the field that is wrong.
    pub fn into_refusal(self) -> Refusal {
        let message = self.to_string();
        match self {
            Self::Invalid(
                InvalidCatalogue::Content { place, problem } | InvalidCatalogue::Form { place: Some(place), problem },
            ) => Refusal::invalid(place, problem),
            Self::Invalid(InvalidCatalogue::Form { place: None, .. }) | Self::NotText => Refusal::invalid("", message),
            Self::Invalid(InvalidCatalogue::TooLarge) => Refusal::new(ErrorCode::PayloadTooLarge, message),
            Self::Older(_) => Refusal::new(ErrorCode::Conflict, message),
            Self::NotWritten(_) => {
                ledger_unavailable("no", "the catalogue cannot be written to the data folder, so nothing was changed")
                    .because(message)
            }
            Self::TooManyKept => ledger_unavailable(
                "no",
                "too many imports before this one could not be recorded yet, so nothing was changed: send it again once they are",
            )
            .because(message),
            Self::Unfinished(_) => ledger_unavailable(
                "unknown",
                "the catalogue is taken, but not all of its prices are recorded yet: send it again, or wait until the \
                 gateway has recorded the rest by itself",
            )
            .because(message),
            Self::Stopped => Refusal::new(ErrorCode::Draining, message),
        }
    }
}
