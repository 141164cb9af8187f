//! What is published of the routes that administrate. The reads beside them are described where they are answered.

use events::event::admin::Permission;
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::resource::Form;
use openapi::schema::{self, Shape};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::idempotency::IDEMPOTENCY_HEADER;

const TAG: &str = "Administration";

/// A change that was decided on can meet these.
const DECIDED: &[ErrorCode] =
    &[ErrorCode::NotFound, ErrorCode::Conflict, ErrorCode::IdempotencyKeyReused, ErrorCode::ViewBehind];

/// An operation that changes something.
pub fn command(id: &str, summary: &str) -> Operation {
    let meaning = "1 to 255 visible ASCII characters: a retry with the same key answers the same, and changes nothing";
    Operation::new(id, TAG, summary)
        .needs(Permission::AdminAccess)
        .header(IDEMPOTENCY_HEADER, schema::formed("^[!-~]{1,255}$"), meaning)
        .refuses(&[
            ErrorCode::InvalidRequest,
            ErrorCode::PayloadTooLarge,
            ErrorCode::UnsupportedMediaType,
            ErrorCode::Overloaded,
        ])
        .refuses(DECIDED)
}

/// The resource's own id in the path.
pub fn on_one(form: &Form, operation: Operation) -> Operation {
    operation.path("id", schema::id(form.prefix), &format!("Of the {}", form.words()))
}

/// Name and schema of the reply that makes one: with the secret where there is one.
pub fn made(form: &Form) -> (String, Shape) {
    match form.kind {
        "key" => (format!("{}WithSecret", form.name()), form.reply_with_secret()),
        _ => (form.name(), form.reply()),
    }
}

pub fn creation(form: &Form) -> Operation {
    let words = form.words();
    let (name, shape) = made(form);
    let answer = Answer::json(&format!("The new {words}"), schema::reference(&name)).recorded();
    let creation = format!("New{}", form.name());
    command(&format!("create_{}", form.kind), &format!("Creates a {words}"))
        .takes(schema::reference(&creation), form.example.clone())
        .answers(StatusCode::CREATED, answer)
        .defines(&name, shape)
        .defines(&creation, form.creation())
}

pub fn change(form: &Form) -> Operation {
    let words = form.words();
    let answer = Answer::json(&format!("The {words} as it is now"), schema::reference(&form.name())).recorded();
    let change = format!("{}Change", form.name());
    on_one(form, command(&format!("change_{}", form.kind), &format!("Changes a {words}")))
        .says("What the body does not name stays as it is; `null` removes what may be absent.")
        .takes(schema::reference(&change), json!({}))
        .answers(StatusCode::OK, answer)
        .defines(&form.name(), form.reply())
        .defines(&change, form.change())
}

pub fn end(form: &Form) -> Operation {
    let words = form.words();
    let answer = Answer::json(&format!("The {words}, ended"), schema::reference(&form.name())).recorded();
    on_one(form, command(&format!("end_{}", form.kind), &format!("Ends a {words}")))
        .says("Its history stays.")
        .answers(StatusCode::OK, answer)
}
