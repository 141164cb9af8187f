use events::ids::{KeyId, TenantId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const MINUTE_MICROS: i64 = 60_000_000;
/// Friday, 2026-11-20T08:15:30Z.
const START_MICROS: i64 = 1_795_162_530_000_000;

fn limit(number: u128, scope: Scope, requests_per_minute: u64) -> RateLimit {
    RateLimit { limit_id: LimitId::from(Uuid::from_u128(number)), scope, requests_per_minute }
}

fn of_tenant(requests_per_minute: u64) -> RateLimit {
    limit(1, Scope::Tenant(TenantId::from(Uuid::from_u128(1))), requests_per_minute)
}

fn of_key(requests_per_minute: u64) -> RateLimit {
    limit(2, Scope::Key(KeyId::from(Uuid::from_u128(2))), requests_per_minute)
}

fn check(limiter: &RateLimiter, limits: &[&RateLimit], after_micros: i64) -> Verdict {
    let limits: Vec<_> = limits.iter().map(|limit| (limit.limit_id, *limit)).collect();
    limiter.check(&limits, from_micros(START_MICROS + after_micros))
}

#[test]
fn the_first_of_three_leaves_two() {
    let verdict = check(&RateLimiter::new(), &[&of_tenant(3)], 0);
    let reset_unix_s = START_MICROS / MICROS_PER_SECOND + 60;
    assert_eq!(verdict.standing, Some(Standing { limit: 3, remaining: 2, reset_unix_s }));
    assert_eq!(verdict.refused, None);
}

#[test]
fn the_fourth_of_three_is_refused_with_its_numbers() {
    let (limiter, tenant) = (RateLimiter::new(), of_tenant(3));
    for second in 0..3 {
        assert_eq!(check(&limiter, &[&tenant], second * MICROS_PER_SECOND).refused, None);
    }
    let refused = check(&limiter, &[&tenant], 10_500_000).refused.expect("a refusal");
    assert_eq!(refused.retry_after, Duration::from_micros(49_500_000));
    let wire = Refusal::from(&refused);
    assert_eq!((wire.code, wire.retry_after), (ErrorCode::RateLimited, Some(refused.retry_after)));
    assert_eq!(
        Value::Object(wire.details),
        serde_json::json!({
            "limit_id": tenant.limit_id.to_string(),
            "scope": { "tenant_id": "ten_00000000000000000000000000000001" },
            "measure": "requests_per_minute", "limit": 3, "retry_after": 50,
            "resets_at": rfc3339(from_micros(START_MICROS + MINUTE_MICROS)),
        })
    );
    assert_eq!(check(&limiter, &[&tenant], MINUTE_MICROS).refused, None);
}

#[test]
fn what_one_limit_refuses_no_other_limit_counts() {
    let (limiter, tenant, key) = (RateLimiter::new(), of_tenant(5), of_key(1));
    assert_eq!(check(&limiter, &[&tenant, &key], 0).standing.map(|standing| standing.remaining), Some(0));
    for _ in 0..10 {
        let refused = check(&limiter, &[&tenant, &key], 1).refused.expect("a refusal");
        assert_eq!((refused.limit_id, refused.limit), (key.limit_id, 1));
    }
    assert_eq!(check(&limiter, &[&tenant], 2).standing.map(|standing| standing.remaining), Some(3));
}

#[test]
fn a_caller_without_limits_has_no_standing() {
    assert_eq!(check(&RateLimiter::new(), &[], 0), Verdict::default());
}

#[test]
fn a_limit_of_nothing_admits_nothing() {
    let refused = check(&RateLimiter::new(), &[&of_tenant(0)], 0).refused.expect("a refusal");
    assert_eq!(refused.retry_after, Duration::from_secs(60));
}

#[test]
fn a_lowered_limit_says_when_enough_has_left() {
    let limiter = RateLimiter::new();
    for second in 0..5 {
        check(&limiter, &[&of_tenant(10)], second * MICROS_PER_SECOND);
    }
    let refused = check(&limiter, &[&of_tenant(2)], 5 * MICROS_PER_SECOND).refused.expect("a refusal");
    assert_eq!(refused.retry_after, Duration::from_secs(58));
    assert_eq!(check(&limiter, &[&of_tenant(2)], 63 * MICROS_PER_SECOND).refused, None);
}

#[test]
fn a_clock_that_goes_back_neither_admits_more_nor_stops_for_ever() {
    let (limiter, tenant) = (RateLimiter::new(), of_tenant(1));
    assert_eq!(check(&limiter, &[&tenant], 0).refused, None);
    assert!(check(&limiter, &[&tenant], -5 * MICROS_PER_SECOND).refused.is_some());
    assert_eq!(check(&limiter, &[&tenant], -3600 * MICROS_PER_SECOND).refused, None);
}

#[test]
fn windows_that_count_nothing_are_forgotten() {
    let limiter = RateLimiter::new();
    for number in 0..100_000_u128 {
        let limit = limit(number, Scope::Tenant(TenantId::from(Uuid::from_u128(1))), 1);
        check(&limiter, &[&limit], i64::try_from(number).expect("small") * MICROS_PER_SECOND);
    }
    let kept: usize = limiter.shards.iter().map(|shard| shard.lock().expect("unpoisoned").len()).sum();
    assert!(kept <= SHARDS * (WINDOWS_BEFORE_PRUNING + 61), "{kept} windows");
}

proptest! {
    /// Against a log of every admitted instant: never more than the limit in any 60 s, and refused only where the last
    /// 61 s (one bucket more) hold that many.
    #[test]
    fn it_never_admits_more_than_its_number_in_any_minute(
        limit in 1_u64..8,
        gaps in prop::collection::vec(prop_oneof![0_i64..2_000, 0_i64..20_000_000, 50_000_000_i64..70_000_000], 1..200),
    ) {
        let (limiter, tenant) = (RateLimiter::new(), of_tenant(limit));
        let (mut now, mut admitted) = (0, Vec::new());
        let recent = |admitted: &[i64], now: i64, span: i64| {
            admitted.iter().filter(|at| **at > now - span).count() as u64
        };
        for gap in gaps {
            now += gap;
            let verdict = check(&limiter, &[&tenant], now);
            match verdict.refused {
                None => {
                    admitted.push(now);
                    prop_assert!(recent(&admitted, now, MINUTE_MICROS) <= limit);
                }
                Some(refused) => {
                    prop_assert!(recent(&admitted, now, MINUTE_MICROS + MICROS_PER_SECOND) >= limit);
                    prop_assert!(refused.retry_after <= Duration::from_secs(60));
                    prop_assert!(refused.retry_after > Duration::ZERO);
                    // What it promised holds: asked again then, a copy admits.
                    let later = now + i64::try_from(refused.retry_after.as_micros()).expect("a minute");
                    let mut copy = limiter.shards[limiter.shard_number(tenant.limit_id)].lock().expect("unpoisoned")
                        [&tenant.limit_id].clone();
                    copy.advance(START_MICROS + later);
                    prop_assert_eq!(copy.wait(limit), None);
                }
            }
        }
    }
}
