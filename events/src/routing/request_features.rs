//! Features of a request, for rules. They are computed once from the request alone, without a model, and recorded with the admission, so
//! that the log shows which rule applied. docs/routing.md says how each feature is found.

use serde::{Deserialize, Serialize};

use crate::named;

/// The features of a request, in the order of their names, since [`super::SeenRequest`] digests them as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFeatures {
    /// From 0 to 100.
    pub complexity: u64,
    pub documents: u64,
    /// From 0 to 23, in UTC.
    pub hour: u64,
    pub images: u64,
    /// An estimate of the prompt's tokens.
    pub input_tokens: u64,
    /// The language of the last message of the user, as in ISO 639-1; [`UNKNOWN_LANGUAGE`] if it is none of those that are told apart.
    pub language: String,
    pub request_type: RequestType,
    pub streaming: bool,
    pub structured_output: bool,
    pub tools: bool,
}

/// The code of ISO 639-2 for a language that was not determined.
pub const UNKNOWN_LANGUAGE: &str = "und";

named! {
    /// The purpose of a request. The word is recorded, and so can never change.
    pub enum RequestType {
        Chat = "chat",
        Code = "code",
        Extraction = "extraction",
        Translation = "translation",
        Summary = "summary",
        Reasoning = "reasoning",
    }
}
