//! `verify` accepts a sound log and names the position of each damage. The log is what a gateway would leave: every kind of
//! event that moves money, every kind of end, budgets that change and windows that end.

mod stored_state;
pub mod story;

use std::path::Path;

use events_log::verify::{Depth, Sound, VerifyError, verify};
use events_log::{LEDGER_FILE, open_reader};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::facts::WHOLE_CONTEXT;
use story::{Corrections, SampleLog};

fn check(folder: &Path) -> Result<Sound, VerifyError> {
    verify(&*open_reader(&folder.join(LEDGER_FILE)).expect("the ledger opens"), Depth::Gateway, &mut |_, _| {})
}

/// The result of the check after this change to the database.
fn said_after(log: &SampleLog, sql: &str) -> VerifyError {
    let folder = TempDir::new().expect("a folder");
    let copy = folder.path().join(LEDGER_FILE);
    std::fs::copy(log.folder.path().join(LEDGER_FILE), &copy).expect("a copy");
    let ledger = Connection::open(&copy).expect("the ledger opens");
    ledger.execute_batch(UNGUARD).expect("the guards are removed");
    ledger.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    drop(ledger);
    match check(folder.path()) {
        Ok(sound) => panic!("{sql}: {sound:?}"),
        Err(error) => error,
    }
}

const UNGUARD: &str = "DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted;
    DROP TRIGGER contexts_are_never_changed; DROP TRIGGER contexts_are_never_deleted;";

/// One kind of damage: its description, the change, the position that is named and a part of the message.
type Damage = (&'static str, String, u64, &'static str);

fn must_be_found(log: &SampleLog, kinds: &[Damage]) {
    for (name, sql, at, why) in kinds {
        match said_after(log, sql) {
            VerifyError::Broken { position, reason } => {
                assert_eq!(position, *at, "{name}: {reason}");
                assert!(reason.contains(why), "{name}: {reason}");
            }
            other => panic!("{name}: {other}"),
        }
    }
}

/// Sets a field of an event's data to a JSON value.
fn set(at: u64, field: &str, value: &str) -> String {
    format!("UPDATE events SET payload = json_set(payload, '$.{field}', json('{value}')) WHERE position = {at}")
}

/// Sets one of the event's parties.
fn set_context(at: u64, field: &str, value: &str) -> String {
    format!("UPDATE events SET metadata = json_set({WHOLE_CONTEXT}, '$.{field}', '{value}') WHERE position = {at}")
}

/// Repeats an event at the end of the log, with this sequence.
fn repeat(log: &SampleLog, at: u64, sequence: u64) -> String {
    let head = log.head;
    format!(
        "INSERT INTO events (position, recorded_at, aggregate_type, aggregate_id, sequence, event_type, event_version,
         payload, metadata) SELECT {head} + 1, (SELECT recorded_at FROM events WHERE position = {head}), aggregate_type,
         aggregate_id, {sequence}, event_type, event_version, payload, metadata FROM events WHERE position = {at}"
    )
}

/// Closes or opens a gap after a position.
fn move_all_behind(at: u64, by: i64) -> String {
    format!(
        "UPDATE events SET position = -position WHERE position > {at};
         UPDATE events SET position = -position + {by} WHERE position < 0;"
    )
}

fn delete_and_close_the_gap(at: u64) -> String {
    format!("DELETE FROM events WHERE position = {at}; {}", move_all_behind(at, -1))
}

#[tokio::test]
async fn a_sound_log_is_sound() {
    let log = SampleLog::whole().await;
    let sound = check(log.folder.path()).expect("a sound log");
    assert_eq!(sound, Sound { events: log.head, open_holds: 1 });
    let types = log.types();
    for must_have in [
        "inference.completed", "inference.failed", "inference.aborted", "inference.attempt_failed",
        "inference.refused", "budget.settled", "budget.released", "budget.expired", "budget.adjusted",
        "budget.changed", "budget.closed", "access.denied", "price.revalued",
    ] {
        assert!(types.contains(&must_have), "the story has no {must_have}");
    }
}

#[tokio::test]
async fn refusals_that_were_rolled_up_are_sound() {
    let folder = TempDir::new().expect("a folder");
    story::a_flood_of_refusals(folder.path()).await;
    let sound = check(folder.path()).expect("a sound log");
    assert!((21..45).contains(&sound.events), "{sound:?}");
}

