//! The scan says what the definitions say that are written down here without regard to time: what was in force, which change
//! concerns which request, and when a change is over. For any log, also one that could not be written.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::{Origin, Price};
use events::event::inference::{InferenceEnded, Versions};
use events::event::price_revalued::PriceRevalued;
use events::event::{Actor, Change, Context, Event, Inference, Recorded, Resource, Stream, StreamKind};
use events::ids::{PriceId, ProviderId, RequestId};
use events::money::NanoUsd;
use events::time::parse_rfc3339;
use events::usage::Usage;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::samples::{BACKENDS, Call, admitted, failed_call, id, rates, served_by, used};
use crate::revaluation::admissions::OUTDATED_PLANS_MAX;
use crate::revaluation::price_history::{PastChange, PriceHistory};
use crate::revaluation::scan::{ACTOR, Scan};

/// In seconds; few and equal ones, so that prices begin and end together.
const TIMES: [i64; 8] = [-30, 0, 0, 5, 10, 20, 25, 60];

#[derive(Clone, Debug)]
enum Fact {
    /// A change of one of six prices. The even ones are of one backend, and every third one is made by the gateway.
    Price {
        number: u128,
        nanos: i64,
        ago: i64,
    },
    End {
        number: u128,
    },
    /// A request that was planned so many events ago.
    Admitted {
        tokens: u64,
        failed: Option<u64>,
        backend: usize,
        planned_ago: u64,
    },
    /// One of the open requests ends.
    Ended {
        index: usize,
    },
    /// One of the changes is completed.
    Completed {
        index: usize,
    },
    Wait {
        seconds: i64,
    },
}

fn facts() -> impl Strategy<Value = Vec<Fact>> {
    let time = || proptest::sample::select(&TIMES[..]);
    let one = prop_oneof![
        4 => (0..6u128, 1i64..9, time()).prop_map(|(number, nanos, ago)| Fact::Price { number, nanos, ago }),
        1 => (0..6u128).prop_map(|number| Fact::End { number }),
        4 => (1u64..50, proptest::option::of(1u64..50), 0..2usize, 0u64..6)
            .prop_map(|(tokens, failed, backend, planned_ago)| Fact::Admitted { tokens, failed, backend, planned_ago }),
        3 => (0..9usize).prop_map(|index| Fact::Ended { index }),
        1 => (0..9usize).prop_map(|index| Fact::Completed { index }),
        3 => (1i64..3).prop_map(|seconds| Fact::Wait { seconds: seconds * 5 }),
    ];
    proptest::collection::vec(one, 5..80)
}

/// A request as the definitions see it.
#[derive(Clone)]
struct Request {
    position: u64,
    at: DateTime<Utc>,
    /// Backend, usage and charged version of each call: the failed one, then the one that answered.
    calls: Vec<(usize, Usage, u64)>,
}

/// A log in memory, and what the definitions say about it.
struct Book {
    now: DateTime<Utc>,
    log: Vec<Recorded>,
    open: Vec<(RequestId, Request)>,
    ended: BTreeMap<u64, (RequestId, Request)>,
    live: BTreeMap<u128, Price>,
    completed: Vec<u64>,
}

impl Book {
    fn new(facts: &[Fact]) -> Self {
        let now = parse_rfc3339("2026-11-20T08:00:00Z").unwrap();
        let (log, live, completed) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut book = Self { now, log, open: Vec::new(), ended: BTreeMap::new(), live, completed };
        facts.iter().for_each(|fact| book.add(fact));
        while !book.open.is_empty() {
            book.add(&Fact::Ended { index: 0 });
        }
        book
    }

    fn add(&mut self, fact: &Fact) {
        match *fact {
            Fact::Price { number, nanos, ago } => {
                let (backend, begins) = ((number % 2) as usize, self.now - TimeDelta::seconds(ago));
                let state = Price::new(id::<PriceId>(number), id(1), BACKENDS[backend], rates(nanos), begins);
                let state = Price { origin: (number % 3 == 2).then_some(Origin::Catalogue), ..state };
                let is_new = self.live.insert(number, state.clone()).is_none();
                let change = if is_new { Change::created(state) } else { Change::changed(state) };
                self.push(Context::of(Actor::Operator), Event::from(change));
            }
            Fact::End { number } => {
                if self.live.contains_key(&number) {
                    let ended = Event::Resource(Resource::Price(Change::Ended(id(number))));
                    self.push(Context::of(Actor::Operator), ended);
                }
            }
            Fact::Admitted { tokens, failed, backend, planned_ago } => {
                self.admit((tokens, failed), backend, self.head().saturating_sub(planned_ago));
            }
            Fact::Ended { index } => self.end(index),
            Fact::Completed { index } => {
                let pending = self.past_changes(self.head());
                let Some(change) = pending.get(index) else { return };
                let PastChange { price_id, version, .. } = *change;
                self.completed.push(version);
                let revalued = PriceRevalued { price_id, version, requests: 0, delta_usd: None };
                let event = Event::Resource(Resource::PriceRevalued(Box::new(revalued)));
                self.push(Context::of(ACTOR), event);
            }
            Fact::Wait { seconds } => self.now += TimeDelta::seconds(seconds),
        }
    }

