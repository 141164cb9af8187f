//! Nodes as the tests use them.

use shared_limits::{CountReply, CounterConnection, LimitCall, LimitState, RedisAddress};
use testing::redis::RedisServer;
use tokio::runtime::Runtime;

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
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

    /// Counts by what Redis has of the node; where it has nothing, by an empty state of number 1.
    pub async fn count(&self, group: &str, limits: &[LimitCall]) -> CountReply {
        let of = |limit: &LimitCall| LimitCall { number: 1, state: Some(LimitState::default()), ..limit.clone() };
        self.call(group, &limits.iter().map(of).collect::<Vec<_>>()).await
    }

    pub async fn call(&self, group: &str, limits: &[LimitCall]) -> CountReply {
        self.0.count(group, limits).await.expect("an answer")
    }
}
