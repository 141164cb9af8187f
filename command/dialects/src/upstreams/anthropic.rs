//! Anthropic Messages, version 2023-06-01, as an upstream.

mod answer;
mod outbound;
mod schema;
mod stream;
mod usage;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::Request;
use secrets::Secret;

use super::{Endpoint, Transport, Upstream, sensitive};
use crate::framing::Framing;

pub use stream::Reader;

pub const UPSTREAM: Upstream = Upstream {
    name: "anthropic",
    telemetry_name: "anthropic",
    transport: Transport::Http(Endpoint {
        path: |_| "/v1/messages".into(),
        wrong_base_url_ends: &["/v1/messages", "/v1"],
        // The version that still takes `temperature` and `top_p`, which our clients may send.
        headers: &[("anthropic-version", "2023-06-01")],
        authenticate,
    }),
    framing: Framing::Sse,
    shared_dialect: None,
    has_tokenizers: false,
    takes_allowed_fields: false,
    // It is said as a plain `invalid_request_error`.
    out_of_money_sentence: Some("credit balance is too low"),
    request_body: outbound::request_body,
    read_blocks: answer::read_blocks,
    reported: usage::reported,
};

fn authenticate(request: &mut Request<Bytes>, key: &Secret, _: DateTime<Utc>) -> Option<()> {
    request.headers_mut().insert("x-api-key", sensitive(key.reveal())?);
    Some(())
}
