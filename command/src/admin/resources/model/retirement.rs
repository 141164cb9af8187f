//! The fields of the end of a model's life.

use events::event::admin::Model;

use super::slug;
use crate::admin::declaration::{Member, optional};
use crate::admin::field_type::time;
use crate::admin::lifecycle::RuleError;

pub fn deprecated_at() -> Member {
    optional("deprecated_at", time())
        .meaning("From then on, answers have the headers Deprecation and, with retires_at, Sunset, and lists say so")
}

pub fn retires_at() -> Member {
    optional("retires_at", time()).meaning(
        "From then on, requests get 404 MODEL_NOT_FOUND with retired_at. Not before deprecated_at, which it needs",
    )
}

pub fn successor() -> Member {
    optional("successor", slug()).meaning("The name of the model to use instead: clients are told")
}

pub fn check(model: &Model) -> Result<(), RuleError> {
    let retirement = &model.retirement;
    if let Some(retires_at) = retirement.retires_at {
        match retirement.deprecated_at {
            None => return Err(RuleError::of_field("deprecated_at", "is required, because retires_at is given")),
            Some(deprecated_at) if deprecated_at > retires_at => {
                return Err(RuleError::of_field("retires_at", "must not be before deprecated_at"));
            }
            Some(_) => {}
        }
    }
    if retirement.successor.as_ref() == Some(&model.name) {
        return Err(RuleError::of_field("successor", "must be another model"));
    }
    Ok(())
}
