//! A pool of keep-alive connections, for requests that are sent at any time.

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

    /// The connection that was used last, or a new one.
    pub async fn take(&self) -> io::Result<Connection> {
        match self.idle() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.address).await,
        }
    }

    /// Returns a connection whose last response was read to its end.
    pub fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// An open idle connection: the server may have closed some of them.
    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Connection::is_open)
    }
}
