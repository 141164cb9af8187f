use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use events::event::admin::{Key, NarrowedScope, Narrowing, RateLimit, Scope};
use events::event::{Actor, Change, Context, Event, Recorded, Resource, Stream, StreamKind};
use events::ids::{PartnerId, TenantId, UserId};
use events::refusal::{ErrorCode, Refusal};
use events::time::{ManualClock, from_micros, rfc3339};
use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// Friday, 2026-11-20T08:15:30Z.
const START_S: i64 = 1_795_162_530;
const TENANT: u128 = 1;
const KEY: u128 = 2;

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

fn of_tenant() -> Scope {
    Scope::Tenant(id::<TenantId>(TENANT))
}

fn of_key() -> Scope {
    Scope::Key(id::<KeyId>(KEY))
}

/// Partner and tenant 1, user and key 2.
fn chain() -> Chain {
    Chain {
        partner: Some(id::<PartnerId>(TENANT)),
        tenant: Some(id(TENANT)),
        user: Some(id::<UserId>(KEY)),
        key: Some(id(KEY)),
    }
}

fn minute(requests_per_minute: u64) -> Bounds {
    Bounds::of(Measure::RequestsPerMinute, requests_per_minute)
}

fn tokens(tokens_per_minute: u64) -> Bounds {
    Bounds::of(Measure::TokensPerMinute, tokens_per_minute)
}

/// A limiter, with tables and a clock of its own.
struct Limits {
    limiter: RateLimiter,
    clock: Arc<ManualClock>,
    tables: Tables,
}

impl Limits {
    /// Limits are numbered from 1.
    fn new(limits: &[(Scope, Bounds)]) -> Self {
        Self::with(DefaultLimits::default(), limits)
    }

    fn with(defaults: DefaultLimits, limits: &[(Scope, Bounds)]) -> Self {
        let clock = Arc::new(ManualClock::at(from_micros(START_S * 1_000_000)));
        let limiter = RateLimiter::new(Arc::clone(&clock) as Arc<dyn Clock>, defaults);
        let mut all = Self { limiter, clock, tables: Tables::default() };
        all.key(KEY);
        for (number, (scope, bounds)) in (1..).zip(limits) {
            let limit = RateLimit::new(id(number), *scope, *bounds);
            all.happens(Event::from(Change::created(limit)));
        }
        all
    }

    fn key(&mut self, number: u128) {
        let key = Key { permissions: vec![], ..Key::new(id(number), id(KEY), "app") };
        self.happens(Event::from(Change::created(key)));
    }

    fn happens(&mut self, event: Event) {
        let recorded = Recorded {
            position: self.tables.position + 1,
            recorded_at: self.clock.now(),
            stream: Stream::new(StreamKind::RateLimit, "lim"),
            sequence: 1,
            context: Context::of(Actor::Operator),
            event,
        };
        self.tables.fold(&recorded);
    }

    fn binding(&self) -> BindingLimits {
        self.limiter.binding(&self.tables, &chain(), &TeamVersions::new())
    }

    fn ask(&self) -> Result<RateLimitPermit, RateLimited> {
        acquired(&self.limiter, &self.binding())
    }

    /// A request that is admitted and ends at once.
    fn ask_and_end(&self) -> Result<(), RateLimited> {
        self.ask().map(drop)
    }

    fn ask_for(&self, tokens: u64) -> Result<RateLimitPermit, RateLimited> {
        let mut permit = self.ask()?;
        at_once(self.limiter.reserve_tokens(&mut permit, TokenAmounts::of(tokens))).map_err(limited)?;
        Ok(permit)
    }

    /// A request for a model, once its body is known.
    fn ask_model(&self, model: &str, tokens: u64) -> Result<RateLimitPermit, RateLimited> {
        let (mut limits, mut permit) = (self.binding(), self.ask()?);
        let request = ScopeSubject::unmarked(chain(), model);
        if self.limiter.add_narrowed(&mut limits, &self.tables, &request) {
            at_once(self.limiter.acquire_narrowed(&limits, &mut permit)).map_err(limited)?;
        }
        at_once(self.limiter.reserve_tokens(&mut permit, TokenAmounts::of(tokens))).map_err(limited)?;
        Ok(permit)
    }

