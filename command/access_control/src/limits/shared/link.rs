//! The connection to Redis. Without one, this node counts by its share.

use chrono::{DateTime, Utc};
use events_log::{LimitSharing, LimitSharingSign};
use shared_limits::CounterConnection;
use tokio::sync::watch;

/// Where this node counts.
#[derive(Clone)]
pub enum LinkState {
    /// In Redis.
    Connected(Connection),
    /// Alone.
    Away(Outage),
}

/// A connection to Redis. Cheap to clone; the clones share it.
#[derive(Clone)]
pub struct Connection {
    pub counter: CounterConnection,
    /// States of higher numbers were sent over it.
    pub number: u64,
}

/// Since when this node cannot count in Redis, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub began_at: DateTime<Utc>,
    pub reason: String,
}

pub struct Link {
    state: watch::Sender<LinkState>,
    /// For other nodes.
    sign: LimitSharingSign,
}

struct DisconnectOnDrop<'a>(&'a Link);

impl Drop for DisconnectOnDrop<'_> {
    fn drop(&mut self) {
        self.0.sign.show(LimitSharing::Disconnected);
    }
}

impl Link {
    pub fn new(sign: LimitSharingSign, began_at: DateTime<Utc>) -> Self {
        let outage = Outage { began_at, reason: "this node starts".to_owned() };
        Self { state: watch::Sender::new(LinkState::Away(outage)), sign }
    }

    pub fn connection(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            LinkState::Connected(connection) => Some(connection.clone()),
            LinkState::Away(_) => None,
        }
    }

    /// The number of the connection; `None` without one.
    pub fn number(&self) -> Option<u64> {
        match &*self.state.borrow() {
            LinkState::Connected(connection) => Some(connection.number),
            LinkState::Away(_) => None,
        }
    }

    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    pub fn connect(&self, connection: Connection) {
        self.state.send_replace(LinkState::Connected(connection));
    }

    /// This node has not reached Redis at its start.
    pub fn begin_away(&self, outage: Outage) {
        self.state.send_replace(LinkState::Away(outage));
    }

    /// The connection of this number is of no use any more. Returns false if that was known.
    pub fn disconnect(&self, number: u64, outage: Outage) -> bool {
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, LinkState::Connected(connection) if connection.number == number);
            if is_this {
                *state = LinkState::Away(outage);
                self.sign.show(LimitSharing::Disconnected);
            }
            is_this
        })
    }

    /// Tells other nodes that this one serves.
    pub fn end_start(&self) {
        let is_connected = self.number().is_some();
        self.sign.show(if is_connected { LimitSharing::Connected } else { LimitSharing::Unreached });
    }

    pub fn show_connected(&self) {
        if self.number().is_some() {
            self.sign.show(LimitSharing::Connected);
        }
    }

    /// Tells other nodes, once this is dropped, that this one no longer asks Redis anything.
    pub const fn disconnect_on_drop(&self) -> impl Drop {
        DisconnectOnDrop(self)
    }
}
