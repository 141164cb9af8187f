//! Alerts in a real log: recorded in the batch that crosses a fraction, once per fraction and window, even across restarts.
//! `verify` finds missing, doubled and wrong ones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::{Budget, Scope};
use events::event::{Actor, Alert, Change, Context, Event, Hold, StreamKind};
use events::ledger::{Balances, Charge, DecidedEnd, Outcome};
use events::money::NanoUsd;
use events::time::{ManualClock, Period};
use events_log::verify::VerifyError;
use events_log::{Admitted, LEDGER_FILE, Log, OpenHold, open_reader};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::facts::{admission, append, budget, clock, ended, ending, id, start, verify};
use crate::test_log::{TestLog, on_both_engines};

const LIMIT: i64 = 1000;

on_both_engines! {
    /// Holds: admin.alerts
    every_fraction_is_announced_once_in_the_batch_that_crosses_it,
    a_life_that_follows_knows_what_was_announced,
    a_limit_that_is_raised_arms_what_is_no_longer_reached_and_nothing_else_does,
    what_a_raised_limit_arms_stays_armed_in_a_life_that_follows,
    what_expires_and_what_is_corrected_is_announced_as_well_and_a_correction_arms_nothing,
    an_end_that_moves_no_money_announces_nothing,
}

struct House {
    log: Log,
    clock: Arc<ManualClock>,
    asked: u128,
    // Declared last: it outlives the log in it.
    test_log: TestLog,
}

impl House {
    async fn watched_at(test_log: TestLog, fractions: &[&str]) -> Self {
        let clock = clock();
        let log = test_log.open(&clock);
        let house = Self { log, clock, asked: 0, test_log };
        house.change(0, LIMIT, fractions).await;
        house
    }

    async fn change(&self, before: u64, limit: i64, fractions: &[&str]) {
        let alert_at = fractions.iter().map(|fraction| fraction.parse().expect("a fraction")).collect();
        let whole = Budget { alert_at, ..budget(1, Scope::Tenant(id(1)), limit, Period::Day) };
        let change = if before == 0 { Change::created(whole) } else { Change::changed(whole) };
        self.log.append(append(StreamKind::Budget, id(1), before, change.into())).await.expect("a change");
    }

    /// A request with this cost.
    async fn spend(&mut self, cost: i64) {
        self.asked += 1;
        let asked = admission(self.asked, 1, cost, Duration::from_secs(60));
        let Admitted::Hold(hold) = self.log.admit(asked, None).await.expect("an answer") else { panic!("no hold") };
        let settled = hold.end(Vec::new(), Outcome::Completed(ended(cost)), Charge::Settle(NanoUsd::new(cost))).await;
        let position = settled.expect("recorded").position;
        let at = self.log.reader().expect("a reader").at(&[position]).expect("it reads");
        assert!(matches!(at[&position].event, Event::Hold(Hold::Settled(_))), "an end is acknowledged where it stands");
    }

    /// A request whose hold expires before its end is known.
    async fn spend_late(&mut self, held: i64, cost: i64) {
        let hold = self.expired(held).await;
        let settled = hold.end(Vec::new(), Outcome::Completed(ended(cost)), Charge::Settle(NanoUsd::new(cost))).await;
        settled.expect("recorded");
    }

    /// A request whose hold has expired and whose end is not known yet.
    async fn expired(&mut self, held: i64) -> OpenHold {
        self.asked += 1;
        let asked = admission(self.asked, 1, held, Duration::from_secs(60));
        let Admitted::Hold(hold) = self.log.admit(asked, None).await.expect("an answer") else { panic!("no hold") };
        let (reserved, mut head) = (hold.admitted_position + 1, self.log.watch_head());
        self.clock.advance(Duration::from_secs(61));
        let expired = head.wait_for(|head| head.position > reserved);
        tokio::time::timeout(Duration::from_secs(10), expired).await.expect("it expires").expect("a writer");
        hold
    }

    /// Restarts, after a process that wrote no state rows at its end.
    fn dies(self) -> Self {
        let Self { log, clock, asked, test_log } = self;
        let test_log = test_log.after_crash(log);
        Self { log: test_log.open(&clock), clock, asked, test_log }
    }

    fn restarts(&mut self) {
        self.log.close();
        self.log = self.test_log.open(&self.clock);
    }

    fn folder(&self) -> &Path {
        let TestLog::Folder(folder) = &self.test_log else { panic!("it is in a database") };
        folder.path()
    }

