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
use surfaces::priceable::{self, OUTPUT_CONFIG};

/// Mistral's name for the seed, which its clients use.
const RANDOM_SEED: &str = "random_seed";

/// The field for how hard to reason.
const EFFORT: &str = "reasoning_effort";
/// Anthropic's for whether to think, which compatible servers take too.
const THINKING: &str = "thinking";
/// The top-level fields for whether, how hard and how long to think, of all servers.
const THOUGHT_FIELDS: [&str; 9] = [
    EFFORT, THINKING, OUTPUT_CONFIG, "reasoning", "enable_thinking", "thinking_budget", "reasoning_budget",
    "thinking_token_budget", "max_thinking_tokens",
];

/// A client's body, edited for its target.
pub struct EditedBody {
    pub bytes: Bytes,
    /// The client's fields that were taken out of it, or changed, because the target's model refuses them.
    pub left_out: Vec<&'static str>,
    /// Whether it asks for no thoughts because the target's model refuses an effort.
    pub asks_for_no_thoughts: bool,
}

impl EditedBody {
    /// A body from which nothing was taken.
    const fn whole(bytes: Bytes) -> Self {
        Self { bytes, left_out: Vec::new(), asks_for_no_thoughts: false }
    }
}

/// The fields that a model refuses, and that a request had.
#[derive(Default)]
struct RefusedFields {
    /// Those that asked for something, and that of thoughts which are switched off beside tools.
    names: Vec<&'static str>,
    /// Whether the rest asks for no thoughts because the model refuses an effort.
    asks_for_no_thoughts: bool,
}

/// Whether the value of a parameter asks for something that is missed without it. A temperature of zero does.
fn asks(member: &Member<'_>) -> bool {
    match member.name() {
        "frequency_penalty" | "presence_penalty" | "logit_bias" => !matches!(member.value, "0" | "0.0" | "{}" | "null"),
        name if THOUGHT_FIELDS.contains(&name) => priceable::asks_for_thoughts(name, member.value),
        _ => json::kind(member.value) != Kind::Null,
    }
}

/// Whether a body is sent without its fields for how hard to reason.
fn refuses_effort(refused: RefusedParameters) -> bool {
    refused.contains(RefusedParameter::ReasoningEffort) || refused.contains(RefusedParameter::EffortWithTools)
}

/// Whether a body of these members asks for no thoughts because the target's model refuses an effort. Members stay that belong to the
/// server alone, such as the arguments of its template.
fn asks_for_no_thoughts<'m>(refused: RefusedParameters, mut kept: impl Iterator<Item = &'m Member<'m>>) -> bool {
    refuses_effort(refused) && !kept.any(|member| priceable::asks_for_thoughts(member.name(), member.value))
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
