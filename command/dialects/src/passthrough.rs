//! The shortcut between a surface and an upstream that speak one dialect: bytes pass unchanged, apart from a few edits.
//! The intermediate form could translate them too, but the shortcut keeps fields that the intermediate form does not know, and costs less.

pub mod anthropic;
pub mod openai;
mod rewrite;

use bytes::Bytes;
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use intermediate::json::{self, Kind, Member};
use intermediate::shared_dialect::SharedDialect;
use provider_dialects::ProviderKind;
use surfaces::Surface;

/// A client's body, edited for its target.
pub struct EditedBody {
    pub bytes: Bytes,
    /// The client's fields that were taken out of it, or changed, because the target's model refuses them.
    pub left_out: Vec<&'static str>,
}

impl EditedBody {
    /// A body from which nothing was taken.
    const fn whole(bytes: Bytes) -> Self {
        Self { bytes, left_out: Vec::new() }
    }
}

/// Whether the value of a parameter asks for something that is missed without it. A temperature of zero does.
fn asks(member: &Member<'_>) -> bool {
    match member.name() {
        "frequency_penalty" | "presence_penalty" | "logit_bias" => !matches!(member.value, "0" | "0.0" | "{}" | "null"),
        "reasoning_effort" => !matches!(member.value, r#""none""# | "null"),
        "enable_thinking" => member.value == "true",
        _ => json::kind(member.value) != Kind::Null,
    }
}

/// Whether a body is sent without its fields for how hard to reason.
fn refuses_effort(refused: RefusedParameters) -> bool {
    refused.contains(RefusedParameter::ReasoningEffort) || refused.contains(RefusedParameter::EffortWithTools)
}

/// The refused parameter of how tokens are drawn that a member is.
fn refused_sampling(member: &Member<'_>, refused: RefusedParameters) -> Option<RefusedParameter> {
    // Mistral's name for the seed, which its clients use.
    let name = if member.name() == "random_seed" { "seed" } else { member.name() };
    let is_it = |parameter: &RefusedParameter| parameter.as_str() == name && refused.contains(*parameter);
    RefusedParameters::SAMPLING.into_iter().find(is_it)
}

/// The dialect that both speak; `None` if messages between them must be translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    provider_dialects::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
