//! The ledger, whose decisions are made twice and folded.

use chrono::{DateTime, Utc};
use events::event::admin::Budget;
use events::event::{Change, Recorded};
use events::ledger::{Admission, AdmitDecision, Balances, DecidedEnd, DecidedRefusal, Emitted, Holder, RefuseDecision};

use super::scopes::KEYS;
use crate::facts::{ending, id};

/// The events of a decision.
pub trait Decided: std::fmt::Debug + PartialEq {
    fn events(&self) -> Vec<Emitted>;
}

impl Decided for AdmitDecision {
    fn events(&self) -> Vec<Emitted> {
        match self {
            Self::Admitted { events, .. } => events.clone(),
            Self::Refused(refused) => refused.events(),
            Self::AlreadyAdmitted | Self::Short => Vec::new(),
        }
    }
}

impl<D: Decided> Decided for Option<D> {
    fn events(&self) -> Vec<Emitted> {
        self.iter().flat_map(D::events).collect()
    }
}

impl Decided for Vec<Emitted> {
    fn events(&self) -> Vec<Emitted> {
        self.clone()
    }
}

impl Decided for RefuseDecision {
    fn events(&self) -> Vec<Emitted> {
        match self {
            Self::Now(refused) | Self::NextSecond(refused) => refused.events(),
        }
    }
}

impl Decided for DecidedRefusal {
    fn events(&self) -> Vec<Emitted> {
        self.events.clone()
    }
}

impl Decided for DecidedEnd {
    fn events(&self) -> Vec<Emitted> {
        self.events.iter().chain(&self.alerts).cloned().collect()
    }
}

/// The ledger, and the fold of all its events.
#[derive(Default)]
pub struct Ledger {
    pub balances: Balances,
    fold: Balances,
    position: u64,
    decided: usize,
}

impl Ledger {
    pub fn budget_event(&mut self, change: Change<Budget>, now: DateTime<Utc>) {
        self.position += 1;
        self.balances.fold_budget(&change, self.position, now);
        let stream = events::event::Stream::new(events::event::StreamKind::Budget, "any");
        let context = events::event::Context::of(events::event::Actor::Operator);
        let event = change.into();
        let recorded = Recorded { position: self.position, recorded_at: now, stream, sequence: 1, context, event };
        self.fold.fold(&recorded).expect("a budget event folds");
    }

    /// Decides twice and undoes the first decision, which must leave no trace.
    pub fn decide<D: Decided>(&mut self, now: DateTime<Utc>, decide: impl Fn(&mut Balances, DateTime<Utc>) -> D) -> D {
        self.decided += 1;
        // Copying all balances at every step would take most of the time.
        let before = self.decided.is_multiple_of(8).then(|| self.balances.clone());
        self.balances.begin();
        let undone = decide(&mut self.balances, now);
        self.balances.undo();
        assert!(before.is_none_or(|before| before == self.balances), "something is left of what was undone");
        self.balances.begin();
        let decision = decide(&mut self.balances, now);
        self.balances.keep();
        assert_eq!(decision, undone, "the same is decided after it was undone");
        self.fold_decided(decision.events(), now);
        decision
    }

    pub fn admit(&mut self, asked: &Admission, now: DateTime<Utc>) -> AdmitDecision {
        self.decide(now, |balances, now| balances.admit(asked, now))
    }

    pub fn end(&mut self, request: u128, key: u128, charged: Option<i64>, now: DateTime<Utc>) -> Option<DecidedEnd> {
        self.decide(now, |balances, _| balances.end(&ending(request, key, charged)))
    }

    pub fn fold_decided(&mut self, events: Vec<Emitted>, now: DateTime<Utc>) {
        for emitted in events {
            self.position += 1;
            let recorded = Recorded {
                position: self.position,
                recorded_at: now,
                stream: emitted.stream,
                sequence: 1,
                context: emitted.context,
                event: emitted.event,
            };
            self.fold.fold(&recorded).expect("what was decided follows on what came before");
        }
    }

    /// No hold exceeds its budgets, by the decided balances and independently of the model.
    pub fn must_fold_to_the_same(&self) {
        let mut decided: Vec<_> =
            self.balances.windows().filter(|(_, amounts)| **amounts != Default::default()).collect();
        let mut folded: Vec<_> = self.fold.windows().filter(|(_, amounts)| **amounts != Default::default()).collect();
        decided.sort_by_key(|(window, _)| **window);
        folded.sort_by_key(|(window, _)| **window);
        assert_eq!(decided, folded, "balances differ from the fold of the events");
        let mut open: Vec<_> = self.balances.open_holds().map(|(request, hold)| (*request, hold.held)).collect();
        let mut folded: Vec<_> = self.fold.open_holds().map(|(request, hold)| (*request, hold.held)).collect();
        open.sort();
        folded.sort();
        assert_eq!(open, folded, "open holds differ from the fold of the events");
        for (window, _) in self.balances.windows() {
            let (said, folded) = (self.balances.announced(window), self.fold.announced(window));
            assert!(said.eq(folded), "what was announced differs from the fold of the events");
            let holders = (0..KEYS).map(|key| Holder::Key(id(key))).chain([Holder::Tenant(id(1))]);
            for holder in holders {
                let (held, folded) = (self.balances.held_by(holder, window), self.fold.held_by(holder, window));
                assert_eq!(held, folded, "what {holder:?} holds differs from the fold of the events");
            }
        }
    }
}
