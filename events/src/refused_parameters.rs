//! Parameters of requests that a target's model refuses, and that requests to it are sent without, or in another form.

use crate::abilities::{Ability, AbilitySet};
use crate::named;
use crate::named_set::NamedSet;

named! {
    /// A parameter, or several of them under a condition.
    pub enum RefusedParameter {
        Temperature = "temperature",
        TopP = "top_p",
        TopK = "top_k",
        Seed = "seed",
        FrequencyPenalty = "frequency_penalty",
        PresencePenalty = "presence_penalty",
        LogitBias = "logit_bias",
        ReasoningEffort = "reasoning_effort",
        /// The output cap is sent as `max_completion_tokens`.
        MaxTokens = "max_tokens",
        /// The output cap is sent as `max_tokens`.
        MaxCompletionTokens = "max_completion_tokens",
        /// Those of [`RefusedParameters::SAMPLING`], in requests that ask for thoughts.
        SamplingWithReasoning = "sampling_with_reasoning",
        /// An effort other than `none`, in requests with tools.
        EffortWithTools = "reasoning_effort_with_tools",
    }
}

pub type RefusedParameters = NamedSet<RefusedParameter>;

impl RefusedParameters {
    /// The parameters of how tokens are drawn.
    pub const SAMPLING: [RefusedParameter; 7] = [
        RefusedParameter::Temperature,
        RefusedParameter::TopP,
        RefusedParameter::TopK,
        RefusedParameter::Seed,
        RefusedParameter::FrequencyPenalty,
        RefusedParameter::PresencePenalty,
        RefusedParameter::LogitBias,
    ];

    /// The names of the output cap.
    pub fn caps() -> Self {
        [RefusedParameter::MaxTokens, RefusedParameter::MaxCompletionTokens].into_iter().collect()
    }

    /// Why not all of these can hold of one model; `None` if they can.
    pub fn contradiction(self) -> Option<&'static str> {
        use RefusedParameter::{EffortWithTools, MaxCompletionTokens, MaxTokens, ReasoningEffort};
        if self.contains(MaxTokens) && self.contains(MaxCompletionTokens) {
            return Some("must leave a name for the output cap: max_tokens or max_completion_tokens");
        }
        let both = self.contains(ReasoningEffort) && self.contains(EffortWithTools);
        both.then_some(
            "must have one of reasoning_effort and reasoning_effort_with_tools: no effort is not the effort none",
        )
    }

    /// The parameters that a request with these needs is sent without: conditions are resolved, and the names of the output cap are left
    /// out.
    #[must_use]
    pub fn of_request(self, needs: AbilitySet) -> Self {
        use RefusedParameter::{EffortWithTools, MaxCompletionTokens, MaxTokens, SamplingWithReasoning};
        let has_no_effort = self.contains(EffortWithTools) && needs.contains(Ability::Tools);
        let has_no_sampling =
            self.contains(SamplingWithReasoning) && needs.contains(Ability::Reasoning) && !has_no_effort;
        let other = [MaxTokens, MaxCompletionTokens, SamplingWithReasoning, EffortWithTools].into_iter().collect();
        let sampling = if has_no_sampling { Self::SAMPLING.into_iter().collect() } else { Self::NONE };
        self.difference(other).union(sampling).with_if(EffortWithTools, has_no_effort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusedParameter::{EffortWithTools, MaxTokens, SamplingWithReasoning, Temperature, TopP};

    #[test]
    fn what_is_refused_under_a_condition_is_refused_where_it_holds() {
        let refused = |words: &[RefusedParameter], needs: &[Ability]| {
            let words: RefusedParameters = words.iter().copied().collect();
            words.of_request(needs.iter().copied().collect())
        };
        let some = [Temperature, SamplingWithReasoning, MaxTokens];
        assert_eq!(refused(&some, &[Ability::Tools]).to_string(), "temperature");
        assert!(refused(&some, &[Ability::Reasoning]).contains(TopP));
        let both = [SamplingWithReasoning, EffortWithTools];
        assert!(refused(&both, &[]).is_empty());
        // Without an effort, the model takes what it refuses with one.
        let with_tools = refused(&both, &[Ability::Reasoning, Ability::Tools]);
        assert_eq!(with_tools.to_string(), "reasoning_effort_with_tools");
    }

    #[test]
    fn words_of_later_versions_are_left_out() {
        let read: RefusedParameters = serde_json::from_str(r#"["top_p","of_later_times"]"#).expect("a list");
        assert_eq!(serde_json::json!(read), serde_json::json!(["top_p"]));
    }
}
