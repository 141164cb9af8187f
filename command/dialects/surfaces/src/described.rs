//! Descriptions for `/openapi.json` that several surfaces share.

use intermediate::chat::read::{METADATA_KEY_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_MAX, STOP_MAX};
use openapi::schema::{self, Fields, Shape, nullable as maybe};

pub const TOP_P: &str = "Tokens are drawn from the most probable ones that together have this probability";
pub const TOP_K: &str = "Tokens are drawn from so many of the most probable ones";

/// Adds `temperature` and `top_p`.
pub fn drawn_freely(fields: Fields) -> Fields {
    fields.optional_as("temperature", maybe(schema::number()), "How freely tokens are drawn").optional_as(
        "top_p",
        maybe(schema::number()),
        TOP_P,
    )
}

/// Adds the fields that make tokens more or less probable.
pub fn weighted(fields: Fields) -> Fields {
    let occurred_often = "Makes tokens less probable the more often they have occurred";
    let by_id = "By token id: makes single tokens more or less probable";
    fields
        .optional_as("frequency_penalty", maybe(schema::number()), occurred_often)
        .optional_as("presence_penalty", maybe(schema::number()), "Makes tokens less probable that have occurred")
        .optional_as("logit_bias", maybe(schema::map(schema::number(), None)), by_id)
}

/// Adds what a function has besides its type.
pub fn function(fields: Fields) -> Fields {
    fields
        .required_as("name", schema::string(), "Name of the function")
        .optional_as("description", maybe(schema::string()), "What the function is for")
        .optional_as("parameters", maybe(schema::object().open()), "JSON Schema of the arguments")
        .optional_as("strict", maybe(schema::boolean()), "True: the arguments must satisfy the schema")
}

pub fn stop() -> Shape {
    maybe(schema::either([schema::string(), schema::list(schema::string(), Some(STOP_MAX))]))
}

pub fn metadata() -> Shape {
    let value = schema::prose(METADATA_VALUE_MAX);
    maybe(schema::map_named(METADATA_KEY_MAX, value, Some(METADATA_PAIRS_MAX)))
}
