//! What is published of the request path.

use dialects::surfaces::SurfaceSpec;
use events::event::admin::Permission;
use events::refusal::ErrorCode;
use openapi::schema::{self, Shape};
use openapi::{Answer, Operation};

use crate::idempotency::IDEMPOTENCY_HEADER;

const EVENTS: &str = "text/event-stream";

/// What an inference can be refused with beside what any request with a body can be.
const REFUSALS: &[ErrorCode] = &[
    ErrorCode::ModelNotAllowed,
    ErrorCode::ModelNotFound,
    ErrorCode::Conflict,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::ModelUnpriced,
    ErrorCode::BudgetExceeded,
    ErrorCode::RateLimited,
    ErrorCode::UpstreamRejected,
    ErrorCode::UpstreamError,
    ErrorCode::AllProvidersUnavailable,
    ErrorCode::UpstreamTimeout,
];

fn inference(id: &str, summary: &str) -> Operation {
    let meaning = "1 to 255 visible ASCII characters: a retry with the same key and body is refused while the request is \
                   being answered, and once it was charged";
    Operation::new(id, "Inference", summary)
        .needs(Permission::ModelsUse)
        .header(IDEMPOTENCY_HEADER, schema::formed("^[!-~]{1,255}$"), meaning)
        .refuses(REFUSALS)
}

fn backend() -> Shape {
    schema::described(schema::string(), "provider/model")
}

fn answer(shape: Shape) -> Answer {
    Answer::json("The answer, or its events", shape)
        .or(EVENTS, schema::event())
        .recorded()
        .limited()
        .with_header(("x-ledgerway-backend", backend, "Who served it: `provider/model`"))
        .with_header(("x-ledgerway-max-output-tokens", schema::count, "The output cap, where budgets lowered it"))
        .with_header(("x-ledgerway-cost-usd", schema::money, "What was charged; not on streams"))
}

pub fn chat(surface: &SurfaceSpec, id: &str) -> Operation {
    (surface.describe)(inference(id, surface.summary), answer)
}
