//! The keys that one request has been sent with.

use std::sync::Arc;
use std::time::Duration;

use dialects::provider_dialects::{KeyBlame, shortage};
use events::event::admin::{Provider, SetAsideReason, UpstreamKey};
use events::ids::ProviderKeyId;
use events::time::Clock;
use http::HeaderMap;
use secrets::Secret;

use super::super::access_tokens::KeyGeneration;
use super::{Choice, Choosable, KeyPermit, KeyRow, ProviderKeys};

/// The most other keys that a request goes on with, at all its targets together.
const OTHER_KEYS_MAX: u32 = 2;
/// The most after a failure that the request itself may have caused.
const OTHER_KEYS_MAX_AFTER_OTHER: u32 = 1;

/// The keys that one request has been sent with.
pub struct KeyAttempts {
    /// Those at one provider; `None` for providers without provider keys.
    at_provider: Option<Box<Attempts>>,
    /// How many other keys it may still go on with.
    others_left: u32,
}

struct Attempts {
    keys: Arc<ProviderKeys>,
    provider: Arc<Provider>,
    /// The keys of the last choice.
    rows: Vec<KeyRow>,
    tried: Vec<UpstreamKey>,
    /// The secrets that the provider has seen, and may repeat.
    sent: Vec<Secret>,
    permit: Option<KeyPermit>,
    /// The keys that the target did not accept, and for which the request may be to blame.
    not_accepted: Vec<NotAccepted>,
    /// Every such key of any target: a request counts once for each.
    doubted: Vec<UpstreamKey>,
    /// One of the tried keys was set aside.
    has_tried_set_aside: bool,
    /// The last key has reached a limit at the provider.
    is_limited: bool,
}

/// A key that was not accepted.
pub struct NotAccepted {
    pub key: UpstreamKey,
    pub generation: u32,
    pub reason: SetAsideReason,
    pub status: u16,
}

/// A failure that may not befall another key of the same provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFailure {
    /// The provider does not accept the key.
    NotAccepted {
        reason: SetAsideReason,
        status: u16,
        /// If it is not certain, the key is to blame if another key serves the same request; if it is likely, also if the key is
        /// not accepted for several requests in a row.
        blame: KeyBlame,
    },
    /// The key has reached a limit at the provider, for this time.
    Limited(Duration),
    /// The key lacks a permission, or cannot authenticate a request; or the request itself is to blame.
    Other,
}

/// The next step after a call has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextKey {
    /// Call again at once: another key may be accepted.
    Another,
    /// All other keys have reached a limit of their own: the first has room again after this time.
    AtLimit(Duration),
    /// The failure has nothing to do with the key, or there is no other.
    None,
}

impl KeyAttempts {
    /// Those of a client's request. It may be one that fails with any key, so it goes on with few.
    pub const fn new() -> Self {
        Self { at_provider: None, others_left: OTHER_KEYS_MAX }
    }

    /// Chooses one of these keys that has not been tried for this request.
    pub fn choose(
        &mut self,
        keys: &Arc<ProviderKeys>,
        provider: &Arc<Provider>,
        rows: Vec<KeyRow>,
        tokens: u64,
    ) -> Result<KeyGeneration, Choice> {
        let id = provider.provider_id;
        let mut attempts = match self.at_provider.take() {
            Some(attempts) if attempts.provider.provider_id == id => attempts,
            before => Box::new(Attempts {
                keys: Arc::clone(keys),
                provider: Arc::clone(provider),
                rows: Vec::new(),
                tried: Vec::new(),
                sent: Vec::new(),
                permit: None,
                not_accepted: Vec::new(),
                doubted: before.map_or_else(Vec::new, |before| before.doubted),
                has_tried_set_aside: false,
                is_limited: false,
            }),
        };
        // The call before this one no longer counts as running.
        attempts.permit = None;
        attempts.rows = rows;
        let permit = keys.acquire(&attempts.untried(), attempts.choosable(), tokens);
        let attempts = self.at_provider.insert(attempts);
        let permit = permit?;
        let chosen = KeyGeneration { key: permit.key, generation: permit.generation };
        attempts.tried.push(permit.key);
        attempts.has_tried_set_aside |= permit.was_set_aside();
        attempts.permit = Some(permit);
        Ok(chosen)
    }

    /// Gives the chosen key back: it was not sent, and may be chosen again.
    pub fn give_back(&mut self) {
        if let Some(attempts) = &mut self.at_provider {
            attempts.permit = None;
            attempts.tried.pop();
        }
    }

    /// Remembers the secret of the chosen key; returns those that were sent before.
    pub fn send(&mut self, secret: &Secret) -> Vec<Secret> {
        let Some(attempts) = &mut self.at_provider else { return Vec::new() };
        let before = attempts.sent.clone();
        attempts.sent.push(secret.clone());
        before
    }

