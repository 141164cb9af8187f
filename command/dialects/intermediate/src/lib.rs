//! The intermediate form of all dialects: what clients of any dialect ask, and what providers of any dialect answer, in a form that
//! belongs to none of them. [`chat`] has requests and whole responses, [`embeddings`] has vectors, [`delta`] has streams,
//! [`facts`] has what the pipeline needs of a request, [`metered`] has what is measured of a response. The rest is what
//! dialects are read and written with: JSON, fields, framings, usage reports.
//!
//! The crate knows no dialect: `surfaces` and `provider_dialects` depend on it, and not on each other, so the compiler holds what
//! this page says.

pub mod chat;
pub mod delta;
pub mod embeddings;
pub mod facts;
pub mod fields;
pub mod framing;
pub mod json;
pub mod metered;
pub mod other_gateways;
pub mod rejection;
pub mod report;
pub mod shared_dialect;
pub mod work;

mod api;
mod fault;
mod prompt;
mod receipt;
mod redaction;

pub use api::Api;
pub use events::event::inference::FinishReason;
pub use facts::{Facts, RequestedCap};
pub use fault::UpstreamFault;
pub use framing::EVENT_BYTES_MAX;
pub use metered::Metered;
pub use prompt::{PromptText, prompt_texts};
pub use receipt::Receipt;
pub use redaction::{Redactor, has_credential, looks_random, may_be_secret};
pub use rejection::{Rejection, UpstreamWords};
