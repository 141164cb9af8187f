//! What a request may cost, and who may serve it: decided once, from one snapshot of the tables, before the ledger is
//! asked. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, upstreams};
use events::event::admin::{Provider, Target, Tokenizer};
use events::event::inference::{Backend, Versions};
use events::ids::RequestId;
use events::ledger::Shrinking;
use events::money::{CostLine, Rates};
use events::refusal::{ErrorCode, Refusal};
use projections::caller::Caller;
use projections::tables::{Offer, Tables, model_not_found};

use super::bound::Bound;
use super::order;
use super::target::PlannedTarget;

/// Targets in the order in which they are tried, and the money that any of them can cost at most.
#[derive(Debug)]
pub struct Plan {
    pub targets: Vec<PlannedTarget>,
    pub system_prefix: Option<String>,
    pub model_version: u64,
    pub max_output_tokens: u64,
    /// Bound of the prompt's tokens by its bytes.
    pub prompt_bytes: u64,
    pub bound: Bound,
    /// What the targets can cost that take only a lower cap than the client's; `None` where it is beyond counting.
    excluded: Option<CostLine>,
}

/// Nobody is helped by a shorter answer, and some upstreams refuse a lower cap.
const SHRUNK_OUTPUT_TOKENS_MIN: u64 = 16;
/// What naming a cap adds to a body besides the cap's name: a number of any length, punctuation and white space.
const NAMED_CAP_BYTES: u64 = 48;

impl Plan {
    /// The most tokens that the request can take, whoever serves it.
    pub const fn tokens_bound(&self, choices: u64) -> u64 {
        self.bound.input_tokens.saturating_add(self.max_output_tokens.saturating_mul(choices))
    }

    /// What was decided upon; the ledger adds the budgets.
    pub fn versions(&self, key: Option<u64>) -> Versions {
        let price = |target: &PlannedTarget| {
            (format!("{}/{}", target.backend.provider_id, target.backend.model), target.price_version)
        };
        Versions {
            model: self.model_version,
            key,
            prices: self.targets.iter().map(price).collect(),
            budgets: BTreeMap::new(),
        }
    }
}

/// Errors: `MODEL_NOT_FOUND`, `MODEL_NOT_ALLOWED`, `MODEL_UNPRICED`; `INVALID_REQUEST` for a cap that no target takes.
pub fn plan(
    tables: &Tables,
    caller: &Caller,
    asked: &ClientRequest,
    request: RequestId,
    now: DateTime<Utc>,
) -> Result<Plan, Refusal> {
    let model = tables.route(caller.chain.tenant, asked.model()).ok_or_else(|| model_not_found(asked.model()))?;
    if !caller.allows_model(asked.model()) {
        return Err(not_allowed(asked.model()));
    }
    let ordered = order::of_request(&model.value, request).into_iter();
    let priced: Vec<_> = ordered.filter_map(|target| priced(tables, caller, target, now)).collect();
    // Fields that change the cost go to those alone whose rows allow them.
    let refused = priced.first().and_then(|target| target.refuses(asked)).cloned();
    let priced: Vec<_> = priced.into_iter().filter(|target| target.refuses(asked).is_none()).collect();
    if priced.is_empty() {
        return Err(refused.unwrap_or_else(|| unpriced(asked.model())));
    }
    let cap = output_cap(asked, &priced)?;
    let prefix_bytes = model.value.system_prefix.as_ref().map_or(0, String::len) as u64;
    let prompt_bytes = asked.input_tokens_bound().saturating_add(prefix_bytes);
    let (taking, excluded): (Vec<_>, Vec<_>) = priced.into_iter().partition(|target| target.takes(asked, cap));
    let targets: Vec<_> = taking.into_iter().map(|target| target.planned(cap)).collect();
    let line_of = |target: &Priced<'_>| CostLine::of(&target.rates, prompt_bytes, asked.choices());
    let excluded = excluded.iter().try_fold(CostLine::default(), |line, target| Some(line.above(line_of(target)?)));
    let bound = Bound::over(&targets, |_| prompt_bytes, cap, asked.choices()).ok_or_else(|| beyond_counting(asked))?;
    Ok(Plan {
        targets,
        system_prefix: model.value.system_prefix.clone(),
        model_version: model.version,
        max_output_tokens: cap,
        prompt_bytes,
        bound,
        excluded,
    })
}

impl Plan {
    /// How far the ledger may lower the output cap.
    pub fn shrinking(&self, asked: &ClientRequest) -> Shrinking {
        let output_tokens_min = asked.output_tokens_needed().saturating_add(SHRUNK_OUTPUT_TOKENS_MIN);
        Shrinking { line: self.bound.line, resent: self.resent(asked), output_tokens_min }
    }

    /// What the request would cost if the client sent it again with a lower cap: targets that did not take the higher one
    /// may serve it then, and a body that names a cap for the first time is longer.
    fn resent(&self, asked: &ClientRequest) -> Option<CostLine> {
        let line = self.bound.line.above(self.excluded?);
        let naming =
            if asked.max_output_tokens().is_some() { 0 } else { asked.cap_field().len() as u64 + NAMED_CAP_BYTES };
        line.with_more_input(naming)
    }

