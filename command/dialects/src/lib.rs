//! Dialects: the APIs that clients speak, the APIs that providers speak, and the translation between them. The crate is
//! pure: bytes in, bytes out, without a clock, network or ledger. Only the simulator, an in-process upstream, waits.
//!
//! Two tables list the dialects: [`surfaces`] for clients, [`upstreams`] for providers. Neither knows the other. They
//! meet in a hub: [`chat`] for requests and whole responses, [`embeddings`] for vectors, `delta` for streams, `facts` for what the pipeline needs
//! of a request, `metered` for what is measured of a response. So m surfaces and n upstreams cost m + n translations.
//! Only `passthrough` bypasses the hub, where both sides speak one dialect; it, `request`, `whole` and `relay` alone
//! know both sides. Other crates pass [`Surface`] and [`ProviderKind`] along and never match on them. A test holds both
//! rules. Rejected: a trait object per side, which allocates for each stream; a conversion per pair, which keeps more
//! of each dialect but is never complete.
//!
//! A [`ClientRequest`] is checked once and gives the body for each target in its dialect. The response comes back whole
//! ([`read_whole`]) or as a stream ([`Relay`]). Both measure it ([`Metered`]), and end it with the facts that only the
//! pipeline knows ([`Receipt`]).

pub mod chat;
pub mod embeddings;
pub mod fields;
pub mod json;
pub mod surfaces;
pub mod upstreams;

mod api;
mod delta;
mod facts;
mod fault;
mod framing;
mod kept_calls;
mod metered;
mod passthrough;
mod prompt;
mod receipt;
mod redaction;
mod rejection;
mod relay;
mod report;
mod request;
mod server;
mod shared_dialect;
mod target;
mod whole;
mod work;

pub use api::Api;
pub use events::event::inference::FinishReason;
pub use facts::{Facts, RequestedCap};
pub use fault::UpstreamFault;
pub use framing::EVENT_BYTES_MAX;
pub use kept_calls::KeptCalls;
pub use metered::Metered;
pub use prompt::prompt_texts;
pub use receipt::Receipt;
pub use redaction::{Redactor, may_be_secret};
pub use rejection::{Rejection, UpstreamWords};
pub use relay::Relay;
pub use request::{
    ClientRequest, Ignored, TokenCountRequest, UpstreamBodies, WrittenBody, no_embeddings, read_token_count,
    token_count,
};
pub use server::Server;
pub use surfaces::{BrokenStream, ErrorForm, RequestHeaders, Surface, error_body, stream_error};
#[cfg(test)]
pub use target::NO_FIELDS;
pub use target::{EmbeddingsTarget, OutboundTarget, UpstreamCap};
pub use upstreams::{
    ProviderKind, REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, UpstreamRefusal, UpstreamRefusalKind, read_refusal,
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
