//! Requests a minute: a sliding window a limit, in this process's memory. A limit never admits more than its number in
//! any 60 seconds, and admits again as soon as what it counted is that old. What is refused is not counted.

mod window;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use events::event::admin::{RateLimit, Scope};
use events::ids::LimitId;
use events::time::{from_micros, rfc3339};
use events::wire::{ErrorCode, Refusal};
use serde_json::{Map, Value};

use window::Window;

/// What these limits measure, as it is called in refusals and events.
pub const REQUESTS_PER_MINUTE: &str = "requests_per_minute";

const SHARDS: usize = 16;
/// A shard with more windows than this drops those that count nothing any more.
const WINDOWS_BEFORE_PRUNING: usize = 1024;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// What is left of the tightest limit that binds a caller: the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests a minute.
    pub limit: u64,
    /// Requests that would be admitted now.
    pub remaining: u64,
    /// Seconds since 1970 at which more will be left than now; rounded up.
    pub reset_unix_s: i64,
}

/// A limit that has nothing left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRefused {
    pub limit_id: LimitId,
    pub scope: Scope,
    /// [`REQUESTS_PER_MINUTE`].
    pub measure: &'static str,
    pub limit: u64,
    /// Until the next request would be admitted; at most 60 s.
    pub retry_after: Duration,
    pub resets_at: DateTime<Utc>,
}

/// What the limits say to one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Absent where no limit binds the caller.
    pub standing: Option<Standing>,
    /// Present when the request must not go on; of several limits the one that takes longest to admit again.
    pub refused: Option<LimitRefused>,
}

impl From<&LimitRefused> for Refusal {
    fn from(refused: &LimitRefused) -> Self {
        let seconds = whole_seconds(refused.retry_after);
        let message = format!("rate limit of {} requests a minute reached; retry in {seconds} s", refused.limit);
        Self::new(ErrorCode::RateLimited, message)
            .with("limit_id", refused.limit_id.to_string())
            .with("scope", scope_value(refused.scope))
            .with("measure", refused.measure)
            .with("limit", refused.limit)
            .with("retry_after", seconds)
            .with("resets_at", rfc3339(refused.resets_at))
            .retry_after(refused.retry_after)
    }
}

/// `{"tenant_id":"ten_…"}`.
fn scope_value(scope: Scope) -> Value {
    let level = match scope {
        Scope::Partner(_) => "partner_id",
        Scope::Tenant(_) => "tenant_id",
        Scope::User(_) => "user_id",
        Scope::Key(_) => "key_id",
    };
    Value::Object(Map::from_iter([(level.to_owned(), Value::String(scope.to_string()))]))
}

fn whole_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

/// Counts requests by limit. Memory is constant a limit, whatever its number.
pub struct RateLimiter {
    shards: [Mutex<HashMap<LimitId, Window>>; SHARDS],
    hasher: RandomState,
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl RateLimiter {
    pub fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(HashMap::new())), hasher: RandomState::new() }
    }

    /// Counts one request against all of `limits`, or, where one of them has nothing left, against none.
    pub fn check(&self, limits: &[(LimitId, &RateLimit)], now: DateTime<Utc>) -> Verdict {
        if limits.is_empty() {
            return Verdict::default();
        }
        let now_micros = now.timestamp_micros();
        let mut shards = self.lock(limits);
        let mut refused: Option<LimitRefused> = None;
        for (id, limit) in limits {
            let wait = self.window(&mut shards, *id, now_micros).wait(limit.requests_per_minute);
            let longest = refused.as_ref().map(|refused| refused.retry_after);
            if let Some(wait) = wait.filter(|wait| longest.is_none_or(|longest| *wait > longest)) {
                refused = Some(refusal(*id, limit, wait, now));
            }
        }
        let mut standings = Vec::with_capacity(limits.len());
        for (id, limit) in limits {
            let window = self.window(&mut shards, *id, now_micros);
            if refused.is_none() {
                window.count();
            }
            standings.push(standing(window, limit.requests_per_minute));
        }
        let tightest = standings.into_iter().min_by_key(|standing| (standing.remaining, standing.limit));
        Verdict { standing: tightest, refused }
    }

    /// Locks the shards of these limits in the order of their numbers, so that no two callers wait for each other.
    fn lock(&self, limits: &[(LimitId, &RateLimit)]) -> Vec<(usize, MutexGuard<'_, HashMap<LimitId, Window>>)> {
        let mut numbers: Vec<usize> = limits.iter().map(|(id, _)| self.shard_number(*id)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| {
            let shard = self.shards.get(number)?;
            Some((number, shard.lock().unwrap_or_else(PoisonError::into_inner)))
        };
        numbers.into_iter().filter_map(lock).collect()
    }

    fn window<'a>(
        &self,
        shards: &'a mut [(usize, MutexGuard<'_, HashMap<LimitId, Window>>)],
        id: LimitId,
        now_micros: i64,
    ) -> &'a mut Window {
        let number = self.shard_number(id);
        let at = shards.binary_search_by_key(&number, |(number, _)| *number).unwrap_or_default();
        // Every limit's shard was locked by number just before, so that the search finds it.
        let windows = &mut shards[at].1;
        if windows.len() >= WINDOWS_BEFORE_PRUNING && !windows.contains_key(&id) {
            windows.retain(|_, window| !window.is_empty(now_micros));
        }
        let window = windows.entry(id).or_default();
        window.advance(now_micros);
        window
    }

    fn shard_number(&self, id: LimitId) -> usize {
        usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default()
    }
}

fn refusal(limit_id: LimitId, limit: &RateLimit, wait: Duration, now: DateTime<Utc>) -> LimitRefused {
    let resets_at = now.checked_add_signed(chrono::TimeDelta::from_std(wait).unwrap_or_default()).unwrap_or(now);
    LimitRefused {
        limit_id,
        scope: limit.scope,
        measure: REQUESTS_PER_MINUTE,
        limit: limit.requests_per_minute,
        retry_after: wait,
        resets_at,
    }
}

fn standing(window: &Window, limit: u64) -> Standing {
    let reset = from_micros(window.more_at_micros(limit)).timestamp_micros();
    Standing {
        limit,
        remaining: limit.saturating_sub(window.counted()),
        reset_unix_s: reset.div_euclid(MICROS_PER_SECOND) + i64::from(reset.rem_euclid(MICROS_PER_SECOND) > 0),
    }
}

#[cfg(test)]
mod tests;
