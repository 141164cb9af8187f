//! The terms of targets, as bodies have them: what a model states of a target, and what a tenant requires.

use events::terms::{Region, RequiredTerms, Term};
use openapi::schema::{Shape, nullable, object};

use super::prelude::*;

/// The terms that a model can state of a target.
pub fn stated() -> [Member; 3] {
    let region = FieldType::new(region(), |field| field.parsed::<Region>());
    [
        optional("region", region).meaning(
            "Where the provider processes requests, such as eu or eu-central-1. In a model of a tenant's, a target on a shared provider \
             has what shared models state instead, of all terms",
        ),
        defaulting("zero_retention", boolean(), json!(false)).meaning("True if the provider promises to keep nothing of a request"),
        optional("training", boolean()).meaning("Whether the provider trains on requests; null if nobody has said, which counts as yes"),
    ]
}

/// The terms that can be required of each target.
pub fn required() -> FieldType {
    FieldType::new(required_shape(), read_required)
}

pub fn required_shape() -> Shape {
    object()
        .optional_as(
            "residency",
            nullable(region()),
            "The region that it must be in, such as eu: eu-central-1 is in it",
        )
        .optional_as("zero_retention", nullable(schema::boolean()), "True: its provider must promise to keep nothing")
        .optional_as("training", nullable(schema::boolean()), "False: its provider must not train on requests")
        .closed()
}

pub fn read_required(field: Field) -> Result<RequiredTerms, FieldError> {
    let names: Vec<&str> = Term::words().collect();
    let mut fields = field.object()?.refuse_unknown(&names)?;
    let terms = RequiredTerms {
        residency: fields.optional(Term::Residency.as_str(), |field| field.parsed())?,
        zero_retention: fields.optional(Term::ZeroRetention.as_str(), Field::boolean)?.unwrap_or(false),
        training: fields.optional(Term::Training.as_str(), Field::boolean)?.unwrap_or(true),
    };
    fields.finish()?;
    Ok(terms)
}

fn region() -> Shape {
    schema::formed_within(Region::LEN_MAX, Region::FORM)
}
