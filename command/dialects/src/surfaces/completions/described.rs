//! The legacy completion request and response in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::read::CAP_DEFAULT;
use crate::chat::read::{CHOICES_MAX, OUTPUT_TOKENS_MAX, STOP_MAX};
use crate::surfaces::openai::WORDING;

pub fn describe(operation: Operation, answered: fn(Shape) -> Answer) -> Operation {
    operation
        .says(
            "The prompt becomes one message of the user, and the answer of the provider's chat API is the completion. \
             `suffix`, `echo`, `logprobs`, `best_of` above `n`, several prompts and prompts of token ids are refused. \
             Unknown fields are refused unless they are empty.",
        )
        .worded(WORDING)
        .takes(schema::reference("CompletionRequest"), json!({ "model": "sim-small", "prompt": "hello" }))
        .answers(StatusCode::OK, answered(schema::reference("Completion")))
        .defines("CompletionRequest", request())
        .defines("Completion", completion())
}

fn request() -> Shape {
    let prompt = schema::either([schema::string(), schema::filled_list(schema::string(), Some(1))]);
    let stop = schema::either([schema::string(), schema::list(schema::string(), Some(STOP_MAX))]);
    let cap = maybe(schema::whole(1, OUTPUT_TOKENS_MAX));
    object()
        .required("model", schema::described(schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway"))
        .required("prompt", prompt)
        .optional("max_tokens", schema::described(cap, &format!("{CAP_DEFAULT} if absent, as in OpenAI's API")))
        .optional("temperature", maybe(schema::number()))
        .optional("top_p", maybe(schema::number()))
        .optional("n", maybe(schema::whole(1, CHOICES_MAX)))
        .optional("stop", maybe(stop))
        .optional("frequency_penalty", maybe(schema::number()))
        .optional("presence_penalty", maybe(schema::number()))
        .optional("logit_bias", maybe(schema::map(schema::number(), None)))
        .optional("seed", maybe(schema::number()))
        .optional("user", maybe(schema::string()))
        .optional("stream", maybe(schema::boolean()))
        .optional("stream_options", maybe(object().optional("include_usage", maybe(schema::boolean())).open()))
        .open()
}

fn completion() -> Shape {
    object()
        .required("id", schema::string())
        .required("object", schema::one_of(["text_completion"]))
        .required("model", schema::string())
        .required("choices", schema::list(object().required("text", schema::string()).open(), None))
        .required("usage", object().open())
        .open()
}