    /// The sequence, the fraction and the settled amount of every alert.
    fn alerts(&self) -> Vec<(u64, String, i128)> {
        let reader = self.log.reader().expect("a reader");
        verify(&*reader).expect("a sound log");
        let events = reader.after(0, 10_000).expect("it reads");
        let mut batch_of = None;
        let mut alerts = Vec::new();
        for recorded in events {
            match &recorded.event {
                Event::Hold(Hold::Settled(_) | Hold::Expired(_) | Hold::Adjusted(_)) => {
                    batch_of = Some(recorded.recorded_at);
                }
                Event::Alert(Alert::BudgetThresholdReached(reached)) => {
                    assert_eq!(batch_of, Some(recorded.recorded_at), "behind what moved the money");
                    assert_eq!(recorded.stream.to_string(), format!("alert-{}", reached.budget_id));
                    let Context { actor, partner_id, tenant_id, user_id, key_id, .. } = &recorded.context;
                    assert_eq!((actor, partner_id, tenant_id), (&Actor::System("ledger"), &Some(id(1)), &Some(id(1))));
                    assert_eq!((user_id, key_id), (&None, &None), "who spent it is below the budget's own level");
                    let settled = reached.settled_usd.nanos();
                    alerts.push((recorded.sequence, reached.fraction.to_string(), settled));
                }
                _ => batch_of = None,
            }
        }
        alerts
    }
}

fn said(alerts: &[(u64, &str, i128)]) -> Vec<(u64, String, i128)> {
    alerts.iter().map(|(sequence, fraction, settled)| (*sequence, (*fraction).to_owned(), *settled)).collect()
}

async fn every_fraction_is_announced_once_in_the_batch_that_crosses_it(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.1", "0.5", "0.8", "1"]).await;
    house.spend(99).await;
    assert_eq!(house.alerts(), []);
    house.spend(1).await;
    house.spend(50).await;
    house.spend(700).await;
    house.spend(150).await;
    assert_eq!(house.alerts(), said(&[(1, "0.1", 100), (2, "0.5", 850), (3, "0.8", 850), (4, "1", 1000)]));
    house.clock.advance(Duration::from_secs(86_400));
    house.spend(100).await;
    assert_eq!(house.alerts().last(), Some(&(5, "0.1".to_owned(), 100)), "the next day begins anew");
}

async fn a_life_that_follows_knows_what_was_announced(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.1", "0.5"]).await;
    house.spend(120).await;
    house = house.dies();
    house.spend(100).await;
    house.restarts();
    house.spend(300).await;
    house = house.dies();
    house.spend(1).await;
    assert_eq!(house.alerts(), said(&[(1, "0.1", 120), (2, "0.5", 520)]));
}

async fn a_limit_that_is_raised_arms_what_is_no_longer_reached_and_nothing_else_does(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.1", "0.5"]).await;
    house.spend(600).await;
    house.change(1, 900, &["0.1", "0.5"]).await;
    house.spend(10).await;
    house.change(2, 2000, &["0.1", "0.5"]).await;
    house = house.dies();
    house.spend(10).await;
    assert_eq!(house.alerts(), said(&[(1, "0.1", 600), (2, "0.5", 600)]));
    house.spend(400).await;
    assert_eq!(house.alerts().last(), Some(&(3, "0.5".to_owned(), 1020)));
}

/// The window's row records announced alerts too: a process that reads only the row does not announce them again.
async fn what_a_raised_limit_arms_stays_armed_in_a_life_that_follows(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.5"]).await;
    house.spend(600).await;
    for (before, limit) in [(1, LIMIT), (2, 2 * LIMIT)] {
        house.restarts();
        house.change(before, limit, &["0.5"]).await;
    }
    house.restarts();
    house.spend(400).await;
    assert_eq!(house.alerts(), said(&[(1, "0.5", 600), (2, "0.5", 1000)]));
}

