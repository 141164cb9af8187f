//! The field `shadow`: another model that gets a copy of a share of the requests.

use events::event::admin::{Model, Shadow};

use super::slug;
use crate::admin::declaration::{Member, Members, optional, required};
use crate::admin::field_type::whole;
use crate::admin::lifecycle::RuleError;

pub fn shadow() -> Member {
    optional("shadow", members().into_object()).shown_as(members().creation().open()).meaning(
        "Another model that gets a copy of a share of the requests, once they are answered. Nobody gets the answers of copies; whoever \
         owns this model pays for them",
    )
}

fn members() -> Members {
    Members(vec![
        required("model", slug()).meaning("The name of another model, as the owner of this one sees it"),
        required("share_percent", whole(1, Shadow::SHARE_MAX)).meaning("The share of the requests, in percent"),
    ])
}

/// Refuses a shadow that is the model itself. One that is not there yet may be made later.
pub fn check(model: &Model) -> Result<(), RuleError> {
    match &model.shadow {
        Some(shadow) if shadow.model == model.name => Err(RuleError::of_field("shadow.model", "must be another model")),
        _ => Ok(()),
    }
}
