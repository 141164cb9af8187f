//! Taking out of a chat what the model of its target refuses.

use std::mem;

use events::refused_parameters::{RefusedParameter, RefusedParameters};

use super::{ChatRequest, NO_EFFORT, Reasoning, Sampling};

/// The refused parameters that a chat has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedParts(pub RefusedParameters);

impl RefusedParts {
    /// Those of the refused ones that the chat has. An effort with tools counts also if the model would choose it: it is sent `none`.
    pub fn of(chat: &ChatRequest, refused: RefusedParameters) -> Self {
        let Sampling { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, logit_bias } =
            &chat.sampling;
        let given = RefusedParameters::NONE
            .with_if(RefusedParameter::Temperature, temperature.is_some())
            .with_if(RefusedParameter::TopP, top_p.is_some())
            .with_if(RefusedParameter::TopK, top_k.is_some())
            .with_if(RefusedParameter::Seed, seed.is_some())
            .with_if(RefusedParameter::FrequencyPenalty, frequency_penalty.is_some())
            .with_if(RefusedParameter::PresencePenalty, presence_penalty.is_some())
            .with_if(RefusedParameter::LogitBias, logit_bias.is_some())
            .with_if(RefusedParameter::ReasoningEffort, chat.reasoning.is_some())
            .with_if(RefusedParameter::EffortWithTools, !chat.tools.is_empty());
        Self(given.both(refused))
    }

    /// The chat without them, and with the effort `none` where another one is refused.
    pub fn taken_out_of(self, mut chat: ChatRequest) -> ChatRequest {
        let Self(refused) = self;
        let Sampling { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, logit_bias } =
            mem::take(&mut chat.sampling);
        let is_kept = |parameter| !refused.has(parameter);
        chat.sampling = Sampling {
            temperature: temperature.filter(|_| is_kept(RefusedParameter::Temperature)),
            top_p: top_p.filter(|_| is_kept(RefusedParameter::TopP)),
            top_k: top_k.filter(|_| is_kept(RefusedParameter::TopK)),
            seed: seed.filter(|_| is_kept(RefusedParameter::Seed)),
            frequency_penalty: frequency_penalty.filter(|_| is_kept(RefusedParameter::FrequencyPenalty)),
            presence_penalty: presence_penalty.filter(|_| is_kept(RefusedParameter::PresencePenalty)),
            logit_bias: logit_bias.filter(|_| is_kept(RefusedParameter::LogitBias)),
        };
        if refused.has(RefusedParameter::ReasoningEffort) {
            chat.reasoning = None;
        } else if refused.has(RefusedParameter::EffortWithTools) {
            chat.reasoning = Some(Reasoning::effort(NO_EFFORT));
        }
        chat
    }
}
