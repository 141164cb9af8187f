//! Vertex AI, as an upstream. It serves Google's models with the body of [`gemini`], and Anthropic's with that of
//! [`anthropic`]: the name of the model says which.

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::{AnswerChoice, ChatRequest};
use intermediate::delta::Delta;
use intermediate::framing::Event;
use intermediate::metered::ReadReport;
use intermediate::{Metered, UpstreamFault, json};

use super::authentication::bearer;
use super::gemini::model::{escaped, method};
use super::{Endpoint, StreamReader, StreamState, TokenExchange, Transport, Upstream, anthropic, gemini};
use crate::OutboundTarget;

/// Takes the place of the header `anthropic-version`.
const ANTHROPIC_VERSION: &str = "vertex-2023-10-16";
const OF_ANTHROPIC: &str = "publishers/anthropic/models/";
/// Prefixes that the name of one of Google's models may have.
const OF_GOOGLE: [&str; 2] = ["publishers/google/models/", "models/"];
/// A model that was tuned and deployed in the project.
const DEPLOYED: &str = "endpoints/";

/// The row for Google's models.
pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "gcp.vertex_ai",
    transport: Transport::Http(Endpoint {
        path: |invocation| path(invocation.model, invocation.streamed).into(),
        wrong_base_url_ends: &["/openapi", "/endpoints", "/publishers", "/google", "/anthropic", "/models"],
        settings: &[],
        headers: &[],
        token_exchange: Some(TokenExchange {
            token_uri: "https://oauth2.googleapis.com/token",
            scope: "https://www.googleapis.com/auth/cloud-platform",
        }),
        authenticate: bearer,
    }),
    out_of_money_sentence: None,
    read_choices,
    read_report,
    // Those of Google there have another API, and Anthropic has none.
    embeddings: None,
    ..gemini::UPSTREAM
};

/// The row for Anthropic's models.
pub const OF_CLAUDE: Upstream = Upstream {
    treatment: anthropic::UPSTREAM.treatment,
    request_body: claude_body,
    reports_cache_lifetimes: true,
    ..UPSTREAM
};

/// True for Anthropic's models.
pub fn is_claude(model: &str) -> bool {
    model.starts_with("claude-") || model.starts_with(OF_ANTHROPIC)
}

fn path(model: &str, streamed: bool) -> String {
    if is_claude(model) {
        let model = model.strip_prefix(OF_ANTHROPIC).unwrap_or(model);
        let method = if streamed { ":streamRawPredict" } else { ":rawPredict" };
        return ["/", OF_ANTHROPIC, &escaped(model), method].concat();
    }
    let (before, model) = match model.strip_prefix(DEPLOYED) {
        Some(model) => (DEPLOYED, model),
        None => (OF_GOOGLE[0], OF_GOOGLE.iter().find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model)),
    };
    ["/", before, &escaped(model), method(streamed)].concat()
}

fn claude_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    anthropic::hosted_body(chat, target, ANTHROPIC_VERSION)
}

/// True for a response or an event of Anthropic's: each says its type, and none of Google's does.
fn is_of_claude(text: &str) -> bool {
    json::field(text, "type").is_some()
}

fn read_choices(body: &str, metered: &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault> {
    let row = if is_of_claude(body) { &anthropic::UPSTREAM } else { &gemini::UPSTREAM };
    (row.read_choices)(body, metered)
}

fn read_report(usage: &str) -> ReadReport<'_> {
    let is_of_claude = json::find(usage, ["input_tokens", "output_tokens"]) != [None; 2];
    let row = if is_of_claude { &anthropic::UPSTREAM } else { &gemini::UPSTREAM };
    (row.read_report)(usage)
}

pub use self::VertexReader as Reader;

/// Reads one stream, of the dialect of its first event.
#[derive(Default)]
pub enum VertexReader {
    #[default]
    Unknown,
    Gemini(gemini::Reader),
    Claude(anthropic::Reader),
}

impl StreamReader for VertexReader {
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault> {
        if let Self::Unknown = self {
            *self = match is_of_claude(event.data) {
                true => Self::Claude(anthropic::Reader::default()),
                false => Self::Gemini(gemini::Reader::default()),
            };
        }
        match self {
            Self::Unknown => Ok(StreamState::Open),
            Self::Gemini(reader) => reader.event(event, metered, each),
            Self::Claude(reader) => reader.event(event, metered, each),
        }
    }

    fn is_complete(&self, metered: &Metered) -> bool {
        match self {
            Self::Unknown => false,
            Self::Gemini(reader) => reader.is_complete(metered),
            Self::Claude(reader) => reader.is_complete(metered),
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Gemini(reader) => reader.held_bytes(),
            Self::Claude(reader) => reader.held_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_is_called_at_its_publishers_path() {
        for (model, streamed, wanted) in [
            ("gemini-2.5-pro", false, "/publishers/google/models/gemini-2.5-pro:generateContent"),
            ("models/gemini-2.5-pro", true, "/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
            ("publishers/google/models/gemini-x", false, "/publishers/google/models/gemini-x:generateContent"),
            ("endpoints/4711", false, "/endpoints/4711:generateContent"),
            ("claude-sonnet-4@20250514", false, "/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict"),
            ("publishers/anthropic/models/claude-x", true, "/publishers/anthropic/models/claude-x:streamRawPredict"),
            ("claude-x/../../y?z", false, "/publishers/anthropic/models/claude-x%2F..%2F..%2Fy%3Fz:rawPredict"),
        ] {
            assert_eq!(path(model, streamed), wanted);
        }
    }
}
