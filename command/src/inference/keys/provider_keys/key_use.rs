//! A node's knowledge of one key besides its row.

use std::sync::Arc;
use std::time::Duration;

use access_control::limits::{BucketNumber, Fits, Shortage, Slot};
use dialects::provider_dialects::KeyBlame;
use events::event::admin::UpstreamKey;
use events::limit::Measure;

use super::choice::Standing;
use super::{KeyRow, ProviderKeys};

/// How long a key is set aside before a request tries it again. Doubles with every such request.
const TRIED_AGAIN_AFTER: Duration = Duration::from_mins(1);
const TRIED_AGAIN_AFTER_MAX: Duration = Duration::from_hours(1);
/// After so many requests in a row for which its provider did not accept it, a key is set aside, if nothing else shows that it
/// is to blame: one request may be to blame itself.
const DOUBTED_REQUESTS_MAX: u32 = 3;
/// How long until another request tries a doubted key again in place of one that is accepted.
const DOUBTED_TRIED_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a key counts as full if nobody knows when one of its requests will end.
const UNTIL_A_REQUEST_ENDS: Duration = Duration::from_secs(1);

/// The counts of a key's limits, and the times that its choice depends on. All times are on the monotonic clock.
#[derive(Debug, Default)]
pub struct KeyUse {
    slot: Slot,
    running: u64,
    short_until: Duration,
    /// The secret that was refused here, until the tables say so.
    refused: Option<u32>,
    /// True while the refusal or the return of the key is being recorded.
    pub is_recording: bool,
    /// Set by requests that the provider did not accept the key for, and that may be to blame; ends with an acceptance.
    doubt: Option<Doubt>,
    /// When the key is tried again; `None` until it is first seen to be set aside.
    tried_again: Option<TriedAgain>,
    /// When the provider accepted it last; `None` also if it was refused since it is set aside.
    pub accepted: Option<Duration>,
}

/// The requests in a row that a provider did not accept a key for.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    generation: u32,
    requests: u32,
    /// Further ones, of which only a sentence says that the key is to blame.
    by_words: u32,
    /// The operator knows that none of the provider's keys is accepted.
    is_told: bool,
    /// When a request may try the key in place of one that is accepted.
    tried_again_at: Duration,
}

#[derive(Clone, Copy, Debug)]
struct TriedAgain {
    at: Duration,
    /// How long to wait after that.
    wait: Duration,
    generation: u32,
}

/// The amounts that a request counts for at the key that it was given.
#[derive(Clone, Copy, Debug)]
pub struct BegunUse {
    /// The tokens that it counts for until its usage is known.
    tokens: Option<(BucketNumber, u64)>,
    was_set_aside: bool,
    /// True if it tries a key again that is set aside.
    tries_again: bool,
}

impl KeyUse {
    pub fn is_set_aside(&self, row: &KeyRow) -> bool {
        row.is_set_aside || self.refused == Some(row.generation)
    }

    pub const fn is_running(&self) -> bool {
        self.running > 0
    }

    pub fn standing(&mut self, row: &KeyRow, now: Duration, wall_seconds: i64) -> Standing {
        let wait = self.wait_for_room(row, now);
        if self.is_set_aside(row) {
            self.doubt = None;
            let is_due = now >= self.tried_again(row, now, wall_seconds).at;
            return wait.map_or(Standing::SetAside { is_due }, Standing::SetAsideAtLimit);
        }
        self.tried_again = None;
        match (wait, self.doubt_of(row.generation)) {
            (Some(wait), _) => Standing::AtLimit(wait),
            (None, _) if now < self.short_until => Standing::Short,
            (None, Some(doubt)) => Standing::Doubted { is_due: now >= doubt.tried_again_at },
            (None, None) => Standing::Open,
        }
    }

    /// When the provider accepted the key last, unless it did not accept it since.
    pub fn accepted_since(&self, row: &KeyRow) -> Option<Duration> {
        self.accepted.filter(|_| self.doubt_of(row.generation).is_none())
    }

    fn doubt_of(&self, generation: u32) -> Option<Doubt> {
        self.doubt.filter(|doubt| doubt.generation == generation)
    }

    /// Counts a request that is sent with the key.
    pub fn begin(&mut self, row: &KeyRow, tokens: u64, now: Duration) -> BegunUse {
        let was_set_aside = self.is_set_aside(row);
        let due = self.tried_again.as_mut().filter(|tried_again| was_set_aside && now >= tried_again.at);
        let tries_again = due.is_some();
        if let Some(tried_again) = due {
            tried_again.at = now.saturating_add(tried_again.wait);
            tried_again.wait = (tried_again.wait * 2).min(TRIED_AGAIN_AFTER_MAX);
        }
        if let Some(doubt) = &mut self.doubt {
            doubt.tried_again_at = now.saturating_add(DOUBTED_TRIED_AGAIN_AFTER);
        }
        self.running += 1;
        self.slot.begin_request();
        let mut counted = None;
        for (measure, _) in row.bounds() {
            let amount = if measure.is_of_tokens() { tokens } else { 1 };
            let bucket = self.slot.count(measure, amount, micros(now));
            if measure.is_of_tokens() {
                counted = bucket.map(|bucket| (bucket, tokens));
            }
        }
        BegunUse { tokens: counted, was_set_aside, tries_again }
    }

    fn end(&mut self, begun: BegunUse, used: u64) {
        self.running = self.running.saturating_sub(1);
        self.slot.end_request();
        if let Some((bucket, was)) = begun.tokens {
            self.slot.correct(Measure::TokensPerMinute, bucket, was, used);
        }
    }

    pub fn short_until(&mut self, until: Duration) {
        self.short_until = self.short_until.max(until);
    }

