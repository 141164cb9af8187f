//! Refusals that are only counted, and refusals that wait for the next second.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::{Event, Inference, Recorded, Stream};
use events::ledger::{
    Balances, DecidedRefusal, Emitted, RECORDED_REFUSALS_A_SECOND, RefuseDecision, RefusedRequest, UnknownUsage,
};
use events::refusal::{ErrorCode, Refusal};
use proptest::prelude::*;

use crate::facts::{context, id, start};

/// The refusals of one key in a second that are not only counted: twenty are recorded, twenty wait.
const OF_KEY: u128 = 2 * RECORDED_REFUSALS_A_SECOND as u128;
/// The number of keys that may all have the maximum number of waiting refusals.
const WAITING_KEYS: u128 = 100;

fn refused(request: u128, key: u128, model: &str) -> RefusedRequest {
    let refusal = Refusal::new(ErrorCode::BudgetExceeded, "nothing is left");
    RefusedRequest { request_id: id(request), context: context(key), model: model.to_owned(), scoped_by: None, refusal }
}

/// The model and the count of each recorded refusal; empty if it waits.
fn asked(balances: &mut Balances, key: u128, model: &str) -> Option<Vec<(String, u64)>> {
    match balances.refuse(&refused(1, key, model), start()) {
        RefuseDecision::Now(refused) => Some(counts(&refused.events)),
        RefuseDecision::NextSecond(refused) => {
            assert_eq!(refused.events, []);
            None
        }
    }
}

fn counts(events: &[Emitted]) -> Vec<(String, u64)> {
    let count = |emitted: &Emitted| match &emitted.event {
        Event::Inference(Inference::Refused(refused)) => (refused.model.clone(), refused.count),
        other => panic!("{other:?}"),
    };
    events.iter().map(count).collect()
}

fn swept(balances: &mut Balances, seconds: i64) -> Vec<(String, u64)> {
    counts(&balances.sweep(UnknownUsage::ChargeHold, 10, start() + seconds_of(seconds)))
}

