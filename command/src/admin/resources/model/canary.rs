//! The field `canary`: a target that is tried out with a share of the requests.

use events::event::admin::{Canary, CanaryBy, Model};
use events::ids::ProviderId;

use crate::admin::resources::prelude::*;

pub fn canary() -> Member {
    optional("canary", members().into_object()).shown_as(members().creation().open()).meaning(
        "A target that is tried out: it is tried first for a share of the requests or of the tenants, and for all others only after every \
         other target",
    )
}

fn members() -> Members {
    Members(vec![
        required("provider_id", id::<ProviderId>()).meaning("With model: one of the targets"),
        required("model", text(NAME_LEN_MAX)),
        required("share_percent", whole(1, Canary::SHARE_MAX)).meaning("The share, in percent"),
        required("by", one_of(CanaryBy::NAMED))
            .meaning("request: that share of the requests. tenant: all requests of that share of the tenants"),
    ])
}

/// Refuses a canary that is no target, or has none beside it.
pub fn check(model: &Model) -> Result<(), RuleError> {
    if model.canary.is_none() {
        return Ok(());
    }
    if model.canary_index().is_none() {
        let reason = "is not a target of this model: provider_id and model must be those of one of targets";
        return Err(RuleError::of_field("canary", reason));
    }
    if model.targets.len() < 2 {
        return Err(RuleError::of_field("canary", "needs another target beside it, for the other requests"));
    }
    Ok(())
}