    /// The provider did not accept this secret for a request that may be to blame itself. True after many in a row with the same
    /// blame.
    pub fn doubt(&mut self, generation: u32, blame: KeyBlame, now: Duration) -> bool {
        let none = Doubt { generation, requests: 0, by_words: 0, is_told: false, tried_again_at: now };
        let mut doubt = self.doubt_of(generation).unwrap_or(none);
        let counted = if blame == KeyBlame::ByWords { &mut doubt.by_words } else { &mut doubt.requests };
        *counted = counted.saturating_add(1);
        let is_often = *counted >= DOUBTED_REQUESTS_MAX;
        self.doubt = Some(doubt);
        is_often
    }

    /// True if the key is neither set aside nor doubted because of a sentence.
    pub fn may_be_accepted(&self, row: &KeyRow) -> bool {
        !self.is_set_aside(row) && self.doubt_of(row.generation).is_none_or(|doubt| doubt.by_words == 0)
    }

    /// True if sentences have refused the key for many requests in a row, and the operator has not been told.
    pub fn is_refused_untold(&self, row: &KeyRow) -> bool {
        let doubt = self.doubt_of(row.generation);
        doubt.is_some_and(|doubt| doubt.by_words >= DOUBTED_REQUESTS_MAX && !doubt.is_told)
    }

    /// The operator is told that none of the provider's keys is accepted.
    pub const fn tell(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.is_told = true;
        }
    }

    /// The provider has accepted the key.
    pub fn was_accepted(&mut self, now: Duration) {
        self.accepted = Some(now);
        self.doubt = None;
    }

    /// The provider does not accept this secret. Returns whether that has to be recorded.
    pub fn refuse(&mut self, generation: u32) -> bool {
        self.refused = Some(generation);
        !std::mem::replace(&mut self.is_recording, true)
    }

    /// The provider accepts the key. Returns whether that has to be recorded.
    pub fn accept(&mut self) -> bool {
        self.refused = None;
        !std::mem::replace(&mut self.is_recording, true)
    }

    /// The recording has ended; with `is_in_tables`, the tables say from here on whether the key is set aside.
    pub fn recorded(&mut self, is_in_tables: bool) {
        self.is_recording = false;
        if is_in_tables {
            self.refused = None;
        }
    }

    /// How long until none of the key's own limits is reached; `None` if none is.
    fn wait_for_room(&mut self, row: &KeyRow, now: Duration) -> Option<Duration> {
        self.slot.advance(micros(now));
        let shortages = row.bounds().filter_map(|(measure, bound)| self.slot.shortage(measure, bound, 1));
        shortages.max().map(|shortage| match shortage {
            Shortage::Window(Fits::After(wait)) => wait,
            Shortage::Concurrency | Shortage::Window(Fits::Never) => UNTIL_A_REQUEST_ENDS,
        })
    }

    /// When a key that is set aside is tried again.
    pub fn tried_again_at(&self, row: &KeyRow, now: Duration, wall_seconds: i64) -> Duration {
        self.known_or_first_try(row, now, wall_seconds).at
    }

    fn tried_again(&mut self, row: &KeyRow, now: Duration, wall_seconds: i64) -> TriedAgain {
        *self.tried_again.insert(self.known_or_first_try(row, now, wall_seconds))
    }

    fn known_or_first_try(&self, row: &KeyRow, now: Duration, wall_seconds: i64) -> TriedAgain {
        let known = self.tried_again.filter(|known| known.generation == row.generation);
        known.unwrap_or_else(|| {
            // It may have been set aside before this process began.
            let since = row.is_set_aside.then(|| wall_seconds.saturating_sub(row.set_aside_seconds));
            let since =
                since.and_then(|seconds| u64::try_from(seconds).ok()).map_or(Duration::ZERO, Duration::from_secs);
            TriedAgain {
                at: now.saturating_add(TRIED_AGAIN_AFTER.saturating_sub(since)),
                wait: TRIED_AGAIN_AFTER * 2,
                generation: row.generation,
            }
        })
    }
}

impl KeyRow {
    fn bounds(&self) -> impl Iterator<Item = (Measure, u64)> {
        self.further.iter().flat_map(|key| key.bounds())
    }
}

fn micros(now: Duration) -> i64 {
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// A request that is sent with a key. It counts as running until this is dropped; tokens that are not settled before that
/// are given back.
pub struct KeyPermit {
    keys: Arc<ProviderKeys>,
    pub key: UpstreamKey,
    pub generation: u32,
    begun: BegunUse,
    used: u64,
}

impl KeyPermit {
    pub(super) fn new(keys: Arc<ProviderKeys>, row: &KeyRow, begun: BegunUse) -> Self {
        Self { keys, key: row.key, generation: row.generation, begun, used: 0 }
    }

    /// True if the key was set aside when it was chosen.
    pub const fn was_set_aside(&self) -> bool {
        self.begun.was_set_aside
    }

    /// True if this request decides whether the key is in use again. Other requests that a key serves although it is set
    /// aside do not: a key that is accepted now and then would leave events without end.
    pub const fn tries_again(&self) -> bool {
        self.begun.tries_again
    }

    /// Counts the tokens that the request has used.
    pub const fn settle(&mut self, tokens: u64) {
        self.used = tokens;
    }

    /// Leaves the estimate, because the usage is unknown.
    pub fn keep_estimate(&mut self) {
        self.used = self.begun.tokens.map_or(0, |(_, tokens)| tokens);
    }
}

impl Drop for KeyPermit {
    fn drop(&mut self) {
        if let Some(key_use) = self.keys.uses().get_mut(&self.key) {
            key_use.end(self.begun, self.used);
        }
    }
}
