//! The description of the request path in `/openapi.json`.

use dialects::Surface;
use dialects::surfaces::TokenCounting;
use events::event::admin::Permission;
use events::refusal::ErrorCode;
use events::routing::Strategy;
use openapi::schema::{self, Shape};
use openapi::{Answer, Operation};

use super::received::routing_headers::{
    PRIORITY_HEADER, RESIDENCY_HEADER, SESSION_HEADER, STRATEGY_HEADER, TRAINING_HEADER, ZERO_RETENTION_HEADER,
};
use crate::idempotency::IDEMPOTENCY_HEADER;

const EVENTS: &str = "text/event-stream";

/// The error codes of an inference, besides those of any request with a body.
const REFUSALS: &[ErrorCode] = &[
    ErrorCode::ModelNotAllowed,
    ErrorCode::TermsNotMet,
    ErrorCode::ModelNotFound,
    ErrorCode::TenantNotServed,
    ErrorCode::Conflict,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::ModelUnpriced,
    ErrorCode::BudgetExceeded,
    ErrorCode::RateLimited,
    ErrorCode::LimitsUnavailable,
    ErrorCode::UpstreamRejected,
    ErrorCode::UpstreamError,
    ErrorCode::AllProvidersUnavailable,
    ErrorCode::UpstreamTimeout,
];

fn operation(id: &str, summary: &str) -> Operation {
    let meaning = "1 to 255 visible ASCII characters. A retry with the same key and body is refused while the request is \
                   being answered, and after it was charged";
    let operation = Operation::new(id, "Inference", summary).needs(Permission::ModelsUse);
    with_routing_headers(operation)
        .header(IDEMPOTENCY_HEADER.as_str(), schema::formed("^[!-~]{1,255}$"), meaning)
        .header(
            PRIORITY_HEADER.as_str(),
            schema::one_of(["interactive", "batch"]),
            "interactive (default) or batch: who goes first when requests wait for a target",
        )
        .header(
            SESSION_HEADER.as_str(),
            schema::formed("^[!-~]{1,256}$"),
            "For a model with `affinity` `session`: requests with the same value go first to the same of several equal targets",
        )
        .refuses(REFUSALS)
}

/// Adds the headers by which a request says which targets it wants.
fn with_routing_headers(operation: Operation) -> Operation {
    let truth = || schema::one_of(["true", "false"]);
    let strategies = schema::one_of_names(Strategy::CHOOSABLE);
    operation
        .header(
            RESIDENCY_HEADER.as_str(),
            schema::formed("^[a-z0-9]+(-[a-z0-9]+)*$"),
            "The region that targets must be stated to be in, such as eu or eu-central-1",
        )
        .header(ZERO_RETENTION_HEADER.as_str(), truth(), "true: only targets that are stated to keep nothing")
        .header(TRAINING_HEADER.as_str(), truth(), "false: only targets that are stated not to train on it")
        .header(STRATEGY_HEADER.as_str(), strategies, "The order in which targets are tried. Needs routing:choose")
}

fn backend() -> Shape {
    schema::described(schema::string(), "provider/model")
}

fn answer(shape: Shape) -> Answer {
    with_headers(Answer::json("The answer, or its events", shape).or(EVENTS, schema::event())).with_header((
        "x-ledgerway-max-output-tokens",
        schema::count,
        "The output cap, if budgets lowered it",
    ))
}

fn whole_answer(shape: Shape) -> Answer {
    with_headers(Answer::json("The answer", shape))
}

fn with_headers(answer: Answer) -> Answer {
    answer
        .recorded()
        .limited()
        .with_header(("x-ledgerway-backend", backend, "The target that served the request: `provider/model`"))
        .with_header(("x-ledgerway-cost-usd", schema::money, "The amount charged; absent on streams"))
        .with_header((
            "x-ledgerway-leaf-hash",
            schema::string,
            "The hash of the settlement as a leaf of the published log, in base64; absent on streams, and where the log is not \
             published",
        ))
        .with_header(("deprecation", schema::string, "For a deprecated model: since when, as `@` and seconds since 1970"))
        .with_header(("sunset", schema::string, "For a deprecated model: when it is retired, as an HTTP date, if that is known"))
        .with_header((
            "x-ledgerway-ignored",
            schema::string,
            "The fields of the request that the model's provider was not sent, because its API has no counterpart",
        ))
}

/// The description of a request that counts tokens.
pub fn token_counting(counting: &TokenCounting) -> Operation {
    let operation = Operation::new(counting.operation, "Inference", "Counts the tokens of a prompt");
    (counting.describe)(with_routing_headers(operation.needs(Permission::ModelsUse)).refuses(&[
        ErrorCode::ModelNotAllowed,
        ErrorCode::TermsNotMet,
        ErrorCode::ModelNotFound,
        ErrorCode::TenantNotServed,
        ErrorCode::ModelUnpriced,
        ErrorCode::RateLimited,
        ErrorCode::LimitsUnavailable,
        ErrorCode::UpstreamRejected,
        ErrorCode::UpstreamError,
        ErrorCode::UpstreamTimeout,
    ]))
}

pub fn inference(surface: Surface, id: &str) -> Operation {
    let spec = surface.spec();
    let answer = if surface.can_stream() { answer } else { whole_answer };
    (spec.describe)(operation(id, spec.summary), answer)
}