    fn push(&mut self, context: Context, event: Event) -> u64 {
        let (position, stream) = (self.head() + 1, Stream::new(StreamKind::Price, id::<PriceId>(1)));
        self.log.push(Recorded { position, recorded_at: self.now, stream, sequence: position, context, event });
        position
    }

    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    fn admit(&mut self, (tokens, failed): (u64, Option<u64>), backend: usize, planned_at: u64) {
        let version = |backend| self.in_force(backend, self.now, planned_at).map(|(version, _)| version);
        let Some(charged) = version(backend) else { return };
        let other = failed.zip(version(1 - backend)).map(|(tokens, version)| (1 - backend, used(tokens), version));
        let calls: Vec<_> = other.into_iter().chain([(backend, used(tokens), charged)]).collect();
        let request_id: RequestId = id(u128::from(self.head()) + 1);
        let target = |backend: usize| format!("{}/{}", id::<ProviderId>(1), BACKENDS[backend]);
        let prices = calls.iter().map(|(backend, _, version)| (target(*backend), *version)).collect();
        let context = Context::of(Actor::Key(id(1))).in_request(request_id);
        let position = self
            .push(context, Event::Inference(Inference::Admitted(admitted(Versions { prices, ..Versions::default() }))));
        self.open.push((request_id, Request { position, at: self.now, calls }));
    }

    fn end(&mut self, index: usize) {
        let Some(index) = index.checked_rem(self.open.len()) else { return };
        let (request_id, request) = self.open.remove(index);
        let context = || Context::of(Actor::Key(id(1))).in_request(request_id);
        let ((backend, usage, version), failed) = request.calls.split_last().unwrap();
        for (backend, usage, version) in failed {
            let tokens = usage.tokens.input_uncached_tokens;
            let call = Call { backend: *backend, tokens, version: *version, cost: 1 };
            self.push(context(), Event::Inference(Inference::AttemptFailed(failed_call(&call).into())));
        }
        let ended = InferenceEnded {
            backend: Some(served_by(*backend)),
            usage: Some(usage.clone()),
            price_version: Some(*version),
            ..InferenceEnded::new("m".to_owned(), request.at, NanoUsd::new(1))
        };
        let position = self.push(context(), Event::Inference(Inference::Completed(ended.into())));
        self.ended.insert(position, (request_id, request));
    }

    /// The price that was in force for a backend at a time, by the events up to a position. The last event of each price
    /// decides about it, unless it is an end that was still to come.
    fn in_force(&self, backend: usize, at: DateTime<Utc>, as_of: u64) -> Option<(u64, &Price)> {
        let mut last: BTreeMap<PriceId, Option<(u64, &Price)>> = BTreeMap::new();
        for recorded in self.log.iter().take_while(|recorded| recorded.position <= as_of) {
            let Event::Resource(Resource::Price(change)) = &recorded.event else { continue };
            if change.state().is_some() || recorded.recorded_at <= at {
                last.insert(change.id(), change.state().map(|price| (recorded.position, price)));
            }
        }
        let of_backend = |price: &Price| price.model == BACKENDS[backend] && price.effective_from <= at;
        let begun = last.into_values().flatten().filter(|(_, price)| of_backend(price));
        begun.max_by_key(|(version, price)| (price.origin.is_none(), price.effective_from, *version))
    }

    /// The changes up to a position that concern requests before them.
    fn past_changes(&self, until: u64) -> Vec<PastChange> {
        let mut prices = PriceHistory::new(0);
        let is_price = |recorded: &&Recorded| matches!(recorded.event, Event::Resource(Resource::Price(_)));
        let known = self.log.iter().take_while(|recorded| recorded.position <= until);
        known.filter(is_price).for_each(|recorded| prices.fold(recorded));
        prices.pending().cloned().collect()
    }