/// Holds: bin.verify
#[tokio::test]
async fn an_order_that_was_disturbed_is_named() {
    let log = SampleLog::whole().await;
    let (at, head) = (log.completed, log.head);
    let swap = format!(
        "UPDATE events SET position = -1 WHERE position = {at};
         UPDATE events SET position = {at} WHERE position = {at} + 1;
         UPDATE events SET position = {at} + 1 WHERE position = -1"
    );
    let inserted = format!(
        "{} {}",
        move_all_behind(at, 1),
        repeat(&log, at, 9).replace(&format!("{head} + 1"), &format!("{at} + 1"))
    );
    must_be_found(
        &log,
        &[
            ("a deleted event", format!("DELETE FROM events WHERE position = {at}"), at + 1, "is missing"),
            ("the first one deleted", "DELETE FROM events WHERE position = 1".into(), 2, "position 1 is missing"),
            ("deleted, and the gap closed", delete_and_close_the_gap(at), at, "does not follow on its outcome"),
            ("one before the first", "UPDATE events SET position = -3 WHERE position = 1".into(), 0, "1 is missing"),
            ("a swapped pair", swap, at, "does not follow on its outcome"),
            ("an inserted event", inserted, at + 1, "an outcome of a request that is over"),
            (
                "time going back",
                format!("UPDATE events SET recorded_at = recorded_at - 1 WHERE position = {at}"),
                at,
                "before",
            ),
            ("a wrong sequence", format!("UPDATE events SET sequence = 7 WHERE position = {at}"), at, "7 comes next"),
            (
                "a sequence too low",
                format!("UPDATE events SET sequence = 0 WHERE position = {}", log.access),
                log.access,
                "continues with 0",
            ),
            (
                "an unknown type",
                format!("UPDATE events SET event_type = 'inference.vanished' WHERE position = {at}"),
                at,
                "unknown event type",
            ),
            (
                "an unknown version",
                format!("UPDATE events SET event_version = '9' WHERE position = {at}"),
                at,
                "unknown event type",
            ),
            (
                "a type of another stream",
                format!("UPDATE events SET aggregate_type = 'hold', sequence = 8 WHERE position = {at}"),
                at,
                "on the stream",
            ),
            ("broken JSON", format!("UPDATE events SET payload = '{{' WHERE position = {at}"), at, "cannot be read"),
            ("broken metadata", format!("UPDATE events SET metadata = '{{}}' WHERE position = {at}"), at, "metadata"),
            (
                "a stream of nobody",
                format!("UPDATE events SET aggregate_id = 'req_x' WHERE position = {at}"),
                at,
                "on the stream inference-req_x",
            ),
        ],
    );
}

