//! Facts about one request. Stream: `inference-{request_id}`; admitted is 1, then failed attempts, then one outcome.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::admin::Scope;
use super::family::family;
use crate::ids::{BudgetId, ProviderId};
use crate::money::NanoUsd;
use crate::named;
use crate::output_cap::LoweredCap;
use crate::refusal::ErrorCode;
use crate::time::wire;
use crate::usage::Usage;

family! {
    /// Facts about one request.
    Inference {
        /// A request may be sent: its hold follows in the same batch.
        Admitted(InferenceAdmitted) "inference.admitted" v 1 at First;
        /// A request was turned away (or several, see `count`).
        Refused(InferenceRefused) "inference.refused" v 1 at First;
        /// The upstream answered to the end.
        Completed(InferenceEnded) "inference.completed" v 1 at Later;
        /// The upstream failed.
        Failed(InferenceEnded) "inference.failed" v 1 at Later;
        /// The client, the gateway or its process gave up.
        Aborted(InferenceEnded) "inference.aborted" v 1 at Later;
        /// One target failed; the request went on.
        AttemptFailed(AttemptFailed) "inference.attempt_failed" v 1 at Later;
    }
}

/// What was decided upon, as log positions: the facts in force when the request was admitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    pub model: u64,
    /// Absent for the operator's own inference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
    /// By `provider_id/model`: every target that may serve.
    pub prices: BTreeMap<String, u64>,
    pub budgets: BTreeMap<BudgetId, u64>,
}

/// A request was admitted; it is sent upstream only after this is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceAdmitted {
    /// Frontend name that was asked for.
    pub model: String,
    /// `native`, `openai` or `anthropic`: what the client speaks.
    pub dialect: String,
    pub streamed: bool,
    /// Output cap that goes upstream, in tokens a choice.
    pub max_output_tokens: u64,
    /// What was asked for, where budgets that shrink had not enough left for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_max_output_tokens: Option<u64>,
    /// Upper bound on the prompt, in tokens.
    pub input_tokens_bound: u64,
    /// SHA-256 of the body as received, in hex.
    pub body_sha256: String,
    pub metadata: BTreeMap<String, String>,
    pub versions: Versions,
    /// Budgets that observe, and had not enough left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_have_refused: Vec<BudgetShortfall>,
}

impl InferenceAdmitted {
    /// A lower cap goes upstream.
    pub fn lower(&mut self, cap: LoweredCap) {
        self.max_output_tokens = cap.tokens();
        self.requested_max_output_tokens = Some(cap.requested());
    }
}

/// A budget that had not enough left for a request, with its figures before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetShortfall {
    pub budget_id: BudgetId,
    pub scope: Scope,
    pub limit_usd: NanoUsd,
    pub settled_usd: NanoUsd,
    pub held_usd: NanoUsd,
    /// What the request can cost at most.
    pub requested_usd: NanoUsd,
    /// `null` for the period `total`.
    #[serde(with = "wire::option")]
    pub resets_at: Option<DateTime<Utc>>,
}

impl BudgetShortfall {
    /// What a hold could still take; never below zero, also where a lowered limit or an overrun went past it.
    pub fn remaining(&self) -> NanoUsd {
        let left = self.limit_usd.checked_sub(self.settled_usd).and_then(|left| left.checked_sub(self.held_usd));
        left.unwrap_or(NanoUsd::ZERO).max(NanoUsd::ZERO)
    }
}

/// One or several requests were turned away before anything was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceRefused {
    /// As the client saw it.
    pub code: ErrorCode,
    pub model: String,
    /// How many refusals this stands for.
    pub count: u64,
    /// For budgets: `budget_id`, `scope`, `limit_usd`, `settled_usd`, `held_usd`, `requested_usd`, `resets_at`,
    /// `remaining_usd`, and where a lower output cap would fit `affordable_max_output_tokens`.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// Who served, or was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub provider_id: ProviderId,
    /// The provider's name at that time.
    pub provider: String,
    /// The name that the provider knows the model by.
    pub model: String,
}

named! {
    /// Why an answer ended: the word of events, of native answers and of traces.
    pub enum FinishReason {
        Stop = "stop",
        Length = "length",
        ToolCalls = "tool_calls",
        ContentFilter = "content_filter",
        Cancelled = "cancelled",
        Error = "error",
    }
}

/// How a request ended. The type says how: completed, failed or aborted; fields are present where they are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InferenceEnded {
    /// Frontend name, repeated so that a reader of outcomes needs nothing else.
    pub model: String,
    /// When it was admitted: usage counts in that hour, as budgets do in that window.
    #[serde(with = "wire")]
    pub admitted_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<Backend>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's own block, equal as a JSON value; for streams all blocks merged, the later figure winning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_usage: Option<Value>,
    /// What the request cost, with the calls that failed on the way; zero where its hold was released.
    pub cost_usd: NanoUsd,
    /// Log position of the price that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// From admission to the end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// From admission to the first byte with content, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// How many times an upstream was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_request_id: Option<String>,
    /// As the client saw it; absent when it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, in a word: `upstream_status`, `client_closed`, `node_lost`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One call to a target failed before anything was relayed; another followed or the request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptFailed {
    pub backend: Backend,
    /// 1 for the first call of the request.
    pub attempt: u32,
    /// Why, in a word: `connect`, `timeout`, `status`, `malformed`, …
    pub reason: String,
    /// The upstream's HTTP status, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The upstream's own code where it rejected the request, such as `context_length_exceeded`: at most 64 letters,
    /// digits and `_-.`, and nothing that looks like a key. Its message is not recorded: it may repeat the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_code: Option<String>,
    /// From the call to its failure, in milliseconds.
    pub latency_ms: u64,
    /// What the provider reported before it failed; absent where it reported nothing.
    #[serde(flatten)]
    pub reported: ReportedByFailedCall,
}

/// What a call that failed used, by its provider's own report. All absent where there was none: then it cost nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReportedByFailedCall {
    /// `source` is `unknown` where the report was not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's own block, as for an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_usage: Option<Value>,
    /// Part of what the request cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<NanoUsd>,
    /// Log position of the price that was applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<u64>,
}
