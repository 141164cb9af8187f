//! Allow lists of models, which keys and tenants have: names, and patterns of names.

use openapi::schema;
use projections::model_globs::ModelGlobs;

use super::NAME_LEN_MAX;
use crate::admin::field_type::FieldType;
use crate::admin::fields::FieldError;

const PATTERNS_LEN_MAX: usize = 200;

pub fn patterns() -> FieldType {
    let shape = schema::list(schema::text(NAME_LEN_MAX), Some(PATTERNS_LEN_MAX));
    FieldType::new(shape, |field| {
        let path = field.path().to_owned();
        let patterns = field.list(PATTERNS_LEN_MAX, |field| field.text(NAME_LEN_MAX))?;
        match ModelGlobs::compile(&patterns) {
            Ok(_) => Ok(patterns),
            Err(error) => Err(FieldError::new(path, format!("{:?} is not a valid glob", error.pattern))),
        }
    })
}
