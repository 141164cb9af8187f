//! Taking out of a chat what the model of its target refuses.

use std::mem;

use events::refused_parameters::{RefusedParameter, RefusedParameters};

use super::{ChatRequest, NO_EFFORT, Reasoning, Sampling};

impl ChatRequest {
    /// The parameters of these that the chat has. An effort with tools counts also if the model would choose it: it is sent as `none`.
    pub fn parameters_among(&self, refused: RefusedParameters) -> RefusedParameters {
        let Sampling { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, logit_bias } =
            &self.sampling;
        RefusedParameters::NONE
            .with_if(RefusedParameter::Temperature, temperature.is_some())
            .with_if(RefusedParameter::TopP, top_p.is_some())
            .with_if(RefusedParameter::TopK, top_k.is_some())
            .with_if(RefusedParameter::Seed, seed.is_some())
            .with_if(RefusedParameter::FrequencyPenalty, frequency_penalty.is_some())
            .with_if(RefusedParameter::PresencePenalty, presence_penalty.is_some())
            .with_if(RefusedParameter::LogitBias, logit_bias.is_some())
            .with_if(RefusedParameter::ReasoningEffort, self.reasoning.is_some())
            .with_if(RefusedParameter::EffortWithTools, !self.tools.is_empty())
            .intersection(refused)
    }

    /// The chat without these parameters, and with the effort `none` where another one is refused beside tools.
    #[must_use]
    pub fn without_parameters(mut self, refused: RefusedParameters) -> Self {
        let Sampling { temperature, top_p, top_k, seed, frequency_penalty, presence_penalty, logit_bias } =
            mem::take(&mut self.sampling);
        let is_kept = |parameter| !refused.contains(parameter);
        self.sampling = Sampling {
            temperature: temperature.filter(|_| is_kept(RefusedParameter::Temperature)),
            top_p: top_p.filter(|_| is_kept(RefusedParameter::TopP)),
            top_k: top_k.filter(|_| is_kept(RefusedParameter::TopK)),
            seed: seed.filter(|_| is_kept(RefusedParameter::Seed)),
            frequency_penalty: frequency_penalty.filter(|_| is_kept(RefusedParameter::FrequencyPenalty)),
            presence_penalty: presence_penalty.filter(|_| is_kept(RefusedParameter::PresencePenalty)),
            logit_bias: logit_bias.filter(|_| is_kept(RefusedParameter::LogitBias)),
        };
        if refused.contains(RefusedParameter::ReasoningEffort) {
            self.reasoning = None;
        } else if refused.contains(RefusedParameter::EffortWithTools) {
            self.reasoning = Some(Reasoning::effort(NO_EFFORT));
        }
        self
    }
}
