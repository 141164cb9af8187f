//! What other nodes admit, read from the log: so each node knows at every position what all of them had admitted before, without
//! Redis. The same reading says how limits are counted, so that whoever knows the mode at a position also knows the counts there.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::inference::{InferenceAdmitted, InferenceEnded};
use events::event::{Access, Event, Inference, Recorded};
use events::ids::{IdMap, RequestId};
use events::limit::Measure;
use events::log::{Followed, Follower, Log, LogError, PAGE_EVENTS};
use events::usage::{Usage, UsageSource};

use super::counts::SharedCounts;
use super::mode::{KEPT_MAX, LocalPeriod, Mode};
use super::state::SharedLimiter;
use crate::limits::binding::locked;
use crate::limits::window::BucketNumber;

/// The most events that a start reads again.
const REPLAYED_MAX: u64 = 50_000;
/// Requests of others whose tokens are corrected when they end. Those beyond count as reserved: too much, never too little.
const OPEN_MAX: usize = 200_000;
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// The reason of a request whose process died.
const NODE_LOST: &str = "node_lost";

/// Follows the log for a limiter.
pub struct Mirror {
    limiter: Arc<SharedLimiter>,
    follower: Follower,
    /// Requests of others that have reserved tokens.
    open: IdMap<RequestId, OpenRequest>,
}

struct OpenRequest {
    admitted_at: u64,
    reserved: u64,
    /// What its failed calls used.
    of_failed_calls: u64,
    counted: Vec<(Arc<Mutex<SharedCounts>>, Measure, BucketNumber)>,
}

/// Who appended an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    ThisNode,
    Others,
}

impl Mirror {
    /// Reads what windows may still hold, as far as that is not too much. When it returns, the mode is known.
    pub async fn start(limiter: Arc<SharedLimiter>) -> Result<Self, LogError> {
        let log = limiter.parts.log.clone();
        let (after, is_from_the_beginning) = begin_after(&log, limiter.parts.clock.now()).await?;
        for recorded in log.read(|reader| reader.stream(&Access::limits_stream())).await? {
            limiter.modes.apply(&recorded, limiter.micros_at(recorded.recorded_at));
        }
        let mut mirror = Self { follower: log.follow(after, PAGE_EVENTS), limiter, open: IdMap::default() };
        let mut known_since = is_from_the_beginning.then_some(i64::MIN);
        loop {
            let Some(followed) = mirror.follower.next().await? else { return Err(LogError::Closed) };
            if known_since.is_none() {
                known_since = followed.events().first().map(|first| mirror.limiter.micros_at(first.recorded_at));
            }
            // Whatever was appended before the start was appended by others.
            mirror.apply(&followed, |_| By::Others);
            if matches!(followed, Followed::CaughtUp) {
                break;
            }
        }
        let known_since = known_since.unwrap_or_else(|| mirror.limiter.now_micros());
        mirror.limiter.known_since_micros.store(known_since, Ordering::Relaxed);
        Ok(mirror)
    }

