//! Resources as responses show them.

use events::event::StreamKind;
use events::refusal::Refusal;
use projections::resource::with_lifetime;
use projections::views::catalogue::{Resource, ResourceFilter};
use serde_json::Value;

use crate::parameters::Parameters;

/// The filter of a list of resources.
pub fn filter(parameters: &mut Parameters, kind: StreamKind) -> Result<ResourceFilter, Refusal> {
    let has_handles = matches!(kind, StreamKind::Partner | StreamKind::Tenant | StreamKind::User | StreamKind::Team);
    let mut handle = |name: &str| if has_handles { parameters.text(name) } else { None };
    let (slug, external_id) = (handle("slug"), handle("external_id"));
    let (provider, model) = match kind {
        StreamKind::ProviderKey => (parameters.id("provider_id")?, None),
        StreamKind::Price => (parameters.id("provider_id")?, parameters.text("model")),
        _ => (None, None),
    };
    Ok(ResourceFilter {
        slug,
        external_id,
        provider,
        partner: parameters.id("partner_id")?,
        tenant: parameters.id("tenant_id")?,
        user: parameters.id("user_id")?,
        name: parameters.text("name").or(model),
        include_ended: parameters.flag("include_ended")?,
    })
}

/// A resource as JSON. If its owner's end has ended it, it has the owner's `ended_at`, and the owner's id as `ended_by`.
/// A key, whose body has only its user, gets its tenant as well.
pub fn item(resource: Resource, kind: StreamKind) -> Value {
    let mut item = with_lifetime(resource.body, resource.lifetime);
    if let (Some(owner), Some(fields)) = (resource.ended_by, item.as_object_mut()) {
        fields.insert("ended_by".to_owned(), owner.into());
    }
    if kind == StreamKind::Key {
        item["tenant_id"] = resource.tenant.into();
    }
    item
}
