//! The parts of `/openapi.json` that queries share.

use events::event::admin::Permission;
use events::event::inference::Payer;
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};

use crate::format::Format;
use crate::page::{AS_OF_POSITION_HEADER, NEXT_CURSOR_HEADER};
use crate::parameters::AS_OF;

/// An operation that a view or the log answers.
pub fn question(id: &str, tag: &str, summary: &str) -> Operation {
    Operation::new(id, tag, summary).min_position().refuses(&[ErrorCode::RateLimited, ErrorCode::QueryTimeout])
}

/// A question for callers that have the permission.
pub fn permitted(id: &str, tag: &str, summary: &str, permission: Permission) -> Operation {
    question(id, tag, summary).needs(permission)
}

/// A page of these items.
pub fn page(item: Shape) -> Shape {
    let next = "Pass it as `cursor` to get the next page; null on the last one";
    object()
        .required_as("as_of_position", schema::count(), "The log position that the page reflects")
        .required("items", schema::list(item, None))
        .required_as("next_cursor", schema::nullable(schema::string()), next)
        .open()
}

/// Adds a 200 with a page of items, whose schema has a name in the document.
pub fn answers_page(operation: Operation, what: &str, name: &str) -> Operation {
    operation.answers(StatusCode::OK, Answer::json(what, page(schema::reference(name))))
}

/// Adds NDJSON and CSV, with headers for what the page has beside its items.
pub fn in_lines(answer: Answer) -> Answer {
    answer
        .or("application/x-ndjson", schema::string())
        .or("text/csv", schema::string())
        .with_header(AS_OF_POSITION_HEADER)
        .with_header(NEXT_CURSOR_HEADER)
}

/// Adds the parameter `as_of`.
pub fn as_of(operation: Operation) -> Operation {
    operation.query(
        AS_OF,
        schema::parameter(),
        "The answer that this request would have got when the log was at this position, or at this RFC 3339 time; not together \
         with `min_position`",
    )
}

/// Adds the header of an answer of an earlier state.
pub fn as_of_answer(answer: Answer) -> Answer {
    let (name, shape, _) = AS_OF_POSITION_HEADER;
    answer.with_header((name, shape, "With `as_of`: the log position that the answer reflects"))
}

/// Adds the parameter `format`.
pub fn formatted(operation: Operation) -> Operation {
    operation.query("format", schema::one_of(Format::NAMES), "Default: `json`")
}

/// The schema of an RFC 3339 time or a date.
pub fn time_or_date() -> Shape {
    schema::either([schema::time(), schema::date()])
}

/// Adds the parameters `from` and `to`.
pub fn between(operation: Operation) -> Operation {
    operation.query("from", time_or_date(), "From this time on; a date means its first instant in UTC").query(
        "to",
        time_or_date(),
        "Before this time",
    )
}

/// Adds a filter for each dimension of requests.
pub fn of_dimensions(operation: Operation) -> Operation {
    let handles = "by id, slug, external id or name";
    operation
        .query("partner", schema::string(), &format!("Only this partner, {handles}"))
        .query("tenant", schema::string(), &format!("Only this tenant, {handles}"))
        .query("user", schema::string(), &format!("Only this user, {handles}; names need `admin:access`"))
        .query("key", schema::string(), "Only this key, by id or name")
        .query("model", schema::parameter(), "Only requests for this model")
        .query("provider", schema::parameter(), "Only requests that this provider served, by its name")
        .query("backend", schema::parameter(), "Only requests that this backend served, as `provider/model`")
        .query(
            "payer",
            schema::one_of(Payer::words()),
            "Only requests that a provider served of which the tenant has its own account (own), or the platform has (brokered)",
        )
        .says(
            "`partner`, `tenant`, `user` and `key` must each match exactly one that you can see, ended ones included. No match is \
             a 400; several matches are a 400 with their number as `matches`.",
        )
}

pub fn nullable_id(prefix: &str) -> Shape {
    schema::nullable(schema::id(prefix))
}

pub fn nullable_time() -> Shape {
    schema::nullable(schema::time())
}
