//! Dialects: how clients speak to the gateway, how upstreams are spoken to, and everything in between. Pure: bytes in,
//! bytes out; no clock, no network, no ledger. Only the simulator, an upstream in this process, waits as it is asked to.
//!
//! Two tables say what there is: [`surfaces`] for clients, [`upstreams`] for providers. Neither knows the other: both meet
//! in the hub, which is [`chat`] for requests and whole answers, `delta` for streams, and what is found out about a
//! request (`facts`) and measured of an answer (`metered`). So a surface and an upstream cost their sum in code, and not
//! their product. `passthrough` is the one shortcut past the hub, for two sides of one dialect; it, `request`, `whole` and
//! `relay` alone know both sides. Outside of this crate a [`Surface`] and a [`ProviderKind`] are carried about, and nothing
//! asks which one it is. A test holds both. Rejected were a trait object for each side, which costs allocations for each stream, and a
//! conversion for each pair, which keeps more of each dialect but is never complete.
//!
//! A [`ClientRequest`] is what a client sent, checked once. It gives the body for each target, in the target's
//! dialect. The answer comes back whole ([`read_whole`]) or as a stream ([`Relay`]); both measure what passes
//! ([`Metered`]) and are closed with what only the pipeline knows ([`Receipt`]).

pub mod chat;
pub mod fields;
pub mod json;
pub mod surfaces;
pub mod upstreams;

mod delta;
mod facts;
mod fault;
mod framing;
mod metered;
mod passthrough;
mod prompt;
mod receipt;
mod redaction;
mod rejection;
mod relay;
mod report;
mod request;
mod shared_dialect;
mod target;
mod whole;
mod work;

pub use events::event::inference::FinishReason;
pub use facts::RequestedCap;
pub use fault::UpstreamFault;
pub use framing::EVENT_BYTES_MAX;
pub use metered::Metered;
pub use prompt::prompt_texts;
pub use receipt::Receipt;
pub use redaction::{Redactor, may_be_secret};
pub use rejection::{Rejection, UpstreamWords};
pub use relay::Relay;
pub use request::ClientRequest;
pub use surfaces::{ErrorForm, Surface, error_body, stream_error};
#[cfg(test)]
pub use target::NO_FIELDS;
pub use target::{OutboundTarget, UpstreamCap};
pub use upstreams::{
    ProviderKind, REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, UpstreamRefusal, UpstreamRefusalKind, read_refusal,
};
pub use whole::{FailedAnswer, WholeAnswer, read_whole};

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod roundtrip;
