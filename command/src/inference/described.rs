//! What is published of the request path and of the list of models.

use events::event::admin::Permission;
use events::wire::ErrorCode;
use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};

use crate::dialects::surfaces::{SurfaceSpec, openai};
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

pub fn models(id: &str) -> Operation {
    let data = schema::list(schema::reference("Model.Listed"), None);
    let list = object().required("object", schema::one_of(["list"])).required("data", data).open();
    Operation::new(id, "Inference", "The models that the key may use")
        .min_position()
        .needs(Permission::ModelsUse)
        .worded(openai::WORDING)
        .answers(StatusCode::OK, Answer::json("OpenAI's list, with prices", list))
        .defines("Model.Listed", model())
}

pub fn one_model(id: &str) -> Operation {
    Operation::new(id, "Inference", "One model that the key may use")
        .min_position()
        .says("Slashes in the name may stand as they are.")
        .needs(Permission::ModelsUse)
        .worded(openai::WORDING)
        .path("name", schema::string(), "Of the model")
        .refuses(&[ErrorCode::ModelNotFound])
        .answers(StatusCode::OK, Answer::json("The model, with its price", schema::reference("Model.Listed")))
        .defines("Model.Listed", model())
}

fn model() -> Shape {
    let tokens = || schema::nullable(schema::count());
    let price = object()
        .required("input_usd_per_mtok", schema::money())
        .required("output_usd_per_mtok", schema::money())
        .required("cache_read_usd_per_mtok", schema::money())
        .required("cache_write_usd_per_mtok", schema::money())
        .required("reasoning_usd_per_mtok", schema::money())
        .required("request_usd", schema::money());
    object()
        .required("id", schema::string())
        .required("object", schema::one_of(["model"]))
        .required("created", schema::count())
        .required("owned_by", schema::string())
        .required("provider", schema::string())
        .required("context_window", tokens())
        .required("max_output_tokens", tokens())
        .required("price", price.open())
        .open()
}
