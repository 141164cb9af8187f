//! The connection to Redis, and what has become of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use events::log::{LimitSharing, LimitSharingSign};
use shared_limits::CounterConnection;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// The failure of a Redis that has lost data.
pub const LOST: &str = "Redis has lost its counts";

/// Where a node is on the way back, in a local period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Redis is away, or is not told of anything.
    Away,
    /// In this turn, whatever the node admits is put into Redis before it is admitted.
    Putting { turn: u64 },
}

/// Why a turn cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFailure {
    pub turn: u64,
    pub reason: String,
}

struct DisconnectOnDrop<'a>(&'a Link);

impl Drop for DisconnectOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set_connection(None);
    }
}

pub struct Link {
    connection: watch::Sender<Option<CounterConnection>>,
    /// For other nodes.
    sign: LimitSharingSign,
    /// Whether there ever was a connection.
    was_connected: AtomicBool,
    phase: watch::Sender<Phase>,
    failure: Mutex<Option<LinkFailure>>,
    failed: Notify,
}

impl Link {
    pub fn new(sign: LimitSharingSign) -> Self {
        Self {
            connection: watch::Sender::new(None),
            sign,
            was_connected: AtomicBool::new(false),
            phase: watch::Sender::new(Phase::Away),
            failure: Mutex::new(None),
            failed: Notify::new(),
        }
    }

    pub fn connection(&self) -> Option<CounterConnection> {
        self.connection.borrow().clone()
    }

    /// Waits until there is a connection.
    pub async fn connected(&self) {
        // The sender lives as long as `self`, so that waiting cannot fail.
        let _ = self.connection.subscribe().wait_for(Option::is_some).await;
    }

    /// Other nodes are told of the end of a connection, and of a new one only by [`show_connected`](Self::show_connected).
    pub fn set_connection(&self, connection: Option<CounterConnection>) {
        let is_connected = connection.is_some();
        self.connection.send_replace(connection);
        if is_connected {
            self.was_connected.store(true, Ordering::Relaxed);
        } else if self.was_connected.load(Ordering::Relaxed) {
            self.sign.show(LimitSharing::Disconnected);
        }
    }

    /// Tells other nodes that this one is connected, if it is. Redis must have answered at the speed of requests: a connection
    /// alone may be of no use.
    pub fn show_connected(&self) {
        if self.connection().is_some() {
            self.sign.show(LimitSharing::Connected);
        }
    }

    /// Tells other nodes that this one has begun to serve. A connection of its start may have broken since.
    pub async fn end_start(&self) {
        match self.connection() {
            None => self.sign.show(LimitSharing::Unreached),
            Some(connection) if connection.check().await.is_ok() => self.sign.show(LimitSharing::Connected),
            // The conductor makes another one.
            Some(_) => self.set_connection(None),
        }
    }

    /// Tells other nodes, once this is dropped, that this one no longer asks Redis anything.
    pub const fn disconnect_on_drop(&self) -> impl Drop {
        DisconnectOnDrop(self)
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Says that Redis has failed in a turn. The first reason counts.
    pub fn fail(&self, failure: LinkFailure) {
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.turn < failure.turn) {
            *known = Some(failure);
        }
        drop(known);
        self.failed.notify_one();
    }

    /// The failure of this turn, if there was one; it is forgotten.
    pub fn take_failure(&self, turn: u64) -> Option<LinkFailure> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take_if(|known| known.turn == turn)
    }

    /// Waits for a failure of this turn, at most so long.
    pub async fn failure(&self, turn: u64, wait: Duration) -> Option<LinkFailure> {
        let failed = async {
            loop {
                if let Some(failure) = self.take_failure(turn) {
                    return failure;
                }
                self.failed.notified().await;
            }
        };
        timeout(wait, failed).await.ok()
    }
}