fn seconds_of(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

#[test]
fn what_is_rolled_up_is_due_when_its_second_is_over_and_written_once() {
    let mut balances = Balances::default();
    for key in 0..WAITING_KEYS {
        let waiting = (0..OF_KEY).filter(|_| asked(&mut balances, key, "m").is_none()).count();
        assert_eq!(waiting, 20, "of key {key}");
    }
    assert!(!balances.is_sweep_due(start() + seconds_of(5)), "those that wait are asked for again by the writer");
    // All waiting places are taken: the refusals of the next key are counted at once.
    let of_next: Vec<_> = (0..OF_KEY).map(|_| asked(&mut balances, WAITING_KEYS, "m").expect("none waits")).collect();
    assert_eq!(of_next.concat(), vec![("m".to_owned(), 1); 20]);
    assert!(!balances.is_sweep_due(start()));
    assert!(balances.is_sweep_due(start() + seconds_of(1)));
    assert_eq!(swept(&mut balances, 0), []);
    assert_eq!(swept(&mut balances, 1), [("m".to_owned(), 20)]);
    assert!(!balances.is_sweep_due(start() + seconds_of(5)));
}

#[test]
fn what_is_rolled_up_of_thousands_of_keys_is_written_in_parts() {
    let mut balances = Balances::default();
    for key in 0..2_000 {
        // One more than are recorded or wait.
        (0..=OF_KEY).for_each(|_| drop(asked(&mut balances, key, "m")));
    }
    let parts = [1, 1, 1].map(|seconds| swept(&mut balances, seconds).len());
    assert_eq!(parts, [1_024, 976, 0]);
    assert!(!balances.is_sweep_due(start() + seconds_of(5)));
}

#[test]
fn who_has_waited_makes_room_for_another_to_wait() {
    let mut balances = Balances::default();
    for _ in 0..OF_KEY {
        asked(&mut balances, 1, "m");
    }
    assert_eq!(asked(&mut balances, 1, "m"), Some(vec![]), "rolled up");
    let next = start() + seconds_of(1);
    let again =
        |balances: &mut Balances, request| counts(&balances.refuse_waiting(&refused(request, 1, "m"), next).events);
    assert_eq!(again(&mut balances, 1), [("m".to_owned(), 1), ("m".to_owned(), 1)], "the count, then its own");
    let refuse = |balances: &mut Balances| balances.refuse(&refused(2, 1, "m"), next);
    // A refusal that has waited counts as one of the twenty of this second.
    let outcomes: Vec<bool> = (0..21).map(|_| matches!(refuse(&mut balances), RefuseDecision::NextSecond(_))).collect();
    assert_eq!(outcomes, [vec![false; 19], vec![true, false]].concat(), "one place to wait is free, and no more");
}

#[test]
fn beyond_sixteen_models_a_second_the_rest_stands_under_one_name() {
    let mut balances = Balances::default();
    for key in 0..WAITING_KEYS {
        (0..OF_KEY).for_each(|_| drop(asked(&mut balances, key, "m")));
    }
    for _ in 0..RECORDED_REFUSALS_A_SECOND {
        asked(&mut balances, WAITING_KEYS, "m");
    }
    let models: Vec<String> = (10..30).map(|number| format!("m{number}")).collect();
    for model in models.iter().chain(&models[..2]) {
        assert_eq!(asked(&mut balances, WAITING_KEYS, model), Some(vec![]), "{model}");
    }
    let mut wanted: Vec<_> = models[..16].iter().map(|model| (model.clone(), 1)).collect();
    (wanted[0].1, wanted[1].1) = (2, 2);
    wanted.insert(0, ("*".to_owned(), 4));
    assert_eq!(swept(&mut balances, 1), wanted);
}

#[test]
fn what_is_recorded_of_a_refusal_has_its_numbers_and_its_request() {
    let asked = refused(7, 1, "m");
    let details = [("code", "X"), ("model", "other"), ("count", "9"), ("limit_usd", "0.000000010")];
    let refusal = details.into_iter().fold(asked.refusal.clone(), |refusal, (name, value)| refusal.with(name, value));
    let step = RefusedRequest { refusal, ..asked };
    let RefuseDecision::Now(DecidedRefusal { events, .. }) = Balances::default().refuse(&step, start()) else {
        panic!("it is recorded")
    };
    let [recorded] = &events[..] else { panic!("{events:?}") };
    assert_eq!(recorded.context.request_id, Some(id(7)));
    let Event::Inference(Inference::Refused(event)) = &recorded.event else { panic!("{recorded:?}") };
    assert_eq!((event.code, event.model.as_str(), event.count), (ErrorCode::BudgetExceeded, "m", 1));
    let kept: Vec<_> = event.details.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(kept, [("limit_usd", Some("0.000000010"))], "the others have fields of their own");
}

/// The fate of a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Recorded,
    Lost,
    /// Its commit was unknown, so that it was undone, and then it was in the log.
    RecordedUnheard,
}

#[derive(Clone, Debug)]
enum Move {
    Refuse { key: u128, models: usize, times: u8, fate: Fate },
    Wait { seconds: i64 },
    RecordWaiting { fate: Fate },
    Sweep { fate: Fate },
}

fn moves() -> impl Strategy<Value = Move> {
    let fate = || prop_oneof![4 => Just(Fate::Recorded), 1 => Just(Fate::Lost), 1 => Just(Fate::RecordedUnheard)];
    prop_oneof![
        5 => (0u128..2, 1usize..20, 1u8..60, fate())
            .prop_map(|(key, models, times, fate)| Move::Refuse { key, models, times, fate }),
        3 => (0i64..3).prop_map(|seconds| Move::Wait { seconds }),
        3 => fate().prop_map(|fate| Move::RecordWaiting { fate }),
        3 => fate().prop_map(|fate| Move::Sweep { fate }),
    ]
}

