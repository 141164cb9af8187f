//! A small synthetic log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::access::{AccessDenied, AccessRead, AdminRejected, ChangeMethod, ReadKind};
use events::event::admin::{Budget, Key, KeyRotated, Partner, Scope, Tenant, User};
use events::event::hold::{BudgetAdjusted, BudgetExpired, BudgetReleased, BudgetReserved, BudgetSettled, BudgetWindow};
use events::event::inference::{
    AttemptFailed, Backend, FinishReason, InferenceAdmitted, InferenceEnded, InferenceRefused, ReportedByFailedCall,
    Versions,
};
use events::event::{
    Access, Actor, Chain, Change, Context, Event, Hold, Inference, Recorded, Resource, Stream, StreamKind,
};
use events::ids::{BudgetId, KeyId, PartnerId, RequestId, TenantId, UserId};
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use events::time::{Period, parse_rfc3339};
use events::usage::{TokenClasses, Usage, UsageSource};
use serde_json::{Map, Value};
use uuid::Uuid;

pub fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

pub fn start() -> DateTime<Utc> {
    parse_rfc3339("2026-11-20T08:59:50Z").expect("a time")
}

pub fn partner() -> PartnerId {
    id(1)
}

pub fn tenant() -> TenantId {
    id(2)
}

pub fn user() -> UserId {
    id(3)
}

pub fn key() -> KeyId {
    id(4)
}

pub fn budget() -> BudgetId {
    id(5)
}

/// Facts at positions 1, 2, 3 …, one per second.
#[derive(Default)]
pub struct Story {
    facts: Vec<Arc<Recorded>>,
}

impl Story {
    /// One more fact, after these.
    pub fn beyond(facts: &[Arc<Recorded>]) -> Vec<Arc<Recorded>> {
        let last = facts.last().expect("facts");
        let denied = facts.iter().find(|recorded| matches!(recorded.event, Event::Access(Access::Denied(_))));
        let again = denied.map_or_else(|| last.as_ref().clone(), |denied| denied.as_ref().clone());
        vec![Arc::new(Recorded { position: last.position + 1, recorded_at: last.recorded_at, ..again })]
    }

    /// A tenant with a budget of 5 USD; requests that complete, fail, abort, expire and are refused; a late
    /// correction; a key that is rotated and revoked.
    pub fn whole() -> Vec<Arc<Recorded>> {
        let mut story = Self::default();
        story.setup();
        story.completes(100, 7);
        story.under_way(101);
        story.fails(102);
        story.expires(103);
        story.corrects(103, 250);
        story.refuses(Some(104), 1);
        story.refuses(None, 17);
        story.rotates_and_revokes();
        story.completes(105, 3);
        story.facts
    }

    /// A tenant with a budget, and this many requests of four events each.
    pub fn of_requests(number: u128) -> Vec<Arc<Recorded>> {
        let mut story = Self::default();
        story.setup();
        (100..100 + number).for_each(|request| story.completes(request, 7));
        story.facts
    }

    pub fn facts(self) -> Vec<Arc<Recorded>> {
        self.facts
    }

    fn add(&mut self, stream: Stream, context: Context, event: Event) {
        let position = u64::try_from(self.facts.len()).expect("few facts") + 1;
        let sequence = u64::try_from(self.facts.iter().filter(|fact| fact.stream == stream).count()).expect("few") + 1;
        let recorded_at = start() + Duration::from_secs(position);
        self.facts.push(Arc::new(Recorded { position, recorded_at, stream, sequence, context, event }));
    }

    fn admin(&mut self, kind: StreamKind, id: impl ToString, chain: Chain, event: Event) {
        self.add(Stream::new(kind, id.to_string()), Context::about(Actor::Operator, chain), event);
    }

    pub fn setup(&mut self) {
        let of_partner = Chain { partner: Some(partner()), ..Chain::default() };
        let of_tenant = Chain { tenant: Some(tenant()), ..of_partner };
        let of_user = Chain { user: Some(user()), ..of_tenant };
        let made = Partner::new(partner(), "P");
        self.admin(StreamKind::Partner, partner(), of_partner, Event::from(Change::created(made)));
        let made = Tenant::new(tenant(), partner(), "T");
        self.admin(StreamKind::Tenant, tenant(), of_tenant, Event::from(Change::created(made)));
        let made = User::new(user(), tenant(), "d");
        self.admin(StreamKind::User, user(), of_user, Event::from(Change::created(made)));
        self.admin(StreamKind::Key, key(), chain(), Event::from(Change::created(app_key())));
        let opened = Event::from(Change::created(budget_of(5_000_000_000)));
        self.admin(StreamKind::Budget, budget(), of_tenant, opened);
        let changed = Event::from(Change::changed(budget_of(6_000_000_000)));
        self.admin(StreamKind::Budget, budget(), of_tenant, changed);
    }

