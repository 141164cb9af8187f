//! The columns of the tables, in the order of the statements: neighbours of one kind together.

use events::usage::TokenClasses;

use super::Column;
use crate::value::Kind;

/// Neighbouring columns of one kind.
struct Columns {
    kind: Kind,
    names: &'static [&'static str],
}

const fn of(kind: Kind, names: &'static [&'static str]) -> Columns {
    Columns { kind, names }
}

/// All `N` columns, one by one.
const fn each<const N: usize>(neighbours: &[Columns]) -> [Column; N] {
    let mut all = [Column { name: "", kind: Kind::Text }; N];
    let (mut at, mut done) = (0, 0);
    while at < neighbours.len() {
        let Columns { kind, names } = neighbours[at];
        let mut index = 0;
        while index < names.len() {
            all[done] = Column { name: names[index], kind };
            (index, done) = (index + 1, done + 1);
        }
        at += 1;
    }
    assert!(done == N, "the number of columns");
    all
}

/// Tokens by class, and what else is counted of requests.
const MEASURED: &[&str] = &TokenClasses::NAMES;

pub const USAGE_BY_HOUR: &[Column] = &each::<30>(&[
    of(Kind::Instant, &["hour"]),
    of(Kind::Text, &["tenant_id", "key_id", "model", "backend", "partner_id", "user_id", "provider", "payer"]),
    of(Kind::Integer, &["requests"]),
    of(Kind::Count, &["refused"]),
    of(Kind::Integer, &["failed"]),
    of(Kind::Count, MEASURED),
    of(Kind::Sum, &["cost_usd", "adjusted_usd"]),
    of(Kind::Integers, &["latency_ms", "latency_requests"]),
]);

pub const REQUESTS: &[Column] = &each::<32>(&[
    of(Kind::Integer, &["position"]),
    of(Kind::Text, &["request_id"]),
    of(Kind::Instant, &["recorded_at"]),
    of(
        Kind::Text,
        &["status", "partner_id", "tenant_id", "user_id", "key_id", "model", "provider", "backend", "payer"],
    ),
    of(Kind::Sum, &["cost_usd", "corrected_usd"]),
    of(Kind::Count, MEASURED),
    of(Kind::Saturating, &["latency_ms"]),
    of(Kind::Integer, &["hold_position", "outcome_position", "hold_end_position"]),
]);

pub const OTHER_USAGE: &[Column] = &each::<12>(&[
    of(Kind::Integer, &["position"]),
    of(Kind::Instant, &["recorded_at"]),
    of(Kind::Text, &["partner_id", "tenant_id", "user_id", "key_id", "model", "provider", "backend", "payer"]),
    of(Kind::Count, &["refused"]),
    of(Kind::Amount, &["cost_usd"]),
]);

pub const BUDGETS: &[Column] = &each::<13>(&[
    of(Kind::Text, &["budget_id", "scope", "scope_id", "partner_id", "tenant_id"]),
    of(Kind::Amount, &["limit_usd"]),
    of(Kind::Text, &["period"]),
    of(Kind::Fractions, &["alert_at"]),
    of(Kind::Text, &["when_short", "enforcement"]),
    of(Kind::Instant, &["opened_at", "closed_at"]),
    of(Kind::Integer, &["position"]),
]);

pub const BUDGET_WINDOWS: &[Column] = &each::<4>(&[
    of(Kind::Text, &["budget_id"]),
    of(Kind::Instant, &["window_start"]),
    of(Kind::Sum, &["settled_usd", "held_usd"]),
]);

pub const AUDIT: &[Column] = &each::<12>(&[
    of(Kind::Integer, &["position"]),
    of(Kind::InstantText, &["recorded_at"]),
    of(
        Kind::Text,
        &[
            "actor", "action", "resource", "resource_id", "category", "severity", "outcome", "request_id",
            "partner_id", "tenant_id",
        ],
    ),
]);

pub const RESOURCES: &[Column] = &each::<12>(&[
    of(Kind::Text, &["id", "kind", "partner_id", "tenant_id", "user_id", "name", "slug", "external_id"]),
    of(Kind::Instant, &["created_at", "ended_at"]),
    of(Kind::Integer, &["created_position", "position"]),
]);

pub const PRICES: &[Column] = &each::<14>(&[
    of(Kind::Text, &["price_id", "provider_id", "model"]),
    of(
        Kind::AmountText,
        &[
            "input_usd_per_mtok", "output_usd_per_mtok", "cache_read_usd_per_mtok", "cache_write_usd_per_mtok",
            "reasoning_usd_per_mtok", "request_usd",
        ],
    ),
    of(Kind::InstantText, &["effective_from"]),
    of(Kind::Text, &["tenant_id"]),
    of(Kind::Instant, &["created_at", "ended_at"]),
    of(Kind::Integer, &["position"]),
]);