/// A client's refusals: the counts in the log, and how many refusals must be in it.
struct Counted {
    balances: Balances,
    now: DateTime<Utc>,
    requests: u128,
    waiting: Vec<RefusedRequest>,
    log: HashMap<Stream, u64>,
    told: u64,
}

impl Counted {
    /// The events of a decision, if they are in the log.
    fn decide<D>(&mut self, fate: Fate, decide: impl FnOnce(&mut Balances) -> (D, Vec<Emitted>)) -> D {
        self.balances.begin();
        let (decision, events) = decide(&mut self.balances);
        if fate == Fate::Recorded {
            self.balances.keep();
        } else {
            self.balances.undo();
        }
        if fate != Fate::Lost {
            events.into_iter().for_each(|emitted| self.append(emitted, fate));
        }
        decision
    }

    fn append(&mut self, Emitted { stream, context, event }: Emitted, fate: Fate) {
        let Event::Inference(Inference::Refused(refused)) = &event else { panic!("{event:?}") };
        assert_eq!(self.log.insert(stream.clone(), refused.count), None, "{stream} is recorded twice");
        if fate == Fate::RecordedUnheard {
            let recorded = Recorded { position: 1, recorded_at: self.now, stream, sequence: 1, context, event };
            self.balances.fold(&recorded).expect("it folds");
        }
    }

    fn refuse(&mut self, key: u128, model: &str, fate: Fate) {
        self.requests += 1;
        let (now, asked) = (self.now, refused(self.requests, key, model));
        let decision = self.decide(fate, |balances| match balances.refuse(&asked, now) {
            RefuseDecision::Now(refused) => (false, refused.events),
            RefuseDecision::NextSecond(refused) => (true, refused.events),
        });
        match (fate, decision) {
            (Fate::Recorded, true) => self.waiting.push(asked),
            (Fate::Recorded, false) => self.told += 1,
            (Fate::RecordedUnheard, _) => self.count_unheard(&asked),
            (Fate::Lost, _) => {}
        }
    }

    fn record_waiting(&mut self, fate: Fate) {
        let now = self.now;
        for asked in std::mem::take(&mut self.waiting) {
            self.decide(fate, |balances| ((), balances.refuse_waiting(&asked, now).events));
            match fate {
                Fate::Recorded => self.told += 1,
                Fate::RecordedUnheard => self.count_unheard(&asked),
                Fate::Lost => {}
            }
            if fate != Fate::Recorded {
                self.balances.forget_waiting_refusal(&asked.context.actor);
            }
        }
    }

    /// Nobody was told of it, but it may be in the log.
    fn count_unheard(&mut self, asked: &RefusedRequest) {
        self.told += u64::from(self.log.contains_key(&Stream::inference(asked.request_id)));
    }

    fn sweep(&mut self, fate: Fate) {
        let now = self.now;
        self.decide(fate, |balances| ((), balances.sweep(UnknownUsage::ChargeHold, 10, now)));
    }

    fn play(&mut self, step: &Move) {
        match *step {
            Move::Refuse { key, models, times, fate } => {
                (0..usize::from(times)).for_each(|nth| self.refuse(key, &format!("m{}", nth % models), fate));
            }
            Move::Wait { seconds } => self.now += seconds_of(seconds),
            Move::RecordWaiting { fate } => self.record_waiting(fate),
            Move::Sweep { fate } => self.sweep(fate),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_refusal_is_counted_once_whatever_becomes_of_the_batches(moves in proptest::collection::vec(moves(), 1..24)) {
        let mut counted = Counted {
            balances: Balances::default(),
            now: start(),
            requests: 0,
            waiting: Vec::new(),
            log: HashMap::new(),
            told: 0,
        };
        moves.iter().for_each(|step| counted.play(step));
        counted.now += seconds_of(1);
        counted.record_waiting(Fate::Recorded);
        counted.now += seconds_of(1);
        counted.sweep(Fate::Recorded);
        prop_assert!(!counted.balances.is_sweep_due(counted.now + seconds_of(5)));
        prop_assert_eq!(counted.log.values().sum::<u64>(), counted.told);
    }
}
