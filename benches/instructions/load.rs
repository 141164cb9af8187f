//! The loads that are counted: each a kind of request, by a governed key or a free one, over so many connections.

use std::net::SocketAddr;
use std::time::Duration;

use harness::connection::Expected;
use harness::load::Workload;
use harness::request;
use testing::upstream::prepared::{BURST_TOKENS, model};

const WHOLE_ENDS_WITH: &str = r#""completion_tokens":9,"total_tokens":21}}"#;
const WARM_UP: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Streams of 16 tokens; otherwise whole answers of nine words.
    pub is_streamed: bool,
    /// True for requests by a key with four budgets and a rate limit; otherwise they are by a key that nothing binds.
    pub is_governed: bool,
    pub connections: usize,
}

/// The secrets of the two keys.
pub struct Keys {
    pub governed: String,
    pub free: String,
}

impl Load {
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds = [(false, true), (false, false), (true, true), (true, false)];
        kinds.into_iter().flat_map(|(is_streamed, is_governed)| {
            [1, 32].map(|connections| Self { is_streamed, is_governed, connections })
        })
    }

    pub fn name(&self) -> String {
        let kind = if self.is_streamed { "stream" } else { "whole" };
        let key = if self.is_governed { "governed" } else { "free" };
        format!("{kind} {key} {}", self.connections)
    }

    pub fn workload(&self, address: SocketAddr, keys: &Keys) -> Workload {
        let secret = if self.is_governed { &keys.governed } else { &keys.free };
        let (request, expected) = if self.is_streamed {
            let tokens = usize::try_from(BURST_TOKENS).unwrap_or(usize::MAX);
            (request::stream(model::BURST, BURST_TOKENS, secret), Expected::Stream { tokens })
        } else {
            (request::whole(secret), Expected::Whole { ending: WHOLE_ENDS_WITH })
        };
        Workload { address, request: request.into(), expected, warm_up: WARM_UP, ramp_up: Duration::ZERO }
    }
}
