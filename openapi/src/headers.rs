//! Headers that answers have.

use utoipa::openapi::Header;
use utoipa::openapi::header::HeaderBuilder;

use crate::schema::{self, Shape};

/// Name, form and meaning.
pub type Said = (&'static str, fn() -> Shape, &'static str);

fn request_id() -> Shape {
    schema::id("req_")
}

/// On every answer.
pub const REQUEST_ID: Said = ("x-request-id", request_id, "Names the request in the log and in the ledger");
/// On answers to what was recorded.
pub const POSITION: Said = (
    "x-ledgerway-position",
    schema::count,
    "The log position at which it is a fact; absent where nothing was recorded",
);
/// On refusals that pass.
pub const RETRY_AFTER: Said = ("retry-after", schema::count, "Seconds after which it is worth trying again");
/// On refusals that will be the same again.
pub const SHOULD_RETRY: Said = ("x-should-retry", never, "false: trying again will not help");
/// On what a rate limit governs: the tightest limit.
pub const RATE_LIMIT: [Said; 4] = [
    ("x-ratelimit-limit", schema::count, "What the tightest limit admits; absent where none binds the caller"),
    ("x-ratelimit-remaining", schema::count, "What is left of it"),
    ("x-ratelimit-reset", schema::count, "Seconds since 1970 at which more will be left"),
    ("x-ratelimit-measure", schema::string, "What it measures: `requests_per_minute`"),
];

fn never() -> Shape {
    schema::one_of(["false"])
}

pub fn header((name, shape, meaning): Said) -> (String, Header) {
    (name.to_owned(), HeaderBuilder::new().schema(shape()).description(Some(meaning)).build())
}