    /// Admission and hold of 1,000 nano-dollars.
    pub fn under_way(&mut self, number: u128) -> DateTime<Utc> {
        let context = in_request(number);
        let admitted = InferenceAdmitted {
            model: "large".into(),
            dialect: "native".into(),
            streamed: false,
            max_output_tokens: 10,
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: None,
            input_tokens_bound: 20,
            body_sha256: "00".into(),
            prompt_digest: None,
            content_policy: events::content::ContentPolicy::default(),
            metadata: BTreeMap::new(),
            versions: Versions::default(),
            would_have_refused: Vec::new(),
            rate_limited_tokens: None,
            hedge_after_ms: None,
            route: None,
            shadow_of: None,
            hold_shares: Default::default(),
        };
        let stream = Stream::inference(id(number));
        self.add(stream, context.clone(), Event::Inference(Inference::Admitted(Box::new(admitted))));
        let admitted_at = self.facts.last().expect("the admission").recorded_at;
        let held_usd = NanoUsd::new(1000);
        let reserved = BudgetReserved { held_usd, budgets: windows(), expires_at: start(), brokered: None };
        self.add(Stream::hold(id(number)), context, Event::Hold(Hold::Reserved(Box::new(reserved))));
        admitted_at
    }

    pub fn completes(&mut self, number: u128, latency_ms: u64) {
        let admitted_at = self.under_way(number);
        let context = in_request(number);
        let ended = ended(admitted_at, 400, Some(latency_ms));
        let stream = Stream::inference(id(number));
        self.add(stream, context.clone(), Event::Inference(Inference::Completed(Box::new(ended))));
        let (held_usd, charged_usd) = (NanoUsd::new(1000), NanoUsd::new(400));
        let settled = BudgetSettled { held_usd, charged_usd, budgets: windows(), overrun_usd: None, brokered: None };
        self.add(Stream::hold(id(number)), context, Event::Hold(Hold::Settled(Box::new(settled))));
    }

    /// Completes a request with the maximum of tokens, money and time that an event can hold.
    pub fn completes_at_the_maximum(&mut self, number: u128) {
        let admitted_at = self.under_way(number);
        let context = in_request(number);
        let most = u64::MAX;
        let tokens = TokenClasses {
            input_uncached_tokens: most,
            input_cache_read_tokens: most,
            input_cache_write_tokens: most,
            output_text_tokens: most,
            output_reasoning_tokens: most,
            ..TokenClasses::default()
        };
        let usage = Some(Usage::new(tokens, UsageSource::Provider));
        let ended = InferenceEnded { usage, ..ended(admitted_at, i64::MAX, Some(most)) };
        let stream = Stream::inference(id(number));
        self.add(stream, context.clone(), Event::Inference(Inference::Completed(Box::new(ended))));
        let (held_usd, charged_usd) = (NanoUsd::MAX, NanoUsd::MAX);
        let settled = BudgetSettled { held_usd, charged_usd, budgets: windows(), overrun_usd: None, brokered: None };
        self.add(Stream::hold(id(number)), context, Event::Hold(Hold::Settled(Box::new(settled))));
    }

    pub fn fails(&mut self, number: u128) {
        let admitted_at = self.under_way(number);
        let context = in_request(number);
        let attempt = AttemptFailed {
            backend: backend(),
            attempt: 1,
            reason: "status".into(),
            status: Some(500),
            upstream_code: None,
            latency_ms: 5,
            reported: ReportedByFailedCall::default(),
        };
        let stream = Stream::inference(id(number));
        self.add(stream.clone(), context.clone(), Event::Inference(Inference::AttemptFailed(Box::new(attempt))));
        let failed = InferenceEnded { usage: None, ..ended(admitted_at, 0, Some(30)) };
        self.add(stream, context.clone(), Event::Inference(Inference::Failed(Box::new(failed))));
        let released = BudgetReleased {
            held_usd: NanoUsd::new(1000),
            budgets: windows(),
            reason: "upstream_status".into(),
            brokered: None,
        };
        self.add(Stream::hold(id(number)), context, Event::Hold(Hold::Released(Box::new(released))));
    }