/// Holds: bin.verify
#[tokio::test]
async fn a_life_that_cannot_be_is_named() {
    let log = SampleLog::whole().await;
    let (admitted, completed, head) = (log.admitted, log.completed, log.head);
    let last_two = format!("DELETE FROM events WHERE position > {}", head - 1);
    must_be_found(
        &log,
        &[
            ("a doubled settlement", repeat(&log, completed + 1, 3), head + 1, "never admitted, or is over"),
            ("a doubled outcome", repeat(&log, completed, 3), head + 1, "never admitted, or is over"),
            ("a doubled hold", repeat(&log, admitted + 1, 3), head + 1, "budget.reserved is number 3"),
            ("an orphan hold", delete_and_close_the_gap(admitted), admitted, "never admitted"),
            (
                "an admission without a hold",
                delete_and_close_the_gap(admitted + 1),
                completed - 1,
                "admitted and not held",
            ),
            (
                "an outcome without an end",
                delete_and_close_the_gap(completed + 1),
                completed + 1,
                "is over and its hold is open",
            ),
            ("an end without an outcome", delete_and_close_the_gap(completed), completed, "does not follow"),
            ("an attempt that was not made", set(log.failed, "attempts", "0"), log.failed, "tried less often"),
            ("an attempt twice", set(log.failed - 1, "attempt", "0"), log.failed - 1, "attempt 0 after"),
            (
                "an expiry before its time",
                set(log.reserved_to_expire, "expires_at", r#""2036-01-01T00:00:00.000000Z""#),
                log.expired,
                "before its time",
            ),
            (
                "an expiry by another policy",
                set(log.expired, "policy", r#""release""#),
                log.expired,
                "by the policy release",
            ),
            (
                "an expiry of one that answered",
                set(log.expired - 1, "reason", r#""client_closed""#),
                log.expired,
                "process was lost",
            ),
            (
                "a hold that begins expired",
                set(admitted + 1, "expires_at", r#""2020-01-01T00:00:00.000000Z""#),
                admitted + 1,
                "expired when it begins",
            ),
            (
                "a number of a context that has more to it",
                format!("UPDATE events SET metadata = metadata || 'x' WHERE position = {admitted}"),
                admitted,
                "metadata: ",
            ),
            (
                "a context that is gone",
                format!(
                    "DELETE FROM contexts WHERE number = (SELECT metadata FROM events WHERE position = {admitted})"
                ),
                admitted,
                "metadata: ",
            ),
            (
                "a context that is another's",
                format!(
                    "UPDATE contexts SET context = json_set(context, '$.key_id', '{}')
                     WHERE number = (SELECT metadata FROM events WHERE position = {admitted})",
                    log.other_key
                ),
                admitted,
                "is not one of its key",
            ),
            (
                "an outcome of another tenant",
                set_context(completed, "tenant_id", &log.other_tenant),
                completed,
                "somebody else",
            ),
            (
                "an end of another key",
                set_context(completed + 1, "key_id", &log.other_key),
                completed + 1,
                "somebody else",
            ),
            (
                "an end by somebody else",
                set_context(completed + 1, "actor", "operator"),
                completed + 1,
                "somebody else",
            ),
            (
                "a correction of another",
                set(log.adjusted, "of", &format!("\"{}\"", log.open_request)),
                log.adjusted,
                "a correction of",
            ),
            ("a correction of what was settled", set(log.adjusted, "budgets", "[]"), log.adjusted, "no expired hold"),
            ("a correction below nothing", set(log.adjusted, "delta_usd", r#""-5""#), log.adjusted, "a correction of"),
            ("a refusal of nobody", set(log.refused, "count", "0"), log.refused, "no request"),
        ],
    );
    assert!(said_after(&log, &last_two).to_string().contains("the log ends at"), "the last event deleted");
}

/// Holds: bin.verify
#[tokio::test]
async fn money_that_does_not_add_up_is_named() {
    let log = SampleLog::whole().await;
    let (admitted, completed) = (log.admitted, log.completed);
    let (reserved, settled) = (admitted + 1, completed + 1);
    let usd = r#""0.000000071""#;
    must_be_found(
        &log,
        &[
            ("a changed cost", set(completed, "cost_usd", usd), completed, "its tokens cost"),
            ("changed tokens", set(completed, "usage.output_text_tokens", "71"), completed, "its tokens cost"),
            ("tokens of audio", set(completed, "usage.output_audio_tokens", "1"), completed, "its tokens cost"),
            (
                "tokens of another class",
                set(completed, "usage.input_cache_write_by_ttl", r#"{"5m":1}"#),
                completed,
                "by lifetime",
            ),
            ("a changed price", set(log.price, "output_usd_per_mtok", r#""0.002""#), completed, "its tokens cost"),
            (
                "another price",
                set(completed, "price_version", &log.other_price.to_string()),
                completed,
                "not the one that was admitted",
            ),
            ("no such price", set(completed, "price_version", "4"), completed, "not the one that was admitted"),
            ("a cost without a price", set(completed, "price_version", "null"), completed, "without a price"),
            ("a cost without use", set(completed, "usage", "null"), completed, "used nothing and cost"),
            ("use that nobody knows", set(completed, "usage.source", r#""unknown""#), completed, "nobody knows"),
            (
                "another backend",
                set(completed, "backend.model", r#""dearer""#),
                completed,
                "not the one that was admitted",
            ),
            ("another model", set(completed, "model", r#""other""#), completed, "was admitted for"),
            (
                "another time",
                set(completed, "admitted_at", r#""2026-11-19T08:00:00.000000Z""#),
                completed,
                "was admitted for",
            ),
            ("a changed charge", set(settled, "charged_usd", usd), settled, "but the outcome says"),
            ("a changed hold at its end", set(settled, "held_usd", usd), settled, "differs from its beginning"),
            (
                "a hold that was more",
                set(settled, "held_usd", r#""0.000000101""#),
                settled,
                "differs from its beginning",
            ),
            ("a wrong overrun", set(settled, "overrun_usd", r#""0.000000001""#), settled, "another overrun"),
            ("an overrun left out", set(log.overrun, "overrun_usd", "null"), log.overrun, "another overrun"),
            ("a number for money", set(settled, "charged_usd", "0.00000007"), settled, "never a JSON number"),
            ("other windows at the end", set(settled, "budgets", "[]"), settled, "differs from its beginning"),
            ("a released request that cost", set(log.failed, "cost_usd", usd), log.failed, "used nothing and cost"),
            ("a failed call's changed cost", set(log.reported, "cost_usd", usd), log.reported, "its tokens cost"),
            (
                "a failed call that used nothing and cost",
                set(log.reported, "usage", "null"),
                log.reported,
                "used nothing and cost",
            ),
            (
                "a failed call's use that nobody knows",
                set(log.reported, "usage.source", r#""unknown""#),
                log.reported,
                "nobody knows",
            ),
            (
                "a failed call's cost left out",
                set(log.reported + 1, "cost_usd", r#""0.000000010""#),
                log.reported + 1,
                "its failed calls",
            ),
            (
                "an answer's cost left out",
                set(log.reported + 1, "cost_usd", r#""0.000000020""#),
                log.reported + 1,
                "its tokens cost",
            ),
            ("a hold above its budget", set(reserved, "held_usd", r#""0.000009""#), reserved, "USD held of"),
            ("a negative hold", set(reserved, "held_usd", r#""-1""#), reserved, "a hold of -1"),
            ("a limit below the hold", set(log.budget, "limit_usd", r#""0.000000099""#), reserved, "USD held of"),
            (
                "a budget left out",
                format!("UPDATE events SET payload = json_remove(payload, '$.budgets[1]') WHERE position = {reserved}"),
                reserved,
                "that bind it",
            ),
            (
                "a wrong window",
                set(reserved, "budgets[1].window_start", r#""2026-11-19T00:00:00.000000Z""#),
                reserved,
                "that bind it",
            ),
            (
                "another tenant from the beginning",
                set_context(reserved, "tenant_id", &log.other_tenant),
                reserved,
                "somebody else",
            ),
            (
                "an older version of a budget",
                set(
                    log.admitted_after_change,
                    &format!("versions.budgets.{}", log.changed_budget),
                    &log.budget.to_string(),
                ),
                log.admitted_after_change + 1,
                "other versions",
            ),
            ("no such model", set(admitted, "versions.model", &log.price.to_string()), admitted, "there is no model"),
            ("no such key", set(admitted, "versions.key", &log.price.to_string()), admitted, "not one of its key"),
            ("no price", set(admitted, "versions.prices", "{}"), admitted, "without a price"),
            (
                "a price of something else",
                set(admitted, "versions.prices", &format!(r#"{{"prv_x/echo":{}}}"#, log.price)),
                admitted,
                "not one of prv_x/echo",
            ),
            (
                "a price that is not in force",
                set(log.price, "effective_from", r#""2036-01-01T00:00:00.000000Z""#),
                admitted,
                "not in force",
            ),
        ],
    );
}

/// Holds: bin.verify
#[tokio::test]
async fn corrections_by_a_price_that_are_wrong_are_named() {
    let log = SampleLog::whole().await;
    let Corrections { changed, first, second, of_two_calls, revalued } = log.corrections;
    let value = |at, nanos: u32, delta: i32| {
        format!(
            "{}; {}",
            set(at, "price.cost_usd", &format!(r#""0.{nanos:09}""#)),
            set(at, "delta_usd", &format!(r#""{}0.{:09}""#, if delta < 0 { "-" } else { "" }, delta.abs()))
        )
    };
    must_be_found(
        &log,
        &[
            ("a delta", set(first, "delta_usd", r#""0.000000011""#), first, "a price corrects it by"),
            ("a value", set(first, "price.cost_usd", r#""0.000000021""#), first, "a price corrects it by"),
            ("a value with its delta", value(first, 21, 11), first, "its tokens cost 0.000000020 USD"),
            ("a value below nothing", set(first, "price.cost_usd", r#""-1""#), first, "a price corrects it by"),
            ("no difference", value(first, 10, 0), first, "a price corrects it by"),
            ("a version of nothing", set(first, "price.version", "4"), first, "is not one of a backend"),
            ("the version that it was charged by", set(first, "price.version", &log.price.to_string()), first, "cost"),
            ("the same version again", set(second, "price.version", &changed.to_string()), second, "for good"),
            ("another reason", set(first, "reason", r#""settled_after_expiry""#), first, "the reason is"),
            ("other budgets", set(first, "budgets", "[]"), first, "was not settled on these budgets"),
            ("a tenant", set_context(first, "tenant_id", &log.other_tenant), first, "somebody else"),
            ("another request", set(first, "of", &format!("\"{}\"", log.open_request)), first, "a correction of"),
            ("without a failed call", value(of_two_calls, 20, -10), of_two_calls, "its tokens cost 0.000000060 USD"),
            ("a changed price", set(changed, "output_usd_per_mtok", r#""0.003""#), first, "its tokens cost"),
            (
                "a price that begins later",
                set(changed, "effective_from", r#""2036-01-01T00:00:00.000000Z""#),
                first,
                "no price was in force",
            ),
            ("a number of requests", set(revalued, "requests", "1"), revalued, "corrected 2 requests"),
            ("a sum", set(revalued, "delta_usd", r#""0.000000099""#), revalued, "by 0.000000040 USD"),
            ("a sum left out", set(revalued, "delta_usd", "null"), revalued, "by 0.000000040 USD"),
            ("completed again", repeat(&log, revalued, 2), log.head + 1, "were completed before"),
        ],
    );
}
