//! The operations of administration in `/openapi.json`. The reads of the same paths are described in `query`.

use events::event::StreamKind;
use events::event::admin::Permission;
use events::refusal::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, Shape};
use openapi::{Answer, Operation};
use serde_json::json;

use super::declaration::Declaration;
use crate::idempotency::IDEMPOTENCY_HEADER;

const TAG: &str = "Administration";

/// The errors of a change to a resource that exists.
const DECIDED: &[ErrorCode] =
    &[ErrorCode::NotFound, ErrorCode::Conflict, ErrorCode::IdempotencyKeyReused, ErrorCode::ViewBehind];

/// The operation of a request to administration, which may have a body, whether it changes something or not.
pub fn request(id: &str, summary: &str) -> Operation {
    Operation::new(id, TAG, summary).needs(Permission::AdminAccess).refuses(&[
        ErrorCode::InvalidRequest,
        ErrorCode::PayloadTooLarge,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::Overloaded,
    ])
}

/// The operation of a command.
pub fn command(id: &str, summary: &str) -> Operation {
    let meaning =
        "1 to 255 visible ASCII characters. A retry with the same key gets the same response and changes nothing";
    request(id, summary).header(IDEMPOTENCY_HEADER.as_str(), schema::formed("^[!-~]{1,255}$"), meaning).refuses(DECIDED)
}

/// Adds the id in the path.
pub fn on_one(declared: &Declaration, operation: Operation) -> Operation {
    operation.path("id", schema::id(declared.prefix), &format!("Id of the {}", declared.words()))
}

/// Name and schema of the reply to a creation: a new key's has the secret.
fn creation_reply(declared: &Declaration) -> (String, Shape) {
    match declared.kind {
        StreamKind::Key => (format!("{}WithSecret", declared.name()), declared.reply_with_secret().open()),
        _ => (declared.name(), declared.reply()),
    }
}

pub fn creation(declared: &Declaration) -> Operation {
    let words = declared.words();
    let (name, shape) = creation_reply(declared);
    let answer = Answer::json(&format!("The new {words}"), schema::reference(&name)).recorded();
    let creation = format!("New{}", declared.name());
    command(&format!("create_{}", declared.kind.as_str()), &format!("Creates a {words}"))
        .takes(schema::reference(&creation), declared.example.clone())
        .answers(StatusCode::CREATED, answer)
        .defines(&name, shape)
        .defines(&creation, declared.creation())
}

pub fn change(declared: &Declaration) -> Operation {
    let words = declared.words();
    let answer = Answer::json(&format!("The {words} after the change"), schema::reference(&declared.name())).recorded();
    let change = format!("{}Change", declared.name());
    on_one(declared, command(&format!("change_{}", declared.kind.as_str()), &format!("Changes a {words}")))
        .says("Fields that the body omits keep their values; `null` removes an optional field.")
        .takes(schema::reference(&change), json!({}))
        .answers(StatusCode::OK, answer)
        .defines(&declared.name(), declared.reply())
        .defines(&change, declared.change())
}

pub fn end(declared: &Declaration) -> Operation {
    let words = declared.words();
    let answer = Answer::json(&format!("The ended {words}"), schema::reference(&declared.name())).recorded();
    // The word for the act in the docs.
    let verb = match declared.kind {
        StreamKind::Key => "Revokes",
        StreamKind::Budget => "Closes",
        _ => "Deletes",
    };
    on_one(declared, command(&format!("end_{}", declared.kind.as_str()), &format!("{verb} a {words}")))
        .says("Its history is kept.")
        .answers(StatusCode::OK, answer)
}
