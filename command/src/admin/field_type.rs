//! What the value of a field can be: what is published of it, and how it is read. Bounds are said once for both.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use events::time::rfc3339;
use openapi::schema::{self, Shape};
use serde::Serialize;
use serde_json::{Value, json};

use super::fields::{Field, FieldError};

/// Reads a value into the form that events have it in.
pub type Reader = Arc<dyn Fn(Field) -> Result<Value, FieldError> + Send + Sync>;

#[derive(Clone)]
pub struct FieldType {
    pub shape: Shape,
    pub read: Reader,
}

impl FieldType {
    /// One of a resource's own.
    pub fn new<T: Serialize>(
        shape: Shape,
        read: impl Fn(Field) -> Result<T, FieldError> + Send + Sync + 'static,
    ) -> Self {
        Self { shape, read: Arc::new(move |field| read(field).map(|value| json!(value))) }
    }

    /// Of these at most so many.
    pub fn list(self, len_max: usize) -> Self {
        let Self { shape, read } = self;
        Self::new(schema::list(shape, Some(len_max)), move |field| field.list(len_max, |item| read(item)))
    }
}

/// A text that is not empty, has no control character and at most `len_max` characters.
pub fn text(len_max: usize) -> FieldType {
    FieldType::new(schema::text(len_max), move |field| field.text(len_max))
}

/// One of those that are `sound`; the others are refused for the reason.
pub fn text_that(shape: Shape, len_max: usize, sound: fn(&str) -> bool, reason: &'static str) -> FieldType {
    FieldType::new(shape, move |field| {
        field.judged(|field| field.text(len_max), |text| if sound(&text) { Ok(text) } else { Err(reason.to_owned()) })
    })
}

/// A text of several lines, which may be empty.
pub fn prose(len_max: usize) -> FieldType {
    FieldType::new(schema::prose(len_max), move |field| field.prose(len_max))
}

pub fn id<I: FromStr<Err: fmt::Display> + Serialize + 'static>(prefix: &str) -> FieldType {
    FieldType::new(schema::id(prefix), Field::parsed::<I>)
}

/// One of the named values.
pub fn one_of<T>(values: impl IntoIterator<Item = (&'static str, T)>) -> FieldType
where
    T: Copy + Serialize + Send + Sync + 'static,
{
    let values: Vec<_> = values.into_iter().collect();
    FieldType::new(schema::one_of_names(&values), move |field| field.one_of(&values))
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

/// An amount of money that is not negative.
pub fn amount() -> FieldType {
    FieldType::new(schema::amount(), Field::money)
}