#[test]
fn an_alert_names_nobody_below_the_level_of_its_budget() {
    let scopes = [Scope::Partner(id(1)), Scope::Tenant(id(1)), Scope::User(id(1)), Scope::Key(id(1))];
    for (depth, scope) in scopes.into_iter().enumerate() {
        let watched = Budget { alert_at: vec!["1".parse().expect("a fraction")], ..budget(1, scope, 5, Period::Total) };
        let mut balances = Balances::default();
        balances.fold_budget(&Change::created(watched), 1, start());
        balances.admit(&admission(1, 1, 5, Duration::from_secs(60)), start());
        let ended = balances.end(&ending(1, 1, Some(5)));
        let Some(DecidedEnd { alerts, .. }) = ended else { panic!("no open hold") };
        let [alert] = &alerts[..] else { panic!("one alert: {alerts:?}") };
        let Context { partner_id, tenant_id, user_id, key_id, .. } = &alert.context;
        let named = [partner_id.is_some(), tenant_id.is_some(), user_id.is_some(), key_id.is_some()];
        assert_eq!(named, [0, 1, 2, 3].map(|level| level <= depth), "{scope}");
    }
}

async fn what_expires_and_what_is_corrected_is_announced_as_well_and_a_correction_arms_nothing(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.5", "0.8"]).await;
    house.spend_late(600, 100).await;
    house.change(1, LIMIT, &["0.5", "0.8"]).await;
    house.spend(450).await;
    assert_eq!(house.alerts(), said(&[(1, "0.5", 600)]), "550 of 1,000 after 600 and 100");
    house.spend_late(10, 300).await;
    assert_eq!(house.alerts(), said(&[(1, "0.5", 600), (2, "0.8", 850)]));
}

/// A new fraction is announced when money moves, and not before.
async fn an_end_that_moves_no_money_announces_nothing(test_log: TestLog) {
    let mut house = House::watched_at(test_log, &["0.8"]).await;
    house.spend(600).await;
    let late = house.expired(10).await;
    house.change(1, LIMIT, &["0.5", "0.8"]).await;
    house.spend(0).await;
    let settled = late.end(Vec::new(), Outcome::Completed(ended(10)), Charge::Settle(NanoUsd::new(10))).await;
    settled.expect("recorded");
    assert_eq!(house.alerts(), []);
    house.spend(1).await;
    assert_eq!(house.alerts(), said(&[(1, "0.5", 611)]));
}

#[tokio::test]
async fn verify_names_alerts_that_are_missing_doubled_or_wrong() {
    let mut house = House::watched_at(TestLog::in_folder(), &["0.5"]).await;
    house.spend(500).await;
    let head = house.log.head().position;
    house.log.close();
    let last = "(SELECT max(position) FROM events)";
    let again = "INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, \
         event_version, payload, metadata) SELECT position + 1, recorded_at, aggregate_type, aggregate_id, sequence + 1, \
         event_type, event_version, payload, metadata FROM events WHERE position =";
    for (sql, at, why) in [
        (format!("DELETE FROM events WHERE position = {last}"), head - 1, "was not announced"),
        (format!("{again} {last}"), head + 1, "announced before"),
        (
            format!(
                "UPDATE events SET payload = json_set(payload, '$.settled_usd', '0.000000501') WHERE position = {last}"
            ),
            head,
            "not due",
        ),
        (
            format!("UPDATE events SET payload = json_set(payload, '$.fraction', '0.4') WHERE position = {last}"),
            head,
            "not due",
        ),
    ] {
        let copy = TempDir::new().expect("a folder");
        let path = copy.path().join(LEDGER_FILE);
        std::fs::copy(house.folder().join(LEDGER_FILE), &path).expect("a copy");
        let ledger = Connection::open(&path).expect("the ledger opens");
        ledger
            .execute_batch("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted;")
            .expect("the guards are removed");
        ledger
            .execute_batch(&format!(
                "UPDATE ledger_checkpoint SET position = 0; DELETE FROM balances; DELETE FROM owner_blocks; {sql}"
            ))
            .expect(&sql);
        drop(ledger);
        match verify(&*open_reader(&path).expect("the ledger opens")) {
            Err(VerifyError::Broken { position, reason }) => {
                assert!(position == at && reason.contains(why), "{sql}: position {position}: {reason}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn verify_holds_the_rows_of_alerts_against_the_events() {
    let mut house = House::watched_at(TestLog::in_folder(), &["0.5"]).await;
    house.spend(500).await;
    house.log.close();
    let ledger = Connection::open(house.folder().join(LEDGER_FILE)).expect("the ledger opens");
    ledger.execute_batch("UPDATE balances SET announced = ''").expect("a changed row");
    drop(ledger);
    let reader = open_reader(&house.folder().join(LEDGER_FILE)).expect("the ledger opens");
    let Err(VerifyError::StoredState { reason, .. }) = verify(&*reader) else { panic!("the row is wrong") };
    assert!(reason.contains("other alerts"), "{reason}");
}
