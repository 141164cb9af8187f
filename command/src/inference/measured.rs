//! What a request consumed, and what it costs: the provider's figures where it gave them and they can be, else what went
//! through, else nothing that anybody knows.

use events::ledger::UnknownUsage;
use events::money::{NanoUsd, Rates};
use events::usage::{TokenClasses, Usage, UsageSource};

use super::plan::Plan;
use crate::dialect::Metered;

/// What was consumed and what it costs.
#[derive(Clone, Debug)]
pub struct Measured {
    pub usage: Usage,
    pub cost: NanoUsd,
}

impl Measured {
    /// Nobody knows what was consumed, and the policy is to charge nothing then.
    pub fn is_given_back(&self) -> bool {
        self.usage.source == UsageSource::Unknown && self.cost == NanoUsd::ZERO
    }
}

/// Measures one request against what it was admitted for.
pub struct Meter {
    /// The prompt's tokens, where nobody reports them.
    input_tokens_counted: u64,
    output_tokens_bound: u64,
    unknown_usage: UnknownUsage,
}

impl Meter {
    pub fn new(plan: &Plan, choices: u64, unknown_usage: UnknownUsage) -> Self {
        Self {
            input_tokens_counted: plan.prompt_bytes.div_ceil(4).min(plan.bound.input_tokens),
            output_tokens_bound: plan.max_output_tokens.saturating_mul(choices),
            unknown_usage,
        }
    }

    /// The provider's figures where it gave them, else what went through, counted.
    pub fn measure(&self, rates: &Rates, metered: &Metered, held: NanoUsd) -> Measured {
        let usage = match &metered.reported {
            Some(tokens) => Usage { tokens: tokens.clone(), source: UsageSource::Provider },
            None => Usage { tokens: self.counted(metered), source: UsageSource::Counted },
        };
        match rates.cost(&usage.tokens) {
            Some(cost) => Measured { usage, cost },
            // Figures that money cannot count are no figures: the hold is charged.
            None => unknown(held),
        }
    }

    /// Of a request that an upstream may have worked for without a word about it.
    pub fn unknown(&self, held: NanoUsd) -> Measured {
        match self.unknown_usage {
            UnknownUsage::ChargeHold => unknown(held),
            UnknownUsage::Release => unknown(NanoUsd::ZERO),
        }
    }

    /// ⌈bytes / 4⌉ a class, never above what the hold was made for.
    fn counted(&self, metered: &Metered) -> TokenClasses {
        let text = metered.text_bytes.div_ceil(4).min(self.output_tokens_bound);
        let reasoning = metered.reasoning_bytes.div_ceil(4).min(self.output_tokens_bound - text);
        let input = match &metered.reported_input {
            Some(reported) => reported.clone(),
            None => TokenClasses { input_uncached_tokens: self.input_tokens_counted, ..TokenClasses::default() },
        };
        TokenClasses { output_text_tokens: text, output_reasoning_tokens: reasoning, ..input }
    }
}

fn unknown(cost: NanoUsd) -> Measured {
    Measured { usage: Usage { tokens: TokenClasses::default(), source: UsageSource::Unknown }, cost }
}