    /// Follows the log until it is closed.
    pub async fn run(mut self) {
        loop {
            match self.follower.next().await {
                Ok(Some(followed)) => self.apply_new(&followed).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "cannot read what other nodes count against rate limits: trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn apply_new(&mut self, followed: &Followed) {
        match followed {
            Followed::Batch(_) => self.apply(followed, |_| By::ThisNode),
            Followed::Others(_) | Followed::CaughtUp => self.apply(followed, |_| By::Others),
            Followed::Page(page) => {
                let own = loop {
                    match self.follower.own_positions(page).await {
                        Ok(own) => break own,
                        Err(error) => {
                            tracing::warn!(%error, "cannot tell own requests from those of other nodes: trying again");
                            tokio::time::sleep(RETRY_AFTER).await;
                        }
                    }
                };
                let is_own = |position: u64| own.iter().any(|range: &RangeInclusive<u64>| range.contains(&position));
                self.apply(followed, |position| if is_own(position) { By::ThisNode } else { By::Others });
            }
        }
    }

    fn apply(&mut self, followed: &Followed, by: impl Fn(u64) -> By) {
        for recorded in followed.events() {
            let at_micros = self.limiter.micros_at(recorded.recorded_at);
            if self.limiter.modes.apply(recorded, at_micros) {
                self.begin_local();
            }
            if by(recorded.position) == By::Others {
                self.apply_of_others(recorded, at_micros);
            }
        }
        if let Some(last) = followed.events().last() {
            self.limiter.modes.reached(last.position);
        } else {
            self.limiter.modes.reached(self.follower.position());
        }
    }

    /// If a local period begins here: what all nodes have admitted is in the slots now.
    fn begin_local(&self) {
        let mode = self.limiter.modes.mode();
        let Mode::Local(LocalPeriod { member_since: Some(since), .. }) = &*mode else { return };
        let now_micros = self.limiter.now_micros();
        for (_, slot) in self.limiter.slots.all() {
            let mut slot = locked(&slot);
            slot.advance(now_micros);
            slot.begin_local(*since);
        }
    }

    fn apply_of_others(&mut self, recorded: &Recorded, at_micros: i64) {
        let Event::Inference(event) = &recorded.event else { return };
        match event {
            Inference::Admitted(admitted) => self.admitted(recorded, admitted, at_micros),
            Inference::AttemptFailed(attempt) => {
                if let Some(open) = recorded.context.request_id.and_then(|id| self.open.get_mut(&id)) {
                    let used = attempt.reported.usage.as_ref().filter(|usage| usage.source != UsageSource::Unknown);
                    open.of_failed_calls = open.of_failed_calls.saturating_add(used.map_or(0, tokens_of));
                }
            }
            Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended) => {
                if let Some(open) = recorded.context.request_id.and_then(|id| self.open.remove(&id)) {
                    open.settle(ended);
                }
            }
            Inference::Refused(_) => {}
        }
    }

    fn admitted(&mut self, recorded: &Recorded, admitted: &InferenceAdmitted, at_micros: i64) {
        let tables = self.limiter.parts.tables.load();
        let chain = recorded.context.chain();
        let limits = self.limiter.parts.defaults.applicable_to(&tables, &admitted.scope_subject(&recorded.context));
        if limits.is_empty() {
            return;
        }
        let limits = self.limiter.bind(&chain, limits, &tables);
        let reserved = admitted.rate_limited_tokens.unwrap_or(0);
        let mut counted = Vec::new();
        for binding in limits.all() {
            let mut slot = locked(&binding.slot);
            for (measure, _) in binding.limit.bounds.iter() {
                let amount = if measure.is_of_tokens() { reserved } else { 1 };
                let bucket = slot.count_others(measure, amount, at_micros);
                if let Some(bucket) = bucket.filter(|_| measure.is_of_tokens() && reserved > 0) {
                    counted.push((Arc::clone(&binding.slot), measure, bucket));
                }
            }
        }
        let Some(request) = recorded.context.request_id.filter(|_| !counted.is_empty()) else { return };
        if self.open.len() < OPEN_MAX {
            let open = OpenRequest { admitted_at: recorded.position, reserved, of_failed_calls: 0, counted };
            self.open.insert(request, open);
        }
    }
}

impl OpenRequest {
    /// Replaces the reservation by what the request used, as the node does that admitted it.
    fn settle(self, ended: &InferenceEnded) {
        let used = match &ended.usage {
            Some(usage) if usage.source == UsageSource::Unknown => return,
            Some(usage) => tokens_of(usage),
            None if ended.reason.as_deref() == Some(NODE_LOST) => return,
            None => 0,
        };
        let is = used.saturating_add(self.of_failed_calls);
        for (slot, measure, bucket) in &self.counted {
            locked(slot).correct_others(*measure, *bucket, self.admitted_at, (self.reserved, is));
        }
    }
}

fn tokens_of(usage: &Usage) -> u64 {
    usage.tokens.input().saturating_add(usage.tokens.output())
}

/// Where to begin to read, and whether that is early enough for every window.
async fn begin_after(log: &Log, now: DateTime<Utc>) -> Result<(u64, bool), LogError> {
    let since = TimeDelta::from_std(KEPT_MAX).ok().and_then(|kept| now.checked_sub_signed(kept)).unwrap_or(now);
    let first = log.read(move |reader| reader.first_since(since)).await?.saturating_sub(1);
    let latest = log.head().position.saturating_sub(REPLAYED_MAX);
    Ok((first.max(latest), first >= latest))
}

impl SharedLimiter {
    /// An instant of the log by the monotonic clock: not after now.
    pub(super) fn micros_at(&self, recorded_at: DateTime<Utc>) -> i64 {
        let age = (self.parts.clock.now() - recorded_at).num_microseconds().unwrap_or(i64::MAX).max(0);
        self.now_micros().saturating_sub(age)
    }
}