    fn tightest(&self) -> TightestLimit {
        self.limiter.tightest(&self.binding()).expect("a limit")
    }

    fn remaining(&self) -> Vec<u64> {
        self.limiter.remaining(&self.tables, &Caller::operator(chain())).iter().map(|left| left.remaining).collect()
    }

    fn slots(&self) -> usize {
        match &self.limiter.counting {
            Counting::OneProcess(slots) => slots.len(),
            Counting::Shared(_) => panic!("it counts in Redis"),
        }
    }

    fn after(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Runs work that must end at once: counts in this process alone never wait.
fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut context = TaskContext::from_waker(Waker::noop());
    match pin!(work).poll(&mut context) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits"),
    }
}

fn acquired(limiter: &RateLimiter, limits: &BindingLimits) -> Result<RateLimitPermit, RateLimited> {
    at_once(limiter.acquire(limits)).map_err(limited)
}

fn limited(refusal: LimitRefusal) -> RateLimited {
    match refusal {
        LimitRefusal::RateLimited(limited) => limited,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused<T>(asked: Result<T, RateLimited>) -> RateLimited {
    asked.err().expect("a refusal")
}

fn again_in(refused: &RateLimited) -> Duration {
    match refused.advice {
        RetryAdvice::At { wait, .. } => wait,
        RetryAdvice::WhenOneEnds | RetryAdvice::Never => panic!("{refused:?}"),
    }
}

#[test]
fn the_first_of_three_leaves_two() {
    let limits = Limits::new(&[(of_tenant(), minute(3))]);
    assert_eq!(limits.ask_and_end(), Ok(()));
    let measure = Measure::RequestsPerMinute;
    assert_eq!(limits.tightest(), TightestLimit { measure, limit: 3, remaining: 2, reset_unix_s: START_S + 60 });
    let mut headers = HeaderMap::new();
    limits.tightest().put_into(&mut headers);
    let values = ["limit", "remaining", "reset", "measure"].map(|name| headers[&format!("x-ratelimit-{name}")].clone());
    assert_eq!(values, ["3", "2", &(START_S + 60).to_string(), "requests_per_minute"]);
}

/// Holds: http.rate-limited
#[test]
fn the_fourth_of_three_is_refused_with_its_numbers() {
    let limits = Limits::new(&[(of_tenant(), minute(3))]);
    for _ in 0..3 {
        assert_eq!(limits.ask_and_end(), Ok(()));
        limits.after(1);
    }
    limits.clock.advance(Duration::from_millis(7_500));
    let refused = refused(limits.ask());
    assert_eq!(again_in(&refused), Duration::from_micros(49_500_000));
    let wire = Refusal::from(&refused);
    assert_eq!((wire.code, wire.retry_after), (ErrorCode::RateLimited, Some(again_in(&refused))));
    assert_eq!(
        Value::Object(wire.details),
        json!({
            "limit_id": "lim_00000000000000000000000000000001",
            "scope": { "tenant_id": "ten_00000000000000000000000000000001" },
            "measure": "requests_per_minute", "limit": 3, "requested": 1, "retry_after": 50,
            "resets_at": rfc3339(from_micros((START_S + 60) * 1_000_000)),
        })
    );
    limits.clock.advance(again_in(&refused));
    assert_eq!(limits.ask_and_end(), Ok(()));
}

#[test]
fn a_request_that_one_limit_refuses_counts_against_no_other() {
    let limits = Limits::new(&[(of_tenant(), minute(5)), (of_key(), minute(1))]);
    assert_eq!(limits.ask_and_end(), Ok(()));
    for _ in 0..10 {
        assert_eq!(refused(limits.ask()).name, LimitName::Configured(id(2)));
    }
    assert_eq!(limits.remaining(), [0, 4]);
}

#[test]
fn of_several_limits_that_refuse_the_one_with_the_longest_wait_is_named() {
    let all = Bounds { requests_per_hour: Some(1), requests_per_day: Some(2), ..minute(1) };
    let limits = Limits::new(&[(of_key(), all)]);
    assert_eq!(limits.ask_and_end(), Ok(()));
    assert_eq!(refused(limits.ask()).measure, Measure::RequestsPerHour);
    limits.after(3600);
    assert_eq!(limits.ask_and_end(), Ok(()));
    let day = refused(limits.ask());
    assert_eq!((day.measure, again_in(&day)), (Measure::RequestsPerDay, Duration::from_hours(23)));
    limits.clock.advance(again_in(&day));
    assert_eq!(limits.ask_and_end(), Ok(()));
}

#[test]
fn a_caller_without_limits_costs_nothing_and_has_no_tightest_limit() {
    let limits = Limits::new(&[]);
    assert!(limits.binding().is_empty() && limits.limiter.tightest(&limits.binding()).is_none());
    assert!(limits.ask_for(u64::MAX).is_ok());
    assert_eq!(limits.slots(), 0);
}

#[test]
fn a_request_that_too_many_limits_bind_is_refused_and_counts_against_none() {
    let all = [(of_key(), minute(1)); BINDING_LIMITS_MAX];
    let mut limits = Limits::new(&all);
    let narrowing = Narrowing { model: Some("m".to_owned()), metadata: Default::default() };
    let scope = NarrowedScope::narrowed(of_tenant(), narrowing);
    let narrowed = RateLimit { scope, ..RateLimit::new(id(100), of_tenant(), minute(1)) };
    limits.happens(Event::from(Change::created(narrowed)));
    let (mut binding, request) = (limits.binding(), ScopeSubject::unmarked(chain(), "m"));
    let mut permit = at_once(limits.limiter.acquire(&binding)).unwrap_or_else(|refused| panic!("{refused:?}"));
    assert!(limits.limiter.add_narrowed(&mut binding, &limits.tables, &request));
    let too_many = LimitRefusal::TooMany;
    let refused = at_once(limits.limiter.acquire_narrowed(&binding, &mut permit));
    assert_eq!(refused, Err(too_many.clone()));
    assert_eq!(Refusal::from(&too_many).code, ErrorCode::InvalidRequest);
    // Each admits one request a minute, and has none counted.
    assert_eq!(limits.ask_and_end(), Ok(()));
    limits.happens(Event::from(Change::created(RateLimit::new(id(101), of_tenant(), minute(1)))));
    assert_eq!(at_once(limits.limiter.acquire(&limits.binding())).err(), Some(too_many));
}

#[test]
fn a_wall_clock_that_steps_neither_opens_nor_closes_a_window() {
    let limits = Limits::new(&[(of_tenant(), minute(1))]);
    assert_eq!(limits.ask_and_end(), Ok(()));
    for hours in [-1, 30, -5] {
        limits.clock.step_wall(hours * 3_600_000_000);
        assert!(limits.ask().is_err(), "{hours} h");
    }
    limits.after(60);
    assert_eq!(limits.ask_and_end(), Ok(()));
}

#[test]
fn tokens_are_reserved_and_then_count_as_they_were_used() {
    let limits = Limits::new(&[(of_key(), tokens(1000))]);
    let mut first = limits.ask_for(700).expect("room");
    let short = refused(limits.ask_for(301));
    assert_eq!((short.requested, again_in(&short)), (301, Duration::from_mins(1)));
    assert_eq!(Refusal::from(&short).details["retry_after"], 60, "whole seconds are not rounded up");
    limits.after(30);
    first.settle(TokenAmounts::of(100));
    drop(first);
    assert_eq!(limits.remaining(), [900]);
    drop(limits.ask_for(800).expect("room"));
    assert_eq!(limits.remaining(), [900], "without usage nothing was used");
    let mut unknown = limits.ask_for(800).expect("room");
    unknown.keep_reserved();
    drop(unknown);
    assert_eq!(limits.remaining(), [100]);
    limits.after(30);
    assert_eq!(limits.remaining(), [200], "what was settled counts from when it was let in");
}

/// Holds: admin.own-charges
#[test]
fn a_limit_above_the_tenant_counts_no_tokens_of_the_tenants_own_providers() {
    let partner = Scope::Partner(chain().partner.expect("a partner"));
    let limits = Limits::new(&[(partner, tokens(1000)), (of_tenant(), tokens(50_000)), (of_key(), tokens(60_000))]);
    let left = || {
        let mut left = limits.remaining();
        left.sort_unstable();
        left
    };
    let mut own = limits.ask().expect("room");
    let bound = TokenAmounts { all: 40_000, brokered: 0, is_guest: false };
    at_once(limits.limiter.reserve_tokens(&mut own, bound)).expect("room");
    assert_eq!(left(), [1000, 10_000, 20_000]);
    own.settle(TokenAmounts { all: 30_000, ..bound });
    assert_eq!(left(), [1000, 20_000, 30_000]);
    let mut mixed = limits.ask().expect("room");
    let bound = TokenAmounts { all: 5_000, brokered: 700, is_guest: true };
    at_once(limits.limiter.reserve_tokens(&mut mixed, bound)).expect("room");
    assert_eq!(left(), [300, 15_000, 29_300], "the key is one of another tenant");
    mixed.keep_own_reserved(100);
    assert_eq!(left(), [900, 15_000, 29_900]);
    let mut refused = limits.ask().expect("room");
    let bound = TokenAmounts { brokered: 901, ..bound };
    assert!(at_once(limits.limiter.reserve_tokens(&mut refused, bound)).is_err());
}

#[test]
fn tokens_are_admitted_after_the_stated_wait_and_not_before() {
    let limits = Limits::new(&[(of_key(), tokens(1000))]);
    for amount in [400, 300, 200] {
        limits.ask_for(amount).expect("room").keep_reserved();
        limits.after(7);
    }
    for wanted in [101, 500, 900, 1000] {
        let wait = again_in(&refused(limits.ask_for(wanted)));
        limits.clock.advance(wait - Duration::from_micros(1));
        assert!(limits.ask_for(wanted).is_err(), "{wanted} sooner");
        limits.clock.advance(Duration::from_micros(1));
        limits.ask_for(wanted).expect("room").keep_reserved();
    }
}

#[test]
fn a_request_that_tokens_refuse_is_not_counted_as_a_request_either() {
    let limits = Limits::new(&[(of_tenant(), minute(9)), (of_key(), tokens(10))]);
    for _ in 0..20 {
        assert_eq!(refused(limits.ask_for(11)).measure, Measure::TokensPerMinute);
    }
    assert_eq!(limits.remaining(), [10, 9]);
}

#[test]
fn a_request_above_the_whole_limit_gets_no_time_to_retry() {
    let limits = Limits::new(&[(of_key(), tokens(1000))]);
    let refused = refused(limits.ask_for(1001));
    let wire = Refusal::from(&refused);
    assert_eq!((refused.advice, wire.retry_after), (RetryAdvice::Never, None));
    assert_eq!((&wire.details["retry_after"], &wire.details["requested"]), (&Value::Null, &json!(1001)));
    assert!(wire.message.contains("1001 tokens") && wire.message.contains("lower output cap"), "{}", wire.message);
}

#[test]
fn places_are_taken_until_their_requests_end() {
    let limits = Limits::new(&[(of_key(), Bounds::of(Measure::ConcurrentRequests, 2))]);
    let (one, two) = (limits.ask().expect("a place"), limits.ask().expect("a place"));
    let refused = refused(limits.ask());
    assert_eq!(refused.advice, RetryAdvice::WhenOneEnds);
    let wire = Refusal::from(&refused);
    assert_eq!((wire.retry_after, &wire.details["resets_at"]), (Some(Duration::from_secs(1)), &Value::Null));
    limits.after(100_000);
    assert!(limits.ask().is_err(), "time alone frees no place");
    drop(one);
    let three = limits.ask().expect("a place");
    assert!(limits.ask().is_err());
    drop((two, three));
    assert_eq!(limits.remaining(), [2]);
}

#[test]
fn a_place_that_one_limit_refuses_is_taken_from_no_other() {
    let one = Bounds::of(Measure::ConcurrentRequests, 1);
    let limits = Limits::new(&[(of_tenant(), Bounds::of(Measure::ConcurrentRequests, 5)), (of_key(), one)]);
    let held = limits.ask().expect("a place");
    assert!(limits.ask().is_err() && limits.ask().is_err());
    assert_eq!(limits.remaining(), [0, 4]);
    drop(held);
    assert_eq!(limits.remaining(), [1, 5]);
}

/// Holds: bin.default-limit
#[test]
fn a_default_binds_only_keys_that_have_no_limit_of_their_own() {
    let defaults = DefaultLimits { requests_per_hour: Some(1), admin_requests_per_hour: None };
    let limits = Limits::with(defaults, &[(of_tenant(), minute(9))]);
    assert_eq!(limits.ask_and_end(), Ok(()));
    let refused = refused(limits.ask());
    assert_eq!((refused.name, refused.measure), (LimitName::Default, Measure::RequestsPerHour));
    let details = Refusal::from(&refused).details;
    assert_eq!((&details["limit_id"], &details["scope"]), (&json!("default"), &json!({ "key_id": id::<KeyId>(KEY) })));
    let own = Limits::with(defaults, &[(of_key(), minute(9))]);
    for _ in 0..9 {
        assert_eq!(own.ask_and_end(), Ok(()));
    }
    let operator = Chain { user: None, key: None, ..chain() };
    assert!(
        Limits::with(defaults, &[]).limiter.binding(&Tables::default(), &operator, &TeamVersions::new()).is_empty()
    );
}

/// Holds: bin.admin-limit
#[test]
fn the_default_of_administration_binds_each_key_and_the_operator() {
    let defaults = DefaultLimits { requests_per_hour: None, admin_requests_per_hour: Some(1) };
    let Limits { limiter, tables, .. } = Limits::with(defaults, &[(of_key(), minute(1))]);
    for chain in [chain(), Chain { key: None, ..chain() }] {
        let binding = limiter.binding_administration(&tables, &chain);
        assert!(acquired(&limiter, &binding).is_ok());
        let refused = refused(acquired(&limiter, &binding));
        let scope = Refusal::from(&refused).details["scope"].clone();
        let holder = chain.key.map_or("operator".to_owned(), |key| key.to_string());
        assert_eq!((refused.name, scope), (LimitName::AdminDefault, json!({ "key_id": holder })));
    }
    assert!(Limits::new(&[]).limiter.binding_administration(&tables, &chain()).is_empty());
}

/// Holds: inf.ratelimit-headers
#[test]
fn the_tightest_limit_has_the_smallest_share_left() {
    let limits =
        Limits::new(&[(of_tenant(), tokens(1000)), (of_key(), Bounds { requests_per_day: Some(4), ..minute(3) })]);
    let mut permit = limits.ask_for(200).expect("room");
    assert_eq!((limits.tightest().measure, limits.tightest().remaining), (Measure::RequestsPerMinute, 2));
    permit.settle(TokenAmounts::of(900));
    assert_eq!((limits.tightest().measure, limits.tightest().remaining), (Measure::TokensPerMinute, 100));
}

#[test]
fn reading_what_remains_counts_nothing_and_creates_no_slots() {
    let all = Bounds { tokens_per_day: Some(70), concurrent_requests: Some(4), ..minute(3) };
    let limits = Limits::new(&[(of_key(), all)]);
    assert_eq!(limits.remaining(), [3, 70, 4]);
    assert_eq!(limits.slots(), 0);
    let _permit = limits.ask_for(10).expect("room");
    let left =
        serde_json::to_value(limits.limiter.remaining(&limits.tables, &Caller::operator(chain()))).expect("JSON");
    let (limit_id, scope) = ("lim_00000000000000000000000000000001", json!({ "key_id": id::<KeyId>(KEY) }));
    let one = |measure: &str, limit: u64, remaining: u64, resets_in: Option<i64>| {
        let resets_at = resets_in.map(|seconds| rfc3339(from_micros((START_S + seconds) * 1_000_000)));
        json!({ "limit_id": limit_id, "scope": scope, "measure": measure, "limit": limit, "remaining": remaining,
                "resets_at": resets_at })
    };
    assert_eq!(
        left,
        json!([
            one("requests_per_minute", 3, 2, Some(60)),
            one("tokens_per_day", 70, 60, Some(86_400)),
            one("concurrent_requests", 4, 3, None),
        ])
    );
}

#[test]
fn slots_that_count_nothing_and_those_of_ended_keys_are_dropped() {
    let defaults = DefaultLimits { requests_per_hour: Some(9), admin_requests_per_hour: None };
    let mut limits = Limits::with(defaults, &[]);
    let of = |number: u128| Chain { key: Some(id(number)), ..chain() };
    let ask = |limits: &Limits, number| {
        let binding = limits.limiter.binding(&limits.tables, &of(number), &TeamVersions::new());
        acquired(&limits.limiter, &binding).expect("room")
    };
    for number in 100..2_100 {
        limits.key(number);
        drop(ask(&limits, number));
    }
    assert_eq!(limits.slots(), 2_000);
    for number in 600..2_100 {
        limits.happens(Event::Resource(Resource::Key(Change::Ended(id(number)))));
    }
    let in_flight = ask(&limits, 599);
    limits.after(60);
    (100..600).for_each(|number| drop(ask(&limits, number)));
    assert_eq!(limits.slots(), 500, "those of ended keys are gone");
    limits.after(3_600);
    // Enough requests to reach every shard.
    (100..340).for_each(|number| drop(ask(&limits, number)));
    assert_eq!(limits.slots(), 241, "240 that count something, and one in flight");
    drop(in_flight);
}

/// Most of these keys are unknown, as if they had ended.
#[test]
fn slots_of_ended_keys_do_not_pile_up_within_a_minute() {
    let defaults = DefaultLimits { requests_per_hour: Some(9), admin_requests_per_hour: None };
    let mut limits = Limits::with(defaults, &[]);
    (0..3_000).for_each(|number| limits.key(number));
    for number in 0..12_000 {
        let chain = Chain { key: Some(id(number)), ..chain() };
        let binding = limits.limiter.binding(&limits.tables, &chain, &TeamVersions::new());
        drop(acquired(&limits.limiter, &binding));
    }
    let kept = limits.slots();
    assert!((3_000..7_000).contains(&kept), "{kept} for 3,000 that live");
}

#[test]
fn concurrent_requests_get_exactly_what_the_limits_allow() {
    let all = Bounds { tokens_per_minute: Some(3_000), concurrent_requests: Some(400), ..minute(300) };
    let limits =
        Limits::new(&[(of_tenant(), all), (of_key(), Bounds { requests_per_day: Some(250), ..tokens(9_000) })]);
    let admitted = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..200)
                        .filter_map(|_| limits.ask_for(10).ok())
                        .map(|mut one| one.settle(TokenAmounts::of(10)))
                        .count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
    });
    assert_eq!(admitted, 250);
    let day = limits.limiter.remaining(&limits.tables, &Caller::operator(chain()));
    let left =
        |measure| day.iter().filter(|left| left.measure == measure).map(|left| left.remaining).collect::<Vec<_>>();
    assert_eq!((left(Measure::RequestsPerDay), left(Measure::RequestsPerMinute)), (vec![0], vec![50]));
    assert_eq!((left(Measure::TokensPerMinute), left(Measure::ConcurrentRequests)), (vec![6_500, 500], vec![400]));
}

