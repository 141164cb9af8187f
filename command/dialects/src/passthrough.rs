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
use surfaces::{Surface, priceable};

/// Mistral's name for the seed, which its clients use.
const RANDOM_SEED: &str = "random_seed";

/// A client's body, edited for its target.
pub struct EditedBody {
    pub bytes: Bytes,
    /// The client's fields that were taken out of it, or changed, because the target's model refuses them.
    pub left_out: Vec<&'static str>,
    /// Whether the wishes to think were taken out, so that the model is asked for no thoughts.
    pub asks_for_no_thoughts: bool,
}

impl EditedBody {
    /// A body from which nothing was taken.
    const fn whole(bytes: Bytes) -> Self {
        Self { bytes, left_out: Vec::new(), asks_for_no_thoughts: false }
    }
}

/// Whether the value of a parameter asks for something that is missed without it. A temperature of zero does.
fn asks(member: &Member<'_>) -> bool {
    match member.name() {
        "frequency_penalty" | "presence_penalty" | "logit_bias" => !matches!(member.value, "0" | "0.0" | "{}" | "null"),
        "reasoning_effort" => !matches!(member.value, r#""none""# | "null"),
        _ => json::kind(member.value) != Kind::Null,
    }
}

/// Whether a body is sent without its fields for how hard to reason.
fn refuses_effort(refused: RefusedParameters) -> bool {
    refused.contains(RefusedParameter::ReasoningEffort) || refused.contains(RefusedParameter::EffortWithTools)
}

/// Whether a member, which can be a wish to think, is sent to nobody who refuses an effort. One that switches thoughts off is sent.
fn is_wish(member: &Member<'_>) -> bool {
    json::kind(member.value) == Kind::Null || priceable::asks_for_thoughts(member.name(), member.value)
}

/// The name of a member, if it is a refused parameter of how tokens are drawn.
fn refused_sampling(member: &Member<'_>, refused: RefusedParameters) -> Option<&'static str> {
    if member.name() == RANDOM_SEED {
        return refused.contains(RefusedParameter::Seed).then_some(RANDOM_SEED);
    }
    let is_it = |parameter: &RefusedParameter| parameter.as_str() == member.name() && refused.contains(*parameter);
    RefusedParameters::SAMPLING.into_iter().find(is_it).map(RefusedParameter::as_str)
}

/// The dialect that both speak; `None` if messages between them must be translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    provider_dialects::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
