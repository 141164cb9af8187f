//! The actions of the clients: they send, end, repeat and abandon requests, and receive responses.

use std::collections::BTreeSet;
use std::time::Duration;

use events::event::admin::{Budget, Enforcement, Scope, WhenShort};
use events::event::hold::{CorrectedRequest, CorrectedValue};
use events::event::{self, Actor, Context, Stream, StreamKind};
use events::ids::BudgetId;
use events::ledger::{Charge, Ending, Revaluation};
use events::money::NanoUsd;
use events::time::Period;
use events_log::{Admitted, Append, AppendError, Basis, Fingerprint, Idempotency, OpenHold};

use super::books::{Account, Checked, must};
use super::clients::{Change, Correction, DueEnd, KnownOutcome, Request};
use super::facts::{KEYS, admission, budget, denied, id, outcome, refused};
use super::process::{Call, Calls, poll, take_ready};
use super::world::{TTL_MAX, World};

/// The number of budgets.
const BUDGETS: usize = 5;
/// The first id of requests that are refused before they reach the ledger.
const REFUSED_FROM: usize = 1_000_000;

impl World {
    pub fn ask(&mut self) {
        let (number, key) = (self.clients.requests.len(), self.dice.below(KEYS));
        let ttl = Duration::from_secs(self.dice.between(2, 40).unsigned_abs()).min(TTL_MAX);
        let admission = admission(number, key, self.dice.between(0, 40), ttl);
        self.clients.requests.push(Request {
            admission,
            known_outcome: KnownOutcome::Unknown,
            ending: None,
            due_end: None,
            has_ended: false,
            was_repeated: false,
            was_only_counted: false,
        });
        self.send_request(number);
    }

    /// Repeats a request, whatever the outcome of the first one.
    pub fn ask_again(&mut self) {
        if self.clients.requests.is_empty() {
            return;
        }
        let number = self.dice.below(self.clients.requests.len());
        let request = &mut self.clients.requests[number];
        let has_ended = self.books.account(id(number)).is_some_and(|account| account.charged.is_some());
        if request.was_only_counted || has_ended {
            // The event of the refusals of this second may name it. A gateway sends no request again that was refused.
            return;
        }
        request.was_repeated = true;
        if request.known_outcome == KnownOutcome::Unknown {
            // Either of the two may get the hold.
            request.due_end = None;
        }
        if request.known_outcome == KnownOutcome::Failed {
            request.known_outcome = KnownOutcome::Unknown;
        }
        self.send_request(number);
    }

    fn send_request(&mut self, number: usize) {
        let (log, admission) = (self.process.log.clone(), self.clients.requests[number].admission.clone());
        let call: Call<_> = Box::pin(async move { log.admit(admission, None).await });
        send(&mut self.process.admissions, number, call);
    }

    /// A client disconnects before its response; if it gets a hold, the hold ends by itself.
    pub fn stop_waiting(&mut self) {
        let (admissions, ends) = (self.process.admissions.len(), self.process.ends.len());
        if admissions > 0 && self.dice.percent(60) {
            let (number, _) = self.process.admissions.remove(self.dice.below(admissions));
            let request = &mut self.clients.requests[number];
            if !request.was_repeated {
                request.due_end = Some(DueEnd { process: self.process.number, charged: 0 });
            }
        } else if ends > 0 {
            drop(self.process.ends.remove(self.dice.below(ends)));
        }
    }

    pub fn end(&mut self) {
        if self.process.holds.is_empty() {
            return;
        }
        let (number, hold) = self.process.holds.remove(self.dice.below(self.process.holds.len()));
        match self.dice.below(20) {
            0 => {
                self.clients.requests[number].due_end = None;
                self.process.lost.push(hold);
            }
            1..=2 => self.clients.requests[number].due_end = Some(DueEnd { process: self.process.number, charged: 0 }),
            _ => self.end_with_figures(number, hold),
        }
    }

    fn end_with_figures(&mut self, number: usize, hold: OpenHold) {
        let charged = match self.dice.below(10) {
            // More than was held, which no upstream should cost.
            0 => hold.held.nanos() + self.dice.between(1, 10),
            _ => self.dice.between(0, hold.held.nanos()),
        };
        let (charged, charge) = if self.dice.percent(85) {
            (charged, Charge::Settle(NanoUsd::new(charged)))
        } else {
            (0, Charge::Release { reason: "upstream_status".to_owned() })
        };
        let ending = Ending {
            request_id: hold.request_id,
            context: hold.context.clone(),
            attempts: Vec::new(),
            outcome: outcome(hold.admitted_at, charged),
            charge,
            own: NanoUsd::ZERO,
        };
        let Ending { attempts, outcome, charge, .. } = ending.clone();
        let request = &mut self.clients.requests[number];
        (request.ending, request.due_end) = (Some(ending), Some(DueEnd { process: self.process.number, charged }));
        if self.dice.percent(15) {
            return hold.end_unattended(attempts, outcome, charge);
        }
        send(&mut self.process.ends, number, Box::pin(hold.end(attempts, outcome, charge)));
    }

