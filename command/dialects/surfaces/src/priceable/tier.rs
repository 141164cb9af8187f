//! Service tiers that a request asks for. A price can have them, and then their cost is known.

use events::refusal::Refusal;
use events::usage::ServiceTier;
use intermediate::chat::ChatRequest;
use intermediate::facts::Unpriced;
use intermediate::fields::{Fields, Path};
use intermediate::json;

use super::unpriced;

/// The tier that a provider serves a request with. The price of the target may have it.
pub const SERVICE_TIER: &str = "service_tier";
/// The tiers that a surface takes, for `/openapi.json`.
pub const TIERS: [&str; 4] = ["auto", "default", "flex", "priority"];
pub const TIERS_MEANING: &str = "`flex` and `priority` are for models whose price has this tier";

/// A tier that can be asked for. A batch is another API.
pub fn named_tier(value: &str) -> Option<ServiceTier> {
    askable(&json::string(value)?)
}

fn askable(tier: &str) -> Option<ServiceTier> {
    ServiceTier::parse(tier).filter(|tier| *tier != ServiceTier::Batch)
}

/// The tier that a surface's `service_tier` asks for, on a surface that passes nothing on. Errors: `MODEL_UNPRICED` for one
/// that no price can have.
pub fn service_tier(fields: &mut Fields<'_, '_>) -> Result<Option<ServiceTier>, Refusal> {
    let path = fields.path().field(SERVICE_TIER);
    match fields.string(SERVICE_TIER)?.as_deref() {
        None | Some("auto" | "default") => Ok(None),
        Some(tier) => Ok(Some(askable(tier).ok_or_else(|| another_tier(&path))?)),
    }
}

/// The same of a body whose refusals are known.
pub fn asked_tier(fields: &mut Fields<'_, '_>) -> Option<ServiceTier> {
    fields.raw(SERVICE_TIER).and_then(named_tier)
}

/// The tier that a chat asks for, as a field that changes the cost.
pub fn tier_of_chat(chat: &ChatRequest) -> Option<Unpriced> {
    let refusal = || another_tier(&Path::Root.field(SERVICE_TIER));
    let field = |tier| Unpriced { service_tier: Some(tier), ..Unpriced::new(SERVICE_TIER, refusal()) };
    chat.service_tier.map(field)
}

fn another_tier(path: &Path<'_>) -> Refusal {
    unpriced(path, "may choose another price")
}
