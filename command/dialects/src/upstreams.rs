//! What providers speak: one folder a kind of provider, and one line in the table below. `docs/adding-a-dialect.md` says
//! how another one is added.
//!
//! A folder has an [`Upstream`], which is its row of the table, and a [`StreamReader`]. The row says where and how it is
//! called, and what is particular to it; everything outside of the dialects asks the row and never which kind it is.
//! Requests reach it as the hub's [`ChatRequest`], and its answers leave it as blocks and [`Delta`]s, so that it knows
//! no surface; the only shortcut past the hub is named by [`Upstream::shared_dialect`].
//!
//! Rows are constants and readers are values of one enum: to choose among them costs a request neither an allocation nor
//! a call through a pointer for each event.

mod refusal;

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::refusal::Refusal;
use http::{HeaderValue, Request};
use secrets::Secret;

use super::chat::{ChatRequest, OutputBlock};
use super::delta::Delta;
use super::framing::Event;
use super::metered::ReportReader;
use super::shared_dialect::SharedDialect;
use super::{Metered, OutboundTarget, UpstreamFault};
use simulator::Simulator;

pub use super::framing::Framing;
pub use events::event::admin::ProviderKind;
pub use refusal::{
    REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, UpstreamRefusal, UpstreamRefusalKind, in_band, is_out_of_money, read_refusal,
};

macro_rules! upstreams {
    ($($folder:ident => $kind:ident,)+) => {
        $(pub mod $folder;)+

        /// The kinds by the names that administration and events have for them.
        pub const NAMES: &[(&str, ProviderKind)] = &[$(($folder::UPSTREAM.name, ProviderKind::$kind)),+];

        /// The row of a kind.
        pub const fn of(kind: ProviderKind) -> &'static Upstream {
            match kind {
                $(ProviderKind::$kind => &$folder::UPSTREAM,)+
            }
        }

        /// What reads one stream of any kind.
        pub enum AnyStreamReader {
            $($kind($folder::Reader),)+
        }

        impl AnyStreamReader {
            pub fn of(kind: ProviderKind) -> Self {
                match kind {
                    $(ProviderKind::$kind => Self::$kind($folder::Reader::default()),)+
                }
            }

            /// See [`StreamReader::event`].
            pub fn event(
                &mut self,
                event: Event<'_>,
                metered: &mut Metered,
                each: &mut impl FnMut(Delta<'_>),
            ) -> Result<StreamState, UpstreamFault> {
                match self {
                    $(Self::$kind(reader) => reader.event(event, metered, each),)+
                }
            }

            /// See [`StreamReader::is_complete`].
            pub fn is_complete(&self, metered: &Metered) -> bool {
                match self {
                    $(Self::$kind(reader) => reader.is_complete(metered),)+
                }
            }

            #[cfg(test)]
            pub fn held_bytes(&self) -> usize {
                match self {
                    $(Self::$kind(reader) => reader.held_bytes(),)+
                }
            }
        }
    };
}

upstreams! {
    simulator => Simulator,
    openai => Openai,
    anthropic => Anthropic,
}

/// A row of the table: what is particular to one kind of provider.
pub struct Upstream {
    /// As administration and events name it.
    pub name: &'static str,
    /// As traces name it: the word of the conventions for generative AI, where they have one.
    pub telemetry_name: &'static str,
    pub transport: Transport,
    pub framing: Framing,
    /// The dialect that it shares with a surface, so that requests and answers can go through as they are.
    pub shared_dialect: Option<SharedDialect>,
    /// Whether its models count with a tokenizer that a target can name.
    pub has_tokenizers: bool,
    /// Whether a provider's row can allow fields that change the cost: they are left out where a request is translated.
    pub takes_allowed_fields: bool,
    /// A sentence that says that the account has no money left, where no code does.
    pub out_of_money_sentence: Option<&'static str>,
    /// The hub's request as a body. Errors: `INVALID_REQUEST` for what the dialect has no counterpart for.
    pub request_body: fn(&ChatRequest, &OutboundTarget<'_>) -> Result<Bytes, Refusal>,
    /// A whole answer as blocks. Errors: no JSON of the dialect, an error in band, no answer in it.
    pub read_blocks: fn(&str, &mut Metered) -> Result<Vec<OutputBlock>, UpstreamFault>,
    /// The classes of a report of usage, and those of its input alone.
    pub reported: ReportReader,
}

/// How an upstream is reached.
#[derive(Clone, Copy)]
pub enum Transport {
    Http(Endpoint),
    /// In this process, without address and key.
    InProcess(Simulator),
}

/// What is called over HTTP.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Added to the provider's `base_url`.
    pub path: fn(&Invocation<'_>) -> Cow<'static, str>,
    /// Ends of a `base_url` that would make the path wrong: it is there already, or it is another one's.
    pub wrong_base_url_ends: &'static [&'static str],
    /// Sent with every request.
    pub headers: &'static [(&'static str, &'static str)],
    /// Puts the API key into a request that is finished otherwise, so that it can also be a signature over all of it.
    /// `None` where the key cannot be put into HTTP.
    pub authenticate: fn(&mut Request<Bytes>, &Secret, DateTime<Utc>) -> Option<()>,
}

/// What a path may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    pub streamed: bool,
}

impl Endpoint {
    /// The end of this address that must not be there.
    pub fn wrong_end_of(&self, base_url: &str) -> Option<&'static str> {
        self.wrong_base_url_ends.iter().find(|end| base_url.ends_with(**end)).copied()
    }
}

impl Upstream {
    /// Where it is called over HTTP; `None` for one in this process.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match &self.transport {
            Transport::Http(endpoint) => Some(endpoint),
            Transport::InProcess(_) => None,
        }
    }
}

/// Whether more of a stream is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    Open,
    /// Its terminal marker was seen.
    Ended,
}

/// Reads one stream of an upstream.
pub trait StreamReader: Default {
    /// Measures one event, and hands out what it says.
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault>;

    /// Whether the answer may end here, although its terminal marker was not seen.
    fn is_complete(&self, metered: &Metered) -> bool;

    /// What is kept until the stream ends.
    #[cfg(test)]
    fn held_bytes(&self) -> usize;
}

/// A header's value that no log shows. `None` where it cannot be one.
fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table's words are those of events, and each kind is in it once.
    #[test]
    fn every_kind_has_the_name_that_events_have() {
        for (name, kind) in NAMES {
            assert_eq!(serde_json::to_value(kind).expect("a word"), *name);
            assert_eq!(of(*kind).name, *name);
        }
    }

    #[test]
    fn what_a_call_adds_is_not_in_the_address_already() {
        for (kind, text, wrong) in [
            (ProviderKind::Openai, "https://api.openai.com/v1", None),
            (ProviderKind::Openai, "https://api.openai.com", None),
            (ProviderKind::Openai, "https://api.openai.com/v1/chat/completions", Some("/chat/completions")),
            (ProviderKind::Anthropic, "https://api.anthropic.com", None),
            (ProviderKind::Anthropic, "https://proxy.example.com/anthropic", None),
            (ProviderKind::Anthropic, "https://api.anthropic.com/v1", Some("/v1")),
            (ProviderKind::Anthropic, "https://api.anthropic.com/v1/messages", Some("/v1/messages")),
        ] {
            let endpoint = of(kind).endpoint().expect("it is called over HTTP");
            assert_eq!(endpoint.wrong_end_of(text), wrong, "{text}");
        }
    }
}