    /// Repeats an end, perhaps in another process.
    pub fn end_again(&mut self) {
        let ended: Vec<_> = self.clients.requests.iter().filter_map(|request| request.ending.as_ref()).collect();
        if let Some(ending) = ended.get(self.dice.below(ended.len())) {
            self.process.stepped.repeat((*ending).clone());
        }
    }

    pub fn change(&mut self) {
        let number = 1 + self.dice.below(BUDGETS);
        let budget_id: BudgetId = id(number);
        let stream = Stream::new(StreamKind::Budget, budget_id);
        let expected_sequence = self.books.length_of(&stream.to_string());
        let scope = match number {
            1 => Scope::Partner(id(1)),
            2 => Scope::Tenant(id(1)),
            3 => Scope::User(id(1)),
            other => Scope::Key(id(other % KEYS)),
        };
        let period = [Period::Total, Period::Day, Period::Week, Period::Month][self.dice.below(4)];
        let fractions: [&[&str]; 3] = [&[], &["0.5"], &["0.1", "0.333333333", "1"]];
        let alert_at = fractions[self.dice.below(3)].iter().map(|text| text.parse().expect("a fraction")).collect();
        let when_short = if self.dice.percent(50) { WhenShort::Shrink } else { WhenShort::Refuse };
        let enforcement = if self.dice.percent(15) { Enforcement::Observe } else { Enforcement::Hard };
        let limit = self.dice.between(20, 300);
        let whole = Budget { alert_at, when_short, enforcement, ..budget(number, scope, limit, period) };
        let change = match expected_sequence {
            0 => event::Change::created(whole),
            _ if self.dice.percent(90) => event::Change::changed(whole),
            _ => event::Change::Ended(budget_id),
        };
        let idempotency = Idempotency {
            scope: "operator".to_owned(),
            key: self.clients.changes.len().to_string(),
            fingerprint: Fingerprint { keyed: [7; 32], unkeyed: [7; 32] },
            status: 200,
            body: "{}".to_owned(),
        };
        let context = Context::of(Actor::Operator);
        let (events, side, idempotency) = (vec![change.into()], Vec::new(), Some(idempotency));
        let basis = Basis::default();
        let append = Append { stream, expected_sequence, events, context, side, idempotency, basis };
        self.clients.changes.push(Change { budget: budget_id, append, applied_at: None });
        self.send_change(self.clients.changes.len() - 1);
    }

    /// Repeats a change, with the same idempotency key.
    pub fn change_again(&mut self) {
        if !self.clients.changes.is_empty() {
            let number = self.dice.below(self.clients.changes.len());
            self.send_change(number);
        }
    }

    fn send_change(&mut self, number: usize) {
        let (log, append) = (self.process.log.clone(), self.clients.changes[number].append.clone());
        send(&mut self.process.changes, number, Box::pin(async move { log.append(append).await }));
    }

    /// Sends one refused request, or sometimes more per second than are recorded individually.
    pub fn refuse(&mut self) {
        let (key, times) = (self.dice.below(KEYS), if self.dice.percent(20) { 45 } else { 1 });
        for _ in 0..times {
            self.clients.refused += 1;
            let number = REFUSED_FROM + self.clients.refused;
            let (log, refused) = (self.process.log.clone(), refused(number, key));
            send(&mut self.process.refusals, number, Box::pin(async move { log.refuse(refused).await }));
        }
    }

    pub fn note(&mut self) {
        let (log, note) = (self.process.log.clone(), denied(self.dice.below(KEYS)));
        self.clients.denied.sent += 1;
        let mut call: Call<_> = Box::pin(async move { log.note(vec![note]).await });
        if poll(&mut call).is_none() {
            self.process.notes.push(call);
        }
    }

    /// Corrects settled requests by a price, or sends the last corrections again.
    pub fn correct(&mut self) {
        let corrections = self.clients.corrections.len();
        if corrections > 0 && self.dice.percent(30) {
            return self.send_correction(corrections - 1);
        }
        let mut settled: Vec<usize> = (0..self.clients.requests.len()).collect();
        settled.retain(|number| self.books.account(id(*number)).is_some_and(Account::was_settled));
        if settled.is_empty() {
            return;
        }
        let numbers: BTreeSet<usize> =
            (0..self.dice.between(1, 5)).map(|_| settled[self.dice.below(settled.len())]).collect();
        // Up to the first charge: the corrections themselves go up and down.
        let first = |number| self.books.account(id(number)).and_then(|account| account.charged).unwrap_or(0);
        let values = numbers.into_iter().map(|number| (number, self.dice.between(0, first(number)))).collect();
        let version = corrections as u64 + 1;
        self.clients.corrections.push(Correction { version, values, is_acknowledged: false });
        self.send_correction(corrections);
    }

    fn send_correction(&mut self, number: usize) {
        let Correction { version, values, .. } = &self.clients.corrections[number];
        let revaluation = |(request, value): &(usize, i64)| Revaluation {
            request_id: id(*request),
            context: self.clients.requests[*request].admission.context.clone(),
            value: CorrectedValue { version: *version, cost_usd: NanoUsd::new(*value) },
            request: CorrectedRequest { model: "m".to_owned(), backend: None, payer: None },
        };
        let (log, revaluations) = (self.process.log.clone(), values.iter().map(revaluation).collect());
        send(&mut self.process.corrections, number, Box::pin(async move { log.revalue(revaluations).await }));
    }

