//! `bounds`: how much of each kind a tenant or a partner may have, which only the platform sets.

use events::event::admin::{ResourceBound, SetBounds};
use openapi::schema::object;

use super::prelude::*;

pub const BOUNDS: &str = "bounds";
pub const BOUNDS_PLATFORM_ONLY: &str = "only the platform may set bounds";
/// The highest bound that can be set.
const BOUND_MAX: u64 = 1_000_000_000_000;

/// The bounds of an owner, as far as they bind it.
pub fn bounds(binds: fn(ResourceBound) -> bool) -> Member {
    let bound = schema::nullable(schema::whole(0, BOUND_MAX));
    let bounding = ResourceBound::ALL.iter().copied().filter(|bound| binds(*bound));
    let shape = bounding.fold(object(), |fields, name| fields.optional(name.as_str(), bound.clone())).closed();
    defaulting(BOUNDS, FieldType::new(shape, move |field| read(field, binds)), json!({})).reset_by_null().meaning(
        "How much of each kind it may have, where that differs from the default. Given in a change, it replaces all of them. Only the \
         platform can change it",
    )
}

fn read(field: Field, binds: fn(ResourceBound) -> bool) -> Result<SetBounds, FieldError> {
    let bounding: Vec<ResourceBound> = ResourceBound::ALL.iter().copied().filter(|bound| binds(*bound)).collect();
    let names: Vec<&str> = bounding.iter().map(|bound| bound.as_str()).collect();
    let mut fields = field.object()?.refuse_unknown(&names)?;
    let mut set = Vec::new();
    for bound in bounding {
        let max = fields.optional(bound.as_str(), |field| field.whole(0..=BOUND_MAX))?;
        set.extend(max.map(|max| (bound, max)));
    }
    fields.finish()?;
    Ok(set.into_iter().collect())
}
