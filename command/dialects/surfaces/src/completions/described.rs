//! The legacy completion request and response in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use intermediate::chat::read::{CHOICES_MAX, OUTPUT_TOKENS_MAX, STOP_MAX};
use openapi::schema::{self, Shape, described as said, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::read::CAP_DEFAULT;
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
    let stop = schema::either([schema::string(), schema::list(schema::string(), Some(STOP_MAX))]);
    let cap = maybe(schema::whole(1, OUTPUT_TOKENS_MAX));
    let options =
        object().optional("include_usage", said(maybe(schema::boolean()), "True: the last chunk has the usage"));
    object()
        .required("model", said(schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway"))
        .required("prompt", said(prompt, "A text, or a list of one"))
        .optional("max_tokens", said(cap, &format!("The output cap: {CAP_DEFAULT} if absent, as in OpenAI's API")))
        .optional("temperature", said(maybe(schema::number()), "How freely tokens are drawn"))
        .optional(
            "top_p",
            said(
                maybe(schema::number()),
                "Tokens are drawn from the most probable ones that together have this probability",
            ),
        )
        .optional("n", said(maybe(schema::whole(1, CHOICES_MAX)), "Number of choices; the output cap holds for each"))
        .optional("best_of", said(maybe(schema::whole(1, CHOICES_MAX)), "Not above `n`"))
        .optional("stop", said(maybe(stop), "The completion ends before any of them"))
        .optional(
            "frequency_penalty",
            said(maybe(schema::number()), "Makes tokens less probable the more often they have occurred"),
        )
        .optional("presence_penalty", said(maybe(schema::number()), "Makes tokens less probable that have occurred"))
        .optional(
            "logit_bias",
            said(maybe(schema::map(schema::number(), None)), "By token id: makes single tokens more or less probable"),
        )
        .optional("seed", said(maybe(schema::number()), "The same seed gives about the same completion"))
        .optional("user", said(maybe(schema::string()), "Your name for your own user"))
        .optional("stream", said(maybe(schema::boolean()), "True: respond with server-sent events"))
        .optional("stream_options", said(maybe(options.open()), "Options of a stream"))
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
