//! Differences between the models of Bedrock: the fields beyond those of Converse, and inputs that a model cannot read.

use events::refusal::Refusal;
use intermediate::chat::{ChatRequest, Reasoning, ReasoningAmount, Thinking};
use serde::Serialize;

use crate::anthropic::{self, ClaudeThinking};
use crate::{CallIdRule, OutboundTarget};

/// The makers whose models differ. The maker is in the name of a model and of most inference profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Claude,
    Nova,
    /// OpenAI's open models, and DeepSeek's.
    OpenWeights,
    /// OpenAI's other models.
    Gpt,
    /// An ARN that does not name the model, such as an application's inference profile: whatever is asked for is sent.
    Unknown,
    Other,
}

impl Family {
    pub fn of(model: &str) -> Self {
        let has = |name: &str| model.contains(name);
        if has("anthropic.") || has("claude") {
            Self::Claude
        } else if has("amazon.nova") {
            Self::Nova
        } else if has("gpt-oss") || has("deepseek.") {
            Self::OpenWeights
        } else if has("openai.") {
            Self::Gpt
        } else if has("arn:") && !has("foundation-model/") && !has(":inference-profile/") {
            Self::Unknown
        } else {
            Self::Other
        }
    }

    /// True if prompts can be cached: others refuse a cache point.
    pub const fn caches_prompts(self) -> bool {
        matches!(self, Self::Claude | Self::Nova | Self::Unknown)
    }

    /// True if cache points may also be among the tools, and may have a lifetime.
    pub const fn caches_tools(self) -> bool {
        matches!(self, Self::Claude | Self::Unknown)
    }

    /// True if signed reasoning of an earlier response is taken back.
    pub const fn takes_reasoning(self) -> bool {
        matches!(self, Self::Claude | Self::Nova | Self::Unknown)
    }

    /// The ids of calls that it takes. Claude has a rule of its own behind that of Converse.
    pub const fn call_ids(self) -> CallIdRule {
        if self.is_maybe_claude() { CallIdRule::CLAUDE } else { CallIdRule::CONVERSE }
    }

    const fn is_maybe_claude(self) -> bool {
        matches!(self, Self::Claude | Self::Unknown)
    }
}

/// `additionalModelRequestFields`: what Converse has no field for, in each model's own words.
#[derive(Default, PartialEq, Eq, Serialize)]
pub struct ModelFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    /// Claude's.
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ClaudeThinking<'a>>,
    /// Claude's: beside `toolChoice`, which cannot say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<OneCall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<GptReasoning<'a>>,
    /// Nova's.
    #[serde(rename = "inferenceConfig", skip_serializing_if = "Option::is_none")]
    inference_config: Option<NovaInference>,
    /// Nova's.
    #[serde(rename = "reasoningConfig", skip_serializing_if = "Option::is_none")]
    reasoning_config: Option<NovaReasoning<'a>>,
}

#[derive(PartialEq, Eq, Serialize)]
struct OneCall {
    /// Absent beside `toolChoice`: Bedrock refuses both.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    disable_parallel_tool_use: bool,
}

#[derive(PartialEq, Eq, Serialize)]
struct GptReasoning<'a> {
    effort: &'a str,
}

#[derive(PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaInference {
    top_k: u64,
}

#[derive(PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NovaReasoning<'a> {
    r#type: &'static str,
    max_reasoning_effort: &'a str,
}

impl<'a> ModelFields<'a> {
    /// The fields of a request; `None` if there are none. `has_tools`: tools are sent.
    pub fn of(
        chat: &'a ChatRequest,
        target: &OutboundTarget<'_>,
        family: Family,
        has_tools: bool,
    ) -> Result<Option<Self>, Refusal> {
        let mut fields = Self::default();
        match family {
            Family::Nova => fields.inference_config = chat.sampling.top_k.map(|top_k| NovaInference { top_k }),
            _ => fields.top_k = chat.sampling.top_k,
        }
        // Only Claude can be told so. Of others, the calls after the first are left out of the answer.
        if has_tools && family.is_maybe_claude() && chat.parallel_tool_calls == Some(false) {
            fields.tool_choice = Some(one_call(chat));
        }
        fields.add_reasoning(chat, target, family)?;
        Ok(Some(fields).filter(|fields| *fields != Self::default()))
    }