    pub fn expires(&mut self, number: u128) {
        let admitted_at = self.under_way(number);
        let context = Context { actor: Actor::System("sweeper"), ..in_request(number) };
        let aborted = InferenceEnded { backend: None, usage: None, ..ended(admitted_at, 1000, None) };
        let stream = Stream::inference(id(number));
        self.add(stream, context.clone(), Event::Inference(Inference::Aborted(Box::new(aborted))));
        let (held_usd, charged_usd) = (NanoUsd::new(1000), NanoUsd::new(1000));
        let expired =
            BudgetExpired { held_usd, charged_usd, budgets: windows(), policy: "charge_hold".into(), brokered: None };
        self.add(Stream::hold(id(number)), context, Event::Hold(Hold::Expired(Box::new(expired))));
    }

    pub fn corrects(&mut self, number: u128, delta: i64) {
        let correction = BudgetAdjusted {
            delta_usd: NanoUsd::new(delta),
            budgets: windows(),
            reason: "late".into(),
            of: id(number),
            price: None,
            request: None,
            brokered: None,
        };
        let stream = Stream::hold(id::<RequestId>(number));
        self.add(stream, in_request(number), Event::Hold(Hold::Adjusted(Box::new(correction))));
    }

    pub fn refuses(&mut self, number: Option<u128>, count: u64) {
        let context = Context { request_id: number.map(id), ..Context::about(Actor::Key(key()), chain()) };
        let mut details = Map::new();
        details.insert("budget_id".into(), Value::String(budget().to_string()));
        let refused = InferenceRefused {
            code: ErrorCode::BudgetExceeded,
            model: "large".into(),
            count,
            scoped_by: None,
            details,
        };
        let stream = Stream::inference(id(number.unwrap_or(999)));
        self.add(stream, context, Event::Inference(Inference::Refused(Box::new(refused))));
    }

    pub fn rotates_and_revokes(&mut self) {
        let rotated = KeyRotated { key_id: key(), generation: 2, previous_until: start() };
        self.admin(StreamKind::Key, key(), chain(), Event::Resource(Resource::KeyRotated(Box::new(rotated))));
        self.admin(StreamKind::Key, key(), chain(), Event::Resource(Resource::Key(Change::Ended(key()))));
        let denied = AccessDenied { code: ErrorCode::Unauthenticated, count: 3 };
        let context = Context { key_id: Some(key()), ..Context::of(Actor::System("gateway")) };
        self.add(Stream::new(StreamKind::Access, key()), context, Event::Access(Access::Denied(Box::new(denied))));
    }

    /// The key reads the audit, and is not allowed to close the budget, nor to open another one.
    pub fn reads_and_is_rejected(&mut self) {
        let read = AccessRead { kind: ReadKind::Audit, minute: start(), count: 2 };
        self.access(Access::Read(Box::new(read)));
        for (resource_id, method) in [(Some(budget().to_string()), ChangeMethod::Delete), (None, ChangeMethod::Post)] {
            let (code, resource) = (ErrorCode::Conflict, StreamKind::Budget);
            let rejected = AdminRejected { code, resource, resource_id, method, count: 1 };
            self.access(Access::Rejected(Box::new(rejected)));
        }
    }

    fn access(&mut self, access: Access) {
        let context = Context::about(Actor::Key(key()), chain());
        self.add(Stream::new(StreamKind::Access, key()), context, Event::Access(access));
    }
}

pub fn chain() -> Chain {
    Chain { partner: Some(partner()), tenant: Some(tenant()), user: Some(user()), key: Some(key()) }
}

fn in_request(number: u128) -> Context {
    Context::about(Actor::Key(key()), chain()).in_request(id(number))
}

fn windows() -> Vec<BudgetWindow> {
    vec![BudgetWindow { budget_id: budget(), window_start: None }]
}

fn app_key() -> Key {
    Key::new(key(), user(), "app")
}

fn budget_of(nanos: i64) -> Budget {
    Budget::new(budget(), Scope::Tenant(tenant()), NanoUsd::new(nanos), Period::Total)
}

fn backend() -> Backend {
    Backend { provider_id: id(6), provider: "sim".into(), model: "echo".into(), provider_key_id: None }
}

fn ended(admitted_at: DateTime<Utc>, cost: i64, latency_ms: Option<u64>) -> InferenceEnded {
    let tokens = TokenClasses { input_uncached_tokens: 12, output_text_tokens: 9, ..TokenClasses::default() };
    InferenceEnded {
        backend: Some(backend()),
        usage: Some(Usage::new(tokens, UsageSource::Provider)),
        price_version: Some(1),
        finish_reason: Some(FinishReason::Stop),
        latency_ms,
        attempts: Some(1),
        ..InferenceEnded::new("large".into(), admitted_at, NanoUsd::new(cost))
    }
}