#[test]
fn a_narrowed_limit_counts_its_own_requests_and_what_it_refuses_counts_against_no_limit() {
    let bounds =
        |requests, tokens| Bounds { tokens_per_day: Some(tokens), ..Bounds::of(Measure::RequestsPerDay, requests) };
    let mut all = Limits::new(&[(of_tenant(), bounds(4, 100))]);
    let narrowing = Narrowing { model: Some("large".to_owned()), ..Narrowing::default() };
    let narrowed = RateLimit {
        scope: NarrowedScope::narrowed(of_tenant(), narrowing),
        ..RateLimit::new(id(9), of_tenant(), bounds(2, 30))
    };
    all.happens(Event::from(Change::created(narrowed)));
    // Of requests and of tokens of both, the narrowed one last.
    assert_eq!(all.remaining(), [4, 100, 2, 30]);
    assert!(all.ask_model("large", 31).is_err(), "more tokens than its whole limit");
    assert!(all.ask_model("small", 101).is_err(), "more tokens than the whole limit of all");
    assert_eq!(all.remaining(), [4, 100, 2, 30]);
    let mut first = all.ask_model("large", 20).expect("admitted");
    assert_eq!(all.remaining(), [3, 80, 1, 10]);
    first.settle(TokenAmounts::of(5));
    drop(first);
    let mut second = all.ask_model("large", 20).expect("admitted");
    second.keep_reserved();
    drop(second);
    assert_eq!(all.remaining(), [2, 75, 0, 5]);
    assert!(all.ask_model("large", 1).is_err(), "the third of two");
    assert_eq!(all.remaining(), [2, 75, 0, 5]);
    drop(all.ask_model("small", 1).expect("admitted"));
    assert_eq!(all.remaining(), [1, 75, 0, 5]);
}
