//! Facts are the same on both engines.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;

use events::event::hold::BudgetExpired;
use events::ledger::Balances;
use tempfile::TempDir;

use super::*;
use crate::draft::StateRows;
use crate::engine::sqlite;
use crate::facts::{Claim, ClaimedKey, Facts, KindOfTenant, WantedFacts};
use crate::inference_keys::IDEMPOTENCY_KEPT;
use crate::owners::OwnerBlocks;
use crate::side::ReplyKey;
use crate::{Name, SideRow, StoredReply};

fn claimed(number: u128) -> ClaimedKey {
    ClaimedKey { tenant: Uuid::from_u128(number).into(), key: "k".to_owned() }
}

fn reply_key(key: &str) -> ReplyKey {
    ReplyKey { scope: "s".to_owned(), key: key.to_owned() }
}

fn name(name: &str) -> Name {
    Name { kind: StreamKind::Model, scope: "s".to_owned(), name: name.to_owned() }
}

/// A settled hold, an expired and an open one, with keys, a reply and a name.
fn story(engine: &PostgresEngine) -> Draft {
    let budgets = [window(1), window(2)];
    let mut events: Vec<_> = (1..=3).flat_map(|number| admitted(number, 10, &budgets)).collect();
    let expired = BudgetExpired {
        held_usd: NanoUsd::new(10),
        charged_usd: NanoUsd::new(10),
        budgets: budgets.to_vec(),
        policy: "charge_hold".to_owned(),
        brokered: None,
    };
    events.push(settled(1, 10, 7, &budgets));
    events.push((2, StreamKind::Hold, 2, Event::Hold(Hold::Expired(Box::new(expired)))));
    let mut draft = draft(engine, events);
    for number in [1, 2, 3] {
        draft.claims.push((claimed(number), Claim { fingerprint: [9; 32], request_id: request(3) }));
        draft.claims.push((claimed(number), Claim { fingerprint: [7; 32], request_id: request(number) }));
    }
    let reply = StoredReply { fingerprint: [8; 32], status: 409, body: "{\"a\":1}".to_owned(), position: 5 };
    draft.replies.push((reply_key("there"), reply));
    draft.side.push(SideRow::ClaimName { name: name("taken"), owner: "mdl_1".to_owned() });
    draft
}

fn sorted<K: Debug, V: Debug>(facts: impl IntoIterator<Item = (K, V)>) -> BTreeMap<String, String> {
    facts.into_iter().map(|(key, value)| (format!("{key:?}"), format!("{value:?}"))).collect()
}

fn shown(facts: Facts) -> Vec<BTreeMap<String, String>> {
    let Facts { streams, names, replies, claims, orphaned, holds, windows, catalogue, begun } = facts;
    assert!(orphaned.is_empty(), "the process that wrote the story runs");
    let windows = windows.into_iter().map(|row| (row.window, (row.amounts, row.announced)));
    let names = sorted(names.owners);
    let catalogue = sorted(catalogue.map(|revision| ("revision", revision)));
    let sides = [sorted(replies), sorted(claims), sorted(holds), sorted(windows)];
    [sorted(streams), names].into_iter().chain(sides).chain([catalogue, sorted(begun)]).collect()
}

#[test]
fn facts_are_those_of_the_embedded_engine() {
    let (test, folder) = (TestLedger::migrated(), TempDir::new().expect("a folder"));
    let mut shared = test.engine();
    let mut embedded = sqlite::open_without_threads(folder.path(), now()).expect("an embedded log").engine;
    let draft = story(&shared);
    let mut balances = Balances::default();
    draft.events.iter().for_each(|recorded| balances.fold(recorded).expect("it can be folded"));
    let rows = StateRows { balances: &balances, owners: &OwnerBlocks::default() };
    assert_eq!(embedded.append(&draft, Some(&rows)).expect("appended"), AppendOutcome::Committed);
    assert_eq!(shared.append(&draft, Some(&rows)).expect("appended"), AppendOutcome::Committed);

    let streams = [Stream::hold(request(1)), Stream::hold(request(3)), Stream::new(StreamKind::Budget, "none")];
    let tenants = [None, Some(Uuid::from_u128(1).into())];
    let everything = WantedFacts {
        streams: HashSet::from(streams.clone()),
        names: HashSet::from([name("taken"), name("free")]),
        replies: HashSet::from([reply_key("there"), reply_key("not")]),
        claims: HashSet::from([claimed(1), claimed(2), claimed(3), claimed(4)]),
        holds: [request(1), request(2), request(8)].into_iter().collect(),
        charges: [request(1), request(3)].into_iter().collect(),
        catalogue: true,
        begun: [(StreamKind::Budget, 0), (StreamKind::Price, 1)]
            .into_iter()
            .flat_map(|(kind, after)| tenants.map(|tenant| (KindOfTenant { kind, tenant }, after)))
            .collect(),
    };
    let parts = [
        WantedFacts { streams: everything.streams.clone(), ..WantedFacts::default() },
        WantedFacts { names: everything.names.clone(), ..WantedFacts::default() },
        WantedFacts { replies: everything.replies.clone(), ..WantedFacts::default() },
        WantedFacts { claims: everything.claims.clone(), ..WantedFacts::default() },
        WantedFacts { holds: everything.holds.clone(), ..WantedFacts::default() },
        WantedFacts { charges: everything.charges.clone(), ..WantedFacts::default() },
        WantedFacts { catalogue: true, ..WantedFacts::default() },
        WantedFacts { begun: everything.begun.clone(), ..WantedFacts::default() },
    ];
    for wanted in parts.iter().chain([&everything]) {
        for now in [at(), at() + IDEMPOTENCY_KEPT - chrono::TimeDelta::microseconds(1), at() + IDEMPOTENCY_KEPT] {
            let [theirs, ours] =
                [embedded.facts(8, wanted, now).expect("facts"), shared.facts(8, wanted, now).expect("facts")];
            assert_eq!(shown(ours.expect("at the head")), shown(theirs.expect("at the head")), "{wanted:?}");
        }
    }
    let found = shared.facts(8, &everything, at()).expect("facts").expect("at the head");
    assert_eq!((found.windows.len(), found.holds.len(), found.streams.len()), (2, 2, 3), "the test tests something");
    assert!(shared.facts(7, &everything, at()).expect("readable").is_none());
    let last = [embedded.last_sequences(streams.clone().into()), shared.last_sequences(streams.into())];
    let [theirs, ours] = last.map(|last| sorted(last.expect("sequences")));
    assert_eq!(ours, theirs);
}

#[test]
fn expired_keys_are_dropped_a_bounded_part_at_a_time() {
    let test = TestLedger::migrated();
    let mut engine = test.engine();
    let too_old = (at() - IDEMPOTENCY_KEPT).timestamp_micros();
    test.execute(&format!(
        "INSERT INTO ledger.idempotency SELECT 's', n::text, '', 201, '{{}}', 1, {too_old} + (n > 7)::integer
         FROM generate_series(1, 9) AS n;
         INSERT INTO ledger.inference_keys SELECT 't', n::text, '', 'r', {too_old} FROM generate_series(1, 3) AS n"
    ));
    assert!(!engine.tidy(at(), 5).expect("tidied"));
    assert!(engine.tidy(at(), 5).expect("tidied"));
    assert_eq!(test.number("SELECT count(*) FROM ledger.idempotency"), 2, "those of less than thirty days are kept");
    assert_eq!(test.number("SELECT count(*) FROM ledger.inference_keys"), 0);
}
