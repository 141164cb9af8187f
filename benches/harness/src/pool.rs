//! Connections that are kept, for requests that come when they come.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use crate::connection::Connection;

pub struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::new(Vec::new()) }
    }

    /// The one that was used last, or else a new one.
    pub async fn take(&self) -> io::Result<Connection> {
        match self.kept() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.address).await,
        }
    }

    /// For one whose last answer was whole.
    pub fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// A server closes what was idle for long.
    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Connection::is_open)
    }
}
