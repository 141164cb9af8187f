//! Dialects: the APIs that clients speak, the APIs that providers speak, and the translation between them. The crate is
//! pure: bytes in, bytes out, without a clock, network or ledger. Only the simulator, an in-process upstream, waits.
//!
//! Two crates list the dialects: [`surfaces`] for clients, [`provider_dialects`] for providers. Neither knows the other. They
//! meet in a third, [`intermediate`]: requests, whole responses, vectors and streams, and what is measured of them, in a form that
//! belongs to no dialect. So m surfaces and n upstreams cost m + n translations. This crate brings both sides together,
//! and is the only one that knows both. Its `passthrough` bypasses the intermediate form, where both sides speak one dialect. Other
//! crates pass [`Surface`] and [`ProviderKind`] along and never match on them; a test holds that, and the compiler the
//! rest. Rejected: a trait object per side, which allocates for each stream; a conversion per pair, which keeps more
//! of each dialect but is never complete.
//!
//! A [`ClientRequest`] is checked once and gives the body for each target in its dialect. The response comes back whole
//! ([`read_whole`]) or as a stream ([`Relay`]). Both measure it ([`Metered`]), and end it with the facts that only the
//! pipeline knows ([`Receipt`]).

mod kept_calls;
mod passthrough;
mod relay;
mod request;
mod whole;

pub use intermediate::{
    Api, EVENT_BYTES_MAX, Facts, FinishReason, Metered, PromptText, Receipt, Redactor, Rejection, RequestedCap,
    UpstreamFault, UpstreamWords, chat, facts, has_credential, looks_random, may_be_secret, metered::ReportedUsage,
    prompt_texts,
};
pub use kept_calls::KeptCalls;
pub use provider_dialects::{
    self, CountTarget, EmbeddingsTarget, NO_FIELDS, OutboundTarget, ProviderKind, REFUSAL_BYTES_MAX, RETRY_AFTER_MAX,
    Server, UpstreamCap, UpstreamRefusal, UpstreamRefusalKind, read_refusal, refusal_words,
};
pub use relay::Relay;
pub use request::{
    ClientRequest, Ignored, TokenCountRequest, UpstreamBodies, WrittenBody, no_embeddings, read_token_count,
    token_count,
};
pub use surfaces::{
    self, BrokenStream, ErrorForm, RequestHeaders, Surface, error_body, stream_error, with_client_field,
};
pub use whole::{AnswerReader, FailedAnswer, WholeAnswer, read_whole};

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod roundtrip;
#[cfg(test)]
mod translated;
