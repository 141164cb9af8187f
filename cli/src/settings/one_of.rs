//! Values that shells complete. The parser accepts any text, so that the configuration or the command can refuse a wrong one
//! in one sentence.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error};

/// A parser of any text that offers `values` for completion.
#[derive(Clone)]
pub struct OneOf {
    values: Vec<&'static str>,
}

impl OneOf {
    pub fn new(values: impl IntoIterator<Item = &'static str>) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

impl TypedValueParser for OneOf {
    type Value = String;

    fn parse_ref(&self, _: &Command, _: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        Ok(value.to_string_lossy().into_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.values.iter().copied().map(PossibleValue::new)))
    }
}
