//! The legacy completion request and response in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use intermediate::chat::read::{CHOICES_MAX, OUTPUT_TOKENS_MAX};
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::read::CAP_DEFAULT;
use crate::described::{drawn_freely, stop, weighted};
use crate::openai::WORDING;

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
    let cap = maybe(schema::whole(1, OUTPUT_TOKENS_MAX));
    let options = object().optional_as("include_usage", maybe(schema::boolean()), "True: the last chunk has the usage");
    weighted(drawn_freely(object()))
        .required_as("model", schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway")
        .required_as("prompt", prompt, "A text, or a list of one")
        .optional_as("max_tokens", cap, &format!("The output cap: {CAP_DEFAULT} if absent, as in OpenAI's API"))
        .optional_as("n", maybe(schema::whole(1, CHOICES_MAX)), "Number of choices; the output cap holds for each")
        .optional_as("best_of", maybe(schema::whole(1, CHOICES_MAX)), "Not above `n`")
        .optional_as("stop", stop(), "The completion ends before any of them")
        .optional_as("seed", maybe(schema::number()), "The same seed gives about the same completion")
        .optional_as("user", maybe(schema::string()), "Your name for your own user")
        .optional_as("stream", maybe(schema::boolean()), "True: respond with server-sent events")
        .optional_as("stream_options", maybe(options.open()), "Options of a stream")
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
