//! The call that a request makes at a target. A request that goes on with its hedge exchanges this as a whole.

use std::sync::Arc;
use std::time::Instant;

use dialects::{ClientRequest, Ignored, Metered, Relay};
use events::event::inference::{Backend, Payer};
use events::money::NanoUsd;
use http::{HeaderName, HeaderValue};
use provider_client::Transmission;

use crate::inference::call_observers::CallObservers;
use crate::inference::provider_keys::KeyAttempts;
use crate::inference::target::PlannedTarget;

/// The call under way, or the last one; before the first, none.
pub struct CallUnderWay {
    /// Its number among the calls of the request, from 1; 0 if it is none.
    pub(super) number: u32,
    /// The most that it can cost, if the hold is for two.
    pub cost_bound: Option<NanoUsd>,
    /// The keys that the request has been sent with, if the target's provider has several.
    pub keys: KeyAttempts,
    /// Its target; `None` once the call has ended.
    pub(super) target: Option<Arc<PlannedTarget>>,
    /// Told of its end.
    pub observers: CallObservers,
    /// Says whether the target may have seen the request.
    pub transmission: Transmission,
    pub(super) began: Instant,
    /// The client's headers that go on to the target.
    pub forwarded_headers: Vec<(HeaderName, HeaderValue)>,
    /// The header that tells the client which features the body leaves out; `None` if none.
    pub ignored: Option<HeaderValue>,
    /// The backend of the target; stays when the call has ended.
    pub(super) backend: Option<Backend>,
    /// The payer of that backend.
    pub(super) payer: Option<Payer>,
    pub(super) upstream_request_id: Option<String>,
    pub(super) first_token_ms: Option<u64>,
    /// The stream that is being relayed.
    pub relay: Option<Relay>,
    /// The usage metered from a whole answer that turned out to be an error, or too large.
    pub(super) failed_answer: Option<Box<Metered>>,
}

impl CallUnderWay {
    /// No call yet.
    pub(super) fn none() -> Self {
        Self {
            number: 0,
            cost_bound: None,
            keys: KeyAttempts::new(),
            target: None,
            observers: CallObservers::default(),
            transmission: Transmission::default(),
            began: Instant::now(),
            forwarded_headers: Vec::new(),
            ignored: None,
            backend: None,
            payer: None,
            upstream_request_id: None,
            first_token_ms: None,
            relay: None,
            failed_answer: None,
        }
    }

    /// Begins the next call: sets what is known of it now. The keys, the bound and the observers have owners of their own, and what an answer
    /// has brought is taken when its call ends.
    pub(super) fn begin(
        &mut self,
        number: u32,
        began: Instant,
        target: &Arc<PlannedTarget>,
        request: &ClientRequest,
        ignored: &Ignored,
    ) {
        self.number = number;
        self.began = began;
        self.target = Some(Arc::clone(target));
        self.transmission = Transmission::default();
        self.forwarded_headers = request.headers_for(target.kind).to_vec();
        self.ignored = ignored.in_words_of(request.surface()).and_then(|names| HeaderValue::try_from(names).ok());
        self.backend = Some(target.backend.clone());
        self.payer = Some(Payer::of(&target.provider));
        self.upstream_request_id = None;
    }

    /// The target, with the key that it was called with.
    pub(super) fn backend_of(&self, target: &PlannedTarget) -> Backend {
        Backend { provider_key_id: self.keys.provider_key_id(), ..target.backend.clone() }
    }
}
