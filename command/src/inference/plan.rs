//! What a request may cost, and who may serve it: decided once, from one snapshot of the tables, before the ledger is
//! asked. Pure, but for a line in the debug log that says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::{ClientRequest, RequestedCap};
use events::event::admin::{Model, Target, Tokenizer};
use events::event::inference::Versions;
use events::ids::RequestId;
use events::money::CostLine;
use events::output_cap::{LoweredCap, OutputCap, Shrinking};
use events::refusal::{ErrorCode, Refusal};
use events::routing::{Features, LeftOut, Order, choose};
use projections::caller::Caller;
use projections::tables::{Considered, Tables, model_not_found};

use super::bound::Bound;
use super::target::PlannedTarget;

/// Targets in the order in which they are tried, and the money that any of them can cost at most.
#[derive(Debug)]
pub struct Plan {
    pub targets: Vec<PlannedTarget>,
    model: Arc<Model>,
    model_version: u64,
    pub output_cap: OutputCap,
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
        self.bound.input_tokens.saturating_add(self.output_cap.tokens().saturating_mul(choices))
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
    let prefix_bytes = model.value.system_prefix.as_ref().map_or(0, String::len) as u64;
    let prompt_bytes = asked.input_tokens_bound().saturating_add(prefix_bytes);
    let choices = asked.choices();
    let targets = &model.value.targets;
    let considered: Vec<_> = targets.iter().map(|target| consider(tables, caller, asked, target, now)).collect();
    let features = Features {
        request: Some(request),
        input_tokens: prompt_bytes,
        output_tokens: asked.output_cap().tokens.map(|tokens| tokens.saturating_mul(choices)),
    };
    let order = choose(model.value.strategy, considered.iter().map(Considered::candidate), &features);
    let order_in_words = order.explained(|at, f| match targets.get(at) {
        Some(target) => write!(f, "{}/{}", target.provider_id, target.model),
        None => Ok(()),
    });
    tracing::debug!(request_id = %request, model = asked.model(), order = %order_in_words, "targets are chosen");
    let offered = |at: usize| considered.get(at).and_then(|considered| Some((considered.target, considered.offer?)));
    let tried = || order.tried().filter_map(offered);
    if tried().next().is_none() {
        return Err(nobody_serves(asked, &order, &considered));
    }
    let output_cap = output_cap(asked, tried().map(|(target, _)| target))?;
    let targets: Vec<_> = tried().map(|(target, offer)| PlannedTarget::of(target, offer)).collect();
    let bound = Bound::over(&targets, |_| prompt_bytes, output_cap, choices).ok_or_else(|| beyond_counting(asked))?;
    let above_the_cap = order.left_out().filter(|(_, why)| matches!(why, LeftOut::CapAbove { .. }));
    let excluded = above_the_cap.filter_map(|(at, _)| offered(at)).try_fold(CostLine::default(), |line, (_, offer)| {
        Some(line.above(CostLine::of(&offer.price.value.rates, prompt_bytes, choices)?))
    });
    Ok(Plan {
        targets,
        model: Arc::clone(&model.value),
        model_version: model.version,
        output_cap,
        prompt_bytes,
        bound,
        excluded,
    })
}

impl Plan {
    /// How far the ledger may lower the output cap.
    pub fn shrinking(&self, asked: &ClientRequest) -> Shrinking {
        let tokens_min = asked.output_tokens_needed().saturating_add(SHRUNK_OUTPUT_TOKENS_MIN);
        Shrinking { line: self.bound.line, resent: self.resent(asked), tokens_min }
    }

    /// What the request would cost if the client sent it again with a lower cap: targets that did not take the higher one
    /// may serve it then, and a body that names a cap for the first time is longer.
    fn resent(&self, asked: &ClientRequest) -> Option<CostLine> {
        let line = self.bound.line.above(self.excluded?);
        let RequestedCap { field, tokens } = asked.output_cap();
        let naming = if tokens.is_some() { 0 } else { field.len() as u64 + NAMED_CAP_BYTES };
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
        self.bound = Bound::over(&self.targets, of, self.output_cap, asked.choices()).unwrap_or(self.bound);
    }

    /// To what the ledger admitted.
    pub const fn lower_cap(&mut self, cap: LoweredCap) {
        self.output_cap = OutputCap::Lowered(cap);
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
        let outbound = target.outbound(self.output_cap, self.model.system_prefix.as_deref());
        asked.upstream_body(target.provider.kind, &outbound)
    }
}

/// A target, as far as it can serve this caller this request.
fn consider<'a>(
    tables: &'a Tables,
    caller: &Caller,
    asked: &ClientRequest,
    target: &'a Target,
    now: DateTime<Utc>,
) -> Considered<'a> {
    let mut considered = tables.consider(caller.chain.tenant, target, now);
    if let Some(offer) = considered.offer {
        considered.left_out = if asked.unpriced(&offer.provider.allowed_fields).is_some() {
            // Nobody vouches for what it would cost.
            Some(LeftOut::FieldNotAllowed)
        } else {
            // A cap that the client chose is kept; one that we choose is lowered to the target's.
            let above = asked.output_cap().tokens.zip(target.max_output_tokens).filter(|(cap, maximum)| cap > maximum);
            above.map(|(_, maximum)| LeftOut::CapAbove { maximum })
        };
    }
    considered
}

fn nobody_serves(asked: &ClientRequest, order: &Order<'_>, considered: &[Considered<'_>]) -> Refusal {
    let maximum = |why| if let LeftOut::CapAbove { maximum } = why { Some(maximum) } else { None };
    if let Some(widest) = order.left_out().filter_map(|(_, why)| maximum(why)).max() {
        return asked.output_cap().refuse(format!("this model gives {widest} at most"));
    }
    let offers = order.left_out().filter_map(|(at, _)| considered.get(at)?.offer);
    let refused = offers.filter_map(|offer| asked.unpriced(&offer.provider.allowed_fields)).next();
    refused.cloned().unwrap_or_else(|| unpriced(asked.model()))
}

/// The client's cap where it gave one, else the default of the first target that has one.
fn output_cap<'a>(asked: &ClientRequest, mut tried: impl Iterator<Item = &'a Target>) -> Result<OutputCap, Refusal> {
    let requested = asked.output_cap();
    if let Some(tokens) = requested.tokens {
        return Ok(OutputCap::Asked(tokens));
    }
    let default = tried.find_map(|target| target.default_max_output_tokens.or(target.max_output_tokens));
    let default = default.map(OutputCap::Bounded);
    default.ok_or_else(|| requested.refuse("is required: no target of this model has a default_max_output_tokens"))
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
    asked.output_cap().refuse("the cost of this request is beyond what money can count")
}
