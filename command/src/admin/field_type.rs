//! Types of fields. A type holds the published schema and the reader together, so that both have the same bounds.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use events::ids::Prefixed;
use events::named::NamedValue;
use events::time::rfc3339;
use openapi::schema::{self, Shape};
use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{Field, FieldError};

/// Reads a value, and returns it in the form of the events.
pub type FieldReader = Arc<dyn Fn(Field) -> Result<Value, FieldError> + Send + Sync>;

#[derive(Clone)]
pub struct FieldType {
    pub shape: Shape,
    pub read: FieldReader,
}

impl FieldType {
    /// A type that one resource defines for itself.
    pub fn new<T: Serialize>(
        shape: Shape,
        read: impl Fn(Field) -> Result<T, FieldError> + Send + Sync + 'static,
    ) -> Self {
        Self { shape, read: Arc::new(move |field| read(field).map(|value| json!(value))) }
    }

    /// A list of at most `len_max` values of this type.
    pub fn list(self, len_max: usize) -> Self {
        let Self { shape, read } = self;
        Self::new(schema::list(shape, Some(len_max)), move |field| field.list(len_max, |item| read(item)))
    }
}

/// A text of 1 to `len_max` characters, not blank and without control characters.
pub fn text(len_max: usize) -> FieldType {
    FieldType::new(schema::text(len_max), move |field| field.text(len_max))
}

/// A text that satisfies `is_valid`; any other is refused with `reason`.
pub fn text_that(shape: Shape, len_max: usize, is_valid: fn(&str) -> bool, reason: &'static str) -> FieldType {
    FieldType::new(shape, move |field| {
        let text = field.text(len_max)?;
        if is_valid(&text) { Ok(text) } else { Err(field.error(reason)) }
    })
}

/// A text that may be empty and have several lines.
pub fn prose(len_max: usize) -> FieldType {
    FieldType::new(schema::prose(len_max), move |field| field.prose(len_max))
}

pub fn id<I: Prefixed + FromStr<Err: fmt::Display> + Serialize + 'static>() -> FieldType {
    FieldType::new(schema::id(I::PREFIX), |field| field.parsed::<I>())
}

/// One of the named values.
pub fn one_of<T: Copy + Serialize + Sync>(values: &'static [NamedValue<T>]) -> FieldType {
    FieldType::new(schema::one_of_names(values), |field| field.one_of(values))
}

pub fn whole(min: u64, max: u64) -> FieldType {
    FieldType::new(schema::whole(min, max), move |field| field.whole(min..=max))
}

pub fn boolean() -> FieldType {
    FieldType::new(schema::boolean(), Field::boolean)
}

pub fn time() -> FieldType {
    FieldType::new(schema::time(), |field| field.time().map(rfc3339))
}

/// A non-negative amount of money.
pub fn amount() -> FieldType {
    FieldType::new(schema::amount(), Field::money)
}