    fn may_concern(change: &PastChange, request: &Request) -> bool {
        let is_before = request.position < change.version;
        request.at >= change.from && (is_before || request.at <= change.recorded_at + OUTDATED_PLANS_MAX)
    }

    fn concerns(&self, change: &PastChange, request: &Request) -> bool {
        request.calls.iter().any(|(backend, _, charged)| {
            let version_as_of = |version| self.in_force(*backend, request.at, version).map(|(version, _)| version);
            let (before, after) = (version_as_of(change.version - 1), version_as_of(change.version));
            let is_outdated = before == Some(*charged) && version_as_of(request.position) == after;
            change.model == BACKENDS[*backend]
                && Self::may_concern(change, request)
                && before != after
                && (request.position < change.version || is_outdated)
        })
    }

    /// Version and cost of a correction, by changes that are taken up, and by prices that are known up to a position.
    fn value(&self, request: &Request, taken_up: &[PastChange], known: u64) -> Option<(u64, i64)> {
        if !taken_up.iter().any(|change| self.concerns(change, request)) {
            return None;
        }
        let changes = self.past_changes(known);
        let versions =
            changes.iter().rev().filter(|change| self.concerns(change, request)).map(|change| change.version);
        let cost = |version| {
            let cost = |(backend, usage, _): &(usize, Usage, u64)| {
                let (_, price) = self.in_force(*backend, request.at, version)?;
                Some(price.tariff.cost(&usage.tokens, usage.service_tier)?.nanos())
            };
            request.calls.iter().map(cost).sum::<Option<i64>>()
        };
        versions.into_iter().find_map(|version| Some((version, cost(version)?)))
    }
}

/// Scans the log with prices that are known up to a part of it, as if the rest had come later.
fn check(book: &Book, known: u64) {
    let mut prices = PriceHistory::new(0);
    book.log.iter().take_while(|recorded| recorded.position <= known).for_each(|recorded| prices.fold(recorded));
    let is_completed = |version| {
        let completions = book.log.iter().take_while(|recorded| recorded.position <= known);
        let is_of =
            |event: &Event| matches!(event, Event::Resource(Resource::PriceRevalued(of)) if of.version == version);
        completions.into_iter().any(|recorded| is_of(&recorded.event))
    };
    let mut taken_up = book.past_changes(known);
    taken_up.retain(|change| !is_completed(change.version));
    assert!(prices.pending().eq(&taken_up));
    let mut scan = Scan::of(prices.pending());
    let mut open: BTreeMap<u64, &Request> = BTreeMap::new();
    let requests: BTreeMap<u64, &Request> =
        book.ended.values().map(|(_, request)| (request.position, request)).collect();
    for recorded in &book.log {
        prices.fold(recorded);
        scan.take(recorded, &prices);
        if let Some(request) = requests.get(&recorded.position) {
            // As for the scan, of the requests those that name the backend of a change.
            let names = |change: &PastChange| request.calls.iter().any(|(of, ..)| change.model == BACKENDS[*of]);
            if taken_up.iter().any(|change| names(change) && Book::may_concern(change, request)) {
                open.insert(request.position, request);
            }
        }
        let mut expected = None;
        if let Some((request_id, request)) = book.ended.get(&recorded.position) {
            open.remove(&request.position);
            let value = book.value(request, &taken_up, known.max(recorded.position));
            expected = value.map(|(version, cost)| (*request_id, version, cost));
        }
        let due: Vec<_> = scan.due.drain(..).collect();
        let due = due.iter().map(|due| (due.request_id, due.value.version, due.value.cost_usd.nanos()));
        assert!(due.clone().eq(expected), "{:?} instead of {expected:?}", due.collect::<Vec<_>>());
        for ago in [0, 15, 30] {
            let until = recorded.recorded_at - TimeDelta::seconds(ago);
            let is_over = |change: &&PastChange| {
                until > change.recorded_at + OUTDATED_PLANS_MAX
                    && !open.values().any(|request| Book::may_concern(change, request))
            };
            assert!(scan.over(until).eq(taken_up.iter().filter(is_over)));
        }
    }
}

#[test]
fn a_scan_says_what_the_definitions_say_for_any_log() {
    let mut runner = TestRunner::new(Config { cases: 1024, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&(facts(), 0u64..100), |(facts, known)| {
        let book = Book::new(&facts);
        check(&book, known.min(book.head()));
        check(&book, book.head());
        Ok(())
    });
    ran.unwrap();
}
