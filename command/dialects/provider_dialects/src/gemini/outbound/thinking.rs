//! How much a model thinks. Gemini 3 and later take levels, older models take budgets, and no request may have both.

use intermediate::chat::ReasoningAmount;
use serde::Serialize;

use crate::gemini::model::is_third_generation;

/// The least that a model thinks which cannot stop thinking (`gemini-2.5-pro`), in tokens.
const LEAST_BUDGET: u64 = 128;
/// The lowest budget that every model takes which is given one to think.
const BUDGET_MIN: u64 = 512;
/// The budgets that Google's own OpenAI endpoint takes for efforts. No model refuses them as too large.
const LOW_BUDGET: u64 = 1_024;
const MEDIUM_BUDGET: u64 = 8_192;
const HIGH_BUDGET: u64 = 24_576;

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_level: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_budget: Option<u64>,
    include_thoughts: bool,
}

impl ThinkingConfig {
    /// A level or budget that the model takes, the nearest if it does not take the one that was asked for.
    /// An effort has no budget above the output cap, unless that is below what models take.
    pub fn of(amount: ReasoningAmount<'_>, model: &str, output_cap: u64) -> Self {
        let (thinking_level, thinking_budget, include_thoughts) = match amount {
            // Gemini 3 still takes budgets, for clients of older models.
            ReasoningAmount::BudgetTokens(tokens) => (None, Some(tokens), tokens > 0),
            ReasoningAmount::Effort(effort) if is_third_generation(model) => {
                (Some(level(effort, model)), None, effort != "none")
            }
            ReasoningAmount::Effort(effort) => {
                (None, Some(budget(effort, model).min(output_cap.max(BUDGET_MIN))), effort != "none")
            }
        };
        Self { thinking_level, thinking_budget, include_thoughts }
    }
}

/// Every model takes `LOW` and `HIGH`. Thinking cannot be switched off.
fn level(effort: &str, model: &str) -> &'static str {
    let takes_least = model.contains("flash-lite") || model.contains("gemini-3-flash");
    match effort {
        "none" | "minimal" if takes_least => "MINIMAL",
        "none" | "minimal" | "low" => "LOW",
        // The first of them knows two levels only.
        "medium" if !model.contains("gemini-3-pro") => "MEDIUM",
        _ => "HIGH",
    }
}

fn budget(effort: &str, model: &str) -> u64 {
    match effort {
        "none" if model.contains("pro") => LEAST_BUDGET,
        "none" => 0,
        "minimal" | "low" => LOW_BUDGET,
        "medium" => MEDIUM_BUDGET,
        _ => HIGH_BUDGET,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effort_becomes_what_the_model_takes() {
        for (model, effort, level, budget) in [
            ("gemini-3-pro-preview", "minimal", Some("LOW"), None),
            ("gemini-3-pro-preview", "medium", Some("HIGH"), None),
            ("gemini-3-flash-preview", "minimal", Some("MINIMAL"), None),
            ("gemini-3-flash-preview", "none", Some("MINIMAL"), None),
            ("gemini-3.8-flash", "none", Some("LOW"), None),
            ("gemini-3.8-flash", "medium", Some("MEDIUM"), None),
            ("gemini-3.8-flash", "max", Some("HIGH"), None),
            ("gemini-2.5-flash", "none", None, Some(0)),
            ("gemini-2.5-pro", "none", None, Some(128)),
            ("gemini-2.5-pro", "minimal", None, Some(1_024)),
            ("gemini-2.5-pro", "xhigh", None, Some(24_576)),
            ("something-else", "medium", None, Some(8_192)),
        ] {
            let config = ThinkingConfig::of(ReasoningAmount::Effort(effort), model, 100_000);
            let include_thoughts = effort != "none";
            let wanted = ThinkingConfig { thinking_level: level, thinking_budget: budget, include_thoughts };
            assert_eq!(config, wanted, "{effort} of {model}");
        }
    }

    #[test]
    fn an_effort_has_no_budget_above_the_cap() {
        for (effort, cap, budget) in [
            ("high", 4_096, 4_096),
            ("low", 4_096, 1_024),
            ("medium", 16, 512),
            ("none", 16, 0),
            ("high", 50_000, 24_576),
        ] {
            let config = ThinkingConfig::of(ReasoningAmount::Effort(effort), "gemini-2.5-flash", cap);
            assert_eq!(config.thinking_budget, Some(budget), "{effort} under {cap}");
        }
        let given = ThinkingConfig::of(ReasoningAmount::BudgetTokens(5_000), "gemini-2.5-flash", 16);
        assert_eq!(given.thinking_budget, Some(5_000), "it is held beyond the cap");
    }
}