    /// Begins another target, which may be one of the same provider: any of its keys may be used again. It may have another
    /// model, so that it proves nothing about keys that failed before.
    pub fn begin_target(&mut self) {
        if let Some(attempts) = &mut self.at_provider {
            attempts.not_accepted.clear();
            self.again();
        }
    }

    /// Allows the same keys for another call: the failure of the last one had nothing to do with its key.
    pub fn again(&mut self) {
        if let Some(attempts) = &mut self.at_provider {
            attempts.tried.clear();
            attempts.permit = None;
            (attempts.has_tried_set_aside, attempts.is_limited) = (false, false);
        }
    }

    /// The provider key of the last call; `None` for a provider's own key.
    pub fn provider_key_id(&self) -> Option<ProviderKeyId> {
        self.permit()?.key.provider_key_id()
    }

    /// The key of the last call, of a provider that has several.
    pub fn key(&self) -> Option<UpstreamKey> {
        Some(self.permit()?.key)
    }

    /// Learns from the head of a response what is left of the key's limits, and whether the provider accepts the key.
    pub fn answered(&mut self, headers: &HeaderMap, is_success: bool, clock: &dyn Clock) {
        let Some(attempts) = &mut self.at_provider else { return };
        let Some(permit) = &attempts.permit else { return };
        if let Some(lasts) = shortage(headers, clock.now()) {
            attempts.keys.is_short(permit.key, lasts);
        }
        if !is_success {
            return;
        }
        attempts.keys.was_accepted(permit.key);
        if permit.tries_again() {
            attempts.keys.accepted(&attempts.provider, permit.key, permit.generation);
        }
        // Another key serves the same request: it is not to blame.
        for one in attempts.not_accepted.drain(..) {
            if one.key != permit.key {
                attempts.keys.refused(&attempts.provider, &one);
            }
        }
    }

    /// Learns from a failed call what it says about the key, and says whether another key may help.
    pub fn failed(&mut self, failure: Option<KeyFailure>) -> NextKey {
        let Some(attempts) = &mut self.at_provider else { return NextKey::None };
        let (Some(permit), Some(key_failure)) = (attempts.permit.take(), failure) else { return NextKey::None };
        let keys = Arc::clone(&attempts.keys);
        match key_failure {
            KeyFailure::NotAccepted { reason, status, blame } => {
                let failed = NotAccepted { key: permit.key, generation: permit.generation, reason, status };
                if permit.was_set_aside() {
                    keys.was_refused_again(permit.key);
                }
                if blame == KeyBlame::Certain {
                    keys.refused(&attempts.provider, &failed);
                } else if !permit.was_set_aside() {
                    attempts.doubt(failed, blame);
                }
            }
            KeyFailure::Limited(lasts) => keys.is_short(permit.key, lasts),
            KeyFailure::Other => {}
        }
        attempts.is_limited = matches!(key_failure, KeyFailure::Limited(_));
        drop(permit);
        if key_failure == KeyFailure::Other {
            self.others_left = OTHER_KEYS_MAX_AFTER_OTHER.min(self.others_left);
        }
        match keys.outlook(&attempts.untried(), attempts.choosable()) {
            _ if self.others_left == 0 => NextKey::None,
            Choice::Key(_) => {
                self.others_left = self.others_left.saturating_sub(1);
                NextKey::Another
            }
            Choice::AtLimit(wait) => NextKey::AtLimit(wait),
            Choice::None => NextKey::None,
        }
    }

    /// Counts the tokens that the request has used with its last key; `None` if that is unknown.
    pub fn settle(&mut self, tokens: Option<u64>) {
        let Some(permit) = self.at_provider.as_mut().and_then(|attempts| attempts.permit.as_mut()) else { return };
        match tokens {
            Some(tokens) => permit.settle(tokens),
            None => permit.keep_estimate(),
        }
    }

    fn permit(&self) -> Option<&KeyPermit> {
        self.at_provider.as_ref()?.permit.as_ref()
    }
}

impl Attempts {
    const fn choosable(&self) -> Choosable {
        match (self.is_limited, self.has_tried_set_aside) {
            (true, _) => Choosable::Open,
            (false, true) => Choosable::InUse,
            (false, false) if self.tried.is_empty() => Choosable::All,
            (false, false) => Choosable::Other,
        }
    }

    /// The key was not accepted, and the request may be to blame. It counts once for each key, however often it is sent.
    fn doubt(&mut self, failed: NotAccepted, blame: KeyBlame) {
        if !self.doubted.contains(&failed.key) {
            self.doubted.push(failed.key);
            let is_often = self.keys.doubt(failed.key, failed.generation, blame);
            if is_often && blame == KeyBlame::Likely {
                self.keys.refused(&self.provider, &failed);
            } else if is_often && self.keys.finds_none_accepted(&self.rows) {
                self.keys.announce_none_accepted(&self.provider, &failed);
            }
        }
        self.not_accepted.push(failed);
    }

    fn untried(&self) -> Vec<KeyRow> {
        self.rows.iter().filter(|row| !self.tried.contains(&row.key)).cloned().collect()
    }
}