    fn add_reasoning(
        &mut self,
        chat: &'a ChatRequest,
        target: &OutboundTarget<'_>,
        family: Family,
    ) -> Result<(), Refusal> {
        let Some(reasoning) = &chat.reasoning else { return Ok(()) };
        if family == Family::Claude || family == Family::Unknown && is_in_words_of_claude(reasoning) {
            self.thinking = anthropic::thinking(chat, target.output_cap.tokens)?;
            return Ok(());
        }
        match (reasoning.amount(), family) {
            (Some(ReasoningAmount::BudgetTokens(_)), _) => {
                let reason = "only Claude has a budget for thinking among the models of Bedrock; give an effort";
                return Err(Refusal::invalid("reasoning.budget_tokens", reason));
            }
            (None | Some(ReasoningAmount::Effort("none")), _) => {}
            (Some(ReasoningAmount::Effort(effort)), Family::OpenWeights) => {
                self.reasoning_effort = Some(low_to_high(effort));
            }
            (Some(ReasoningAmount::Effort(effort)), Family::Gpt) => self.reasoning = Some(GptReasoning { effort }),
            (Some(ReasoningAmount::Effort(effort)), Family::Nova) => {
                let max_reasoning_effort = low_to_high(effort);
                self.reasoning_config = Some(NovaReasoning { r#type: "enabled", max_reasoning_effort });
            }
            // `outputConfig.effort` alone.
            (Some(ReasoningAmount::Effort(_)), Family::Claude | Family::Unknown | Family::Other) => {}
        }
        Ok(())
    }
}

/// True for what only Claude has: thinking apart from an effort.
fn is_in_words_of_claude(reasoning: &Reasoning) -> bool {
    match reasoning.thinking {
        Some(Thinking::BudgetTokens(_) | Thinking::Adaptive) => true,
        Some(Thinking::Off) => reasoning.is_switched_off(),
        Some(Thinking::ByEffort) | None => false,
    }
}

/// `outputConfig.effort`, for models that have no field of their own.
pub fn effort(chat: &ChatRequest, family: Family) -> Option<&str> {
    match family {
        Family::Nova | Family::OpenWeights | Family::Gpt => None,
        Family::Claude | Family::Unknown => anthropic::effort(chat),
        Family::Other => match chat.reasoning.as_ref()?.amount()? {
            ReasoningAmount::Effort("none") | ReasoningAmount::BudgetTokens(_) => None,
            ReasoningAmount::Effort("minimal") => Some("low"),
            ReasoningAmount::Effort(effort) => Some(effort),
        },
    }
}

/// The nearest of three levels.
fn low_to_high(effort: &str) -> &'static str {
    match effort {
        "minimal" | "low" => "low",
        "medium" => "medium",
        _ => "high",
    }
}

const fn one_call(chat: &ChatRequest) -> OneCall {
    let r#type = if chat.tool_choice.is_none() { Some("auto") } else { None };
    OneCall { r#type, disable_parallel_tool_use: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_tells_its_maker_wherever_it_runs() {
        for (model, family) in [
            ("anthropic.claude-sonnet-4-6", Family::Claude),
            ("us.anthropic.claude-opus-4-6-v1", Family::Claude),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0", Family::Claude),
            ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0", Family::Nova),
            ("openai.gpt-oss-120b-1:0", Family::OpenWeights),
            ("us.deepseek.r1-v1:0", Family::OpenWeights),
            ("openai.gpt-5.4", Family::Gpt),
            ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2", Family::Unknown),
            ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2", Family::Unknown),
            ("arn:aws:bedrock:us-east-1::foundation-model/meta.llama3-70b-instruct-v1:0", Family::Other),
            ("mistral.mistral-large-2402-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
