//! Nodes as the tests use them.

use std::sync::atomic::{AtomicU64, Ordering};

use shared_limits::{CountReply, CounterConnection, LimitCall, LimitState, NodeState, PutReply, RedisAddress};
use testing::redis::RedisServer;
use tokio::runtime::Runtime;

static MARKERS: AtomicU64 = AtomicU64::new(0);

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// What a node says of itself, with defaults for all that a test does not care for.
pub fn state<'a>(group: &'a str, marker: &'a str, turn: u64) -> NodeState<'a> {
    NodeState {
        group,
        turn,
        marker: Some(marker).filter(|marker| !marker.is_empty()),
        new_marker: "",
        has_running: false,
    }
}

pub struct Node(CounterConnection);

impl Node {
    pub async fn open(server: &RedisServer, name: &str) -> Self {
        Self::at(&server.url(), name).await
    }

    pub async fn at(url: &str, name: &str) -> Self {
        let address: RedisAddress = url.parse().expect("an address");
        Self(CounterConnection::open(&address, name).await.expect("a connection"))
    }

    pub const fn connection(&self) -> &CounterConnection {
        &self.0
    }

    /// Counts in turn 1, whatever marker the group has.
    pub async fn count(&self, group: &str, limits: &[LimitCall]) -> CountReply {
        self.count_as(state(group, "", 1), limits).await
    }

    pub async fn count_as(&self, state: NodeState<'_>, limits: &[LimitCall]) -> CountReply {
        let new_marker = new_marker();
        self.0.count(&NodeState { new_marker: &new_marker, ..state }, limits).await.expect("an answer")
    }

    pub async fn put_as(&self, state: NodeState<'_>, limits: &[LimitState]) -> PutReply {
        let new_marker = new_marker();
        self.0.put(&NodeState { new_marker: &new_marker, ..state }, limits).await.expect("an answer")
    }
}

fn new_marker() -> String {
    format!("marker-{}", MARKERS.fetch_add(1, Ordering::Relaxed))
}