    fn receive_corrections(&mut self) {
        for (number, answer) in take_ready(&mut self.process.corrections) {
            self.trace.line(format_args!("  correction {number}: {answer:?}"));
            self.clients.corrections[number].is_acknowledged |= answer.is_ok();
        }
    }

    /// Receives all responses that are ready. The events that they acknowledge must be in the log already.
    pub fn receive(&mut self) -> Checked {
        self.receive_admissions();
        self.receive_ends();
        self.receive_changes()?;
        self.receive_corrections();
        for (number, answer) in take_ready(&mut self.process.refusals) {
            let position = answer.as_ref().ok().copied().flatten();
            self.trace.line(format_args!("  refusal {number}: {position:?}"));
            if let Some(position) = position {
                let stream = Stream::inference(id(number)).to_string();
                self.clients.acknowledge(position, "inference.refused", stream);
            }
        }
        let mut waiting = std::mem::take(&mut self.process.notes);
        waiting.retain_mut(|call| match poll(call) {
            Some(noted) => {
                self.clients.denied.acknowledged += u64::from(noted.is_ok());
                false
            }
            None => true,
        });
        self.process.notes = waiting;
        self.clients.check(&self.books, self.policy)
    }

    fn receive_admissions(&mut self) {
        for (number, answer) in take_ready(&mut self.process.admissions) {
            let stream = Stream::inference(id(number)).to_string();
            let request = &mut self.clients.requests[number];
            match answer {
                Ok(Admitted::Hold(hold)) => {
                    self.trace.line(format_args!("  request {number}: held at {}", hold.admitted_position));
                    request.known_outcome = KnownOutcome::Held;
                    self.clients.acknowledge(hold.admitted_position, "inference.admitted", stream);
                    let reserved = Stream::hold(id(number)).to_string();
                    self.clients.acknowledge(hold.admitted_position + 1, "budget.reserved", reserved);
                    self.process.holds.push((number, hold));
                }
                Ok(Admitted::Short) => panic!("nobody asked for a tighter bound"),
                Ok(Admitted::Stale { .. }) => panic!("nothing is planned on tables"),
                Ok(Admitted::Refused(refusal)) => {
                    self.trace.line(format_args!("  request {number}: refused at {:?}", refusal.position));
                    request.known_outcome = KnownOutcome::Refused;
                    request.was_only_counted = refusal.position.is_none();
                    if let Some(position) = refusal.position {
                        self.clients.acknowledge(position, "inference.refused", stream);
                    }
                }
                Err(error) => {
                    self.trace.line(format_args!("  request {number}: {error}"));
                    // The failure of a repeated request says nothing about the first one.
                    if request.known_outcome == KnownOutcome::Unknown && !request.was_repeated {
                        request.known_outcome = KnownOutcome::Failed;
                    }
                }
            }
        }
    }

    fn receive_ends(&mut self) {
        for (number, answer) in take_ready(&mut self.process.ends) {
            match answer {
                Ok(ended) => {
                    self.trace.line(format_args!("  request {number}: ended at {}", ended.position));
                    self.clients.requests[number].has_ended = true;
                    self.clients.acknowledge(ended.position, "budget.*", Stream::hold(id(number)).to_string());
                }
                Err(error) => self.trace.line(format_args!("  request {number}: not ended: {error}")),
            }
        }
    }

    fn receive_changes(&mut self) -> Checked {
        for (number, answer) in take_ready(&mut self.process.changes) {
            let change = &mut self.clients.changes[number];
            let position = match answer {
                Ok(appended) => {
                    let before = change.applied_at.replace(appended.last);
                    must(before.is_none(), || format!("change {number} is applied twice"))?;
                    Some(appended.last)
                }
                Err(AppendError::Replayed(reply)) => {
                    let before = change.applied_at.replace(reply.position);
                    must(before.is_none_or(|position| position == reply.position), || {
                        format!("change {number} was applied at {before:?}, but its replay says {}", reply.position)
                    })?;
                    Some(reply.position)
                }
                Err(AppendError::OptimisticLock) => {
                    let before = change.applied_at;
                    must(before.is_none(), || {
                        format!("change {number} stands at {before:?}, and its retry is a conflict")
                    })?;
                    None
                }
                Err(_) => None,
            };
            self.trace.line(format_args!("  change {number}: {position:?}"));
            if let Some(position) = position {
                let stream = Stream::new(StreamKind::Budget, change.budget).to_string();
                self.clients.acknowledge(position, "budget.*", stream);
            }
        }
        Ok(())
    }
}

/// Sends a call, and keeps it until its response is ready.
fn send<T>(calls: &mut Calls<T>, number: usize, mut call: Call<T>) {
    if poll(&mut call).is_none() {
        calls.push((number, call));
    }
}