    /// Those of its targets, each once; none where nothing but bytes is known.
    pub fn tokenizers(&self) -> Vec<Tokenizer> {
        let mut tokenizers: Vec<_> = self.targets.iter().filter_map(|target| target.tokenizer).collect();
        tokenizers.sort_unstable();
        tokenizers.dedup();
        tokenizers
    }

    /// With what the bytes are more than the tokens, by tokenizer.
    pub fn tighten(&mut self, asked: &ClientRequest, savings: &[(Tokenizer, u64)]) {
        let of = |target: &PlannedTarget| {
            let saved = savings.iter().find(|(tokenizer, _)| target.tokenizer == Some(*tokenizer));
            self.prompt_bytes.saturating_sub(saved.map_or(0, |(_, saved)| *saved))
        };
        // What could be counted by its bytes can be by less.
        self.bound = Bound::over(&self.targets, of, self.max_output_tokens, asked.choices()).unwrap_or(self.bound);
    }

    /// To what the ledger admitted.
    pub fn lower_cap(&mut self, cap: u64) {
        self.max_output_tokens = cap;
        for target in &mut self.targets {
            target.max_output_tokens = target.max_output_tokens.min(cap);
        }
    }

    /// Drops the targets at the front that cannot be asked this in their dialect; the body for the first that can.
    ///
    /// Errors: what the first of them said, where none can.
    pub fn first_body(&mut self, asked: &ClientRequest) -> Result<Bytes, Refusal> {
        let mut refused = None;
        let bodies = self.targets.iter().map(|target| self.body(asked, target));
        for (at, body) in bodies.enumerate() {
            match body {
                Ok(body) => {
                    self.targets.drain(..at);
                    return Ok(body);
                }
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::new(ErrorCode::Internal, "a plan without targets")))
    }

    /// What a target is sent.
    pub fn body(&self, asked: &ClientRequest, target: &PlannedTarget) -> Result<Bytes, Refusal> {
        asked.upstream_body(target.provider.kind, &target.outbound(self.system_prefix.as_deref()))
    }
}

/// A target whose provider can be asked for this caller, with the price in force.
struct Priced<'a> {
    target: &'a Target,
    provider: &'a Provider,
    rates: Rates,
    price_version: u64,
}

fn priced<'a>(tables: &'a Tables, caller: &Caller, target: &'a Target, now: DateTime<Utc>) -> Option<Priced<'a>> {
    let Offer { provider, price } = tables.offer(caller.chain.tenant, target, now)?;
    Some(Priced { target, provider, rates: price.value.rates, price_version: price.version })
}

impl Priced<'_> {
    /// Why the provider is not asked this: a field changes the cost, and nobody vouches for it.
    fn refuses<'r>(&self, asked: &'r ClientRequest) -> Option<&'r Refusal> {
        asked.unpriced(&self.provider.allowed_fields)
    }

    /// A cap that the client chose is kept or the target is not asked; one that we chose is lowered to the target's.
    fn takes(&self, asked: &ClientRequest, cap: u64) -> bool {
        asked.max_output_tokens().is_none() || self.target.max_output_tokens.is_none_or(|max| cap <= max)
    }

    fn planned(&self, cap: u64) -> PlannedTarget {
        PlannedTarget {
            name: format!("{}/{}", self.provider.name, self.target.model),
            provider: Arc::new(self.provider.clone()),
            backend: Backend {
                provider_id: self.target.provider_id,
                provider: self.provider.name.clone(),
                model: self.target.model.clone(),
            },
            rates: self.rates,
            price_version: self.price_version,
            tokenizer: self.target.tokenizer.filter(|_| upstreams::of(self.provider.kind).has_tokenizers),
            max_output_tokens: self.target.max_output_tokens.map_or(cap, |max| cap.min(max)),
        }
    }
}

/// The client's cap where it gave one, else the default of the first target that has one.
fn output_cap(asked: &ClientRequest, priced: &[Priced<'_>]) -> Result<u64, Refusal> {
    let field = asked.cap_field();
    if let Some(cap) = asked.max_output_tokens() {
        let widest = priced.iter().map(|priced| priced.target.max_output_tokens.unwrap_or(u64::MAX)).max();
        return match widest {
            Some(widest) if cap > widest => Err(Refusal::invalid(field, format!("this model gives {widest} at most"))),
            _ => Ok(cap),
        };
    }
    let default = |priced: &Priced<'_>| priced.target.default_max_output_tokens.or(priced.target.max_output_tokens);
    priced
        .iter()
        .find_map(default)
        .ok_or_else(|| Refusal::invalid(field, "is required: no target of this model has a default_max_output_tokens"))
}

/// 403 that names the model.
pub fn not_allowed(model: &str) -> Refusal {
    Refusal::new(ErrorCode::ModelNotAllowed, "the key may not use this model").with("model", model)
}

fn unpriced(model: &str) -> Refusal {
    let message = "no target of this model has a live provider and a price in force, so that its cost cannot be bounded; \
         POST /v1/admin/prices makes a price";
    Refusal::new(ErrorCode::ModelUnpriced, message).with("model", model)
}

fn beyond_counting(asked: &ClientRequest) -> Refusal {
    Refusal::invalid(asked.cap_field(), "the cost of this request is beyond what money can count")
}
