//! What is published of every question, said once.

use events::event::admin::Permission;
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};

use crate::format::Format;
use crate::page::{AS_OF_POSITION_SAID, NEXT_CURSOR_SAID};

/// A question that a view or the log answers.
pub fn question(id: &str, tag: &str, summary: &str) -> Operation {
    Operation::new(id, tag, summary).min_position().refuses(&[ErrorCode::RateLimited, ErrorCode::QueryTimeout])
}

/// The same, for callers that have the permission.
pub fn permitted(id: &str, tag: &str, summary: &str, permission: Permission) -> Operation {
    question(id, tag, summary).needs(permission)
}

/// A page of these items.
pub fn page(item: Shape) -> Shape {
    let next = "Gives the next page as `cursor`; null on the last";
    object()
        .required("as_of_position", schema::described(schema::count(), "The log position that the page reflects"))
        .required("items", schema::list(item, None))
        .required("next_cursor", schema::described(schema::nullable(schema::string()), next))
        .open()
}

/// 200 with a page of items that have a name in the document.
pub fn answers_page(operation: Operation, what: &str, name: &str) -> Operation {
    operation.answers(StatusCode::OK, Answer::json(what, page(schema::reference(name))))
}

/// The same as lines, with headers for what stands beside the items.
pub fn in_lines(answer: Answer) -> Answer {
    answer
        .or("application/x-ndjson", schema::string())
        .or("text/csv", schema::string())
        .with_header(AS_OF_POSITION_SAID)
        .with_header(NEXT_CURSOR_SAID)
}

/// `format`.
pub fn formatted(operation: Operation) -> Operation {
    operation.query("format", schema::one_of(Format::NAMES), "`json` where it is absent")
}

/// An RFC 3339 time, or a date.
pub fn time_or_date() -> Shape {
    schema::either([schema::time(), schema::date()])
}

/// `from` and `to`.
pub fn between(operation: Operation) -> Operation {
    operation.query("from", time_or_date(), "From this time on; a date is its first instant in UTC").query(
        "to",
        time_or_date(),
        "Before this time",
    )
}

/// The filters of everything that requests are counted by.
pub fn of_dimensions(operation: Operation) -> Operation {
    let handles = "by its id, slug, external id or name";
    operation
        .query("partner", schema::string(), &format!("Of this partner, {handles}"))
        .query("tenant", schema::string(), &format!("Of this tenant, {handles}"))
        .query("user", schema::string(), &format!("Of this user, {handles}; names only for callers with `admin:access`"))
        .query("key", schema::string(), "Of this key, by its id or name")
        .query("model", schema::parameter(), "That asked for this model")
        .query("provider", schema::parameter(), "That this provider served, by its name")
        .query("backend", schema::parameter(), "That this backend served: `provider/model`")
        .says(
            "`partner`, `tenant`, `user` and `key` have to match exactly one that you can see, ended ones included. No match is \
             a 400; several are a 400 with their number as `matches`.",
        )
}

pub fn nullable_id(prefix: &str) -> Shape {
    schema::nullable(schema::id(prefix))
}

pub fn nullable_time() -> Shape {
    schema::nullable(schema::time())
}
