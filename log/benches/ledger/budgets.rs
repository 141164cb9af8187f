//! The tenants of the benchmark, each with one budget, and their requests.

use events::event::admin::{Budget, Scope};
use events::event::inference::{Backend, FinishReason, InferenceEnded};
use events::event::{Actor, Chain, Change, Context, Stream, StreamKind};
use events::ids::{BudgetId, IdMaker, PartnerId, ProviderId, TenantId};
use events::ledger::Admission;
use events::money::NanoUsd;
use events::time::Period;
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::{Append, Basis, Log, OpenHold};

use crate::request::{self, COST};

/// The number of tenants.
#[derive(Clone, Copy)]
pub struct Customers(pub usize);

impl Customers {
    pub const ONE: Self = Self(1);
    pub const MANY: Self = Self(1000);
}

/// Tenants with budgets.
pub struct Spenders {
    ids: IdMaker,
    chains: Vec<Chain>,
    provider: ProviderId,
}

impl Spenders {
    pub async fn open(log: &Log, ids: IdMaker, customers: Customers) -> Self {
        let partner: PartnerId = ids.make();
        let mut chains = Vec::with_capacity(customers.0);
        for _ in 0..customers.0 {
            let tenant: TenantId = ids.make();
            open_budget(log, ids.make(), tenant).await;
            chains.push(Chain { partner: Some(partner), tenant: Some(tenant), ..Chain::default() });
        }
        Self { provider: ids.make(), ids, chains }
    }

    /// The next request, of each tenant in turn.
    pub fn admission(&self, number: usize) -> Admission {
        request::admission(self.ids.make(), self.chains[number % self.chains.len()])
    }

    pub fn ended(&self, hold: &OpenHold) -> Box<InferenceEnded> {
        let tokens = TokenClasses { input_uncached_tokens: 900, output_text_tokens: 300, ..TokenClasses::default() };
        Box::new(InferenceEnded {
            backend: Some(Backend {
                provider_id: self.provider,
                provider: "sim".into(),
                model: "echo".into(),
                provider_key_id: None,
            }),
            provider_usage: Some(serde_json::json!({ "prompt_tokens": 900, "completion_tokens": 300 })),
            price_version: Some(1),
            usage: Some(Usage::new(tokens, UsageSource::Provider)),
            finish_reason: Some(FinishReason::Stop),
            latency_ms: Some(812),
            first_token_ms: Some(214),
            attempts: Some(1),
            upstream_request_id: Some("chatcmpl-9f86d081884c7d65".into()),
            answer_digest: Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into()),
            content_lost: Vec::new(),
            ..InferenceEnded::new(hold.model.clone(), hold.admitted_at, COST)
        })
    }
}

async fn open_budget(log: &Log, budget_id: BudgetId, tenant: TenantId) {
    let budget = Budget::new(budget_id, Scope::Tenant(tenant), NanoUsd::MAX, Period::Month);
    let append = Append {
        stream: Stream::new(StreamKind::Budget, budget_id),
        expected_sequence: 0,
        events: vec![Change::created(budget).into()],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.expect("a budget is opened");
}
