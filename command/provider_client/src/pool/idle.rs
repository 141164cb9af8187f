//! Idle HTTP/1.1 connections, by the runtime that watches their sockets; each connection thread of the server has one runtime. A
//! request takes a connection of its own runtime, so that what arrives for it wakes no other thread. If there is none, it
//! takes one of another runtime, which then moves to its own: a new one would cost the upstream more.

use std::collections::VecDeque;

use tokio::runtime;
use tokio::time::Instant;

use super::http1::Http1Connection;
use crate::{IDLE_CONNECTION_MAX, IDLE_CONNECTIONS_MAX};

/// A connection that was ready for a request when it became idle.
pub struct IdleConnection {
    pub connection: Http1Connection,
    pub since: Instant,
}

/// The idle connections of one runtime, the most recently used one last.
struct RuntimeConnections {
    runtime: runtime::Id,
    idle: VecDeque<IdleConnection>,
}

/// All idle connections of a pool. There are as many runtimes as cores, so each operation looks at few lists.
#[derive(Default)]
pub struct IdleConnections(Vec<RuntimeConnections>);

impl IdleConnections {
    /// Takes the most recently used connection of a runtime; if it has none, the most recently used one of all.
    pub fn take(&mut self, runtime: Option<runtime::Id>) -> Option<Http1Connection> {
        let own = self.0.iter_mut().find(|list| Some(list.runtime) == runtime);
        own.and_then(RuntimeConnections::take).or_else(|| self.list_used_last()?.take())
    }

    fn list_used_last(&mut self) -> Option<&mut RuntimeConnections> {
        self.0.iter_mut().max_by_key(|list| list.idle.back().map(|idle| idle.since))
    }

    /// Keeps a connection. Returns the surplus to close.
    pub fn keep(&mut self, connection: Http1Connection) -> Option<IdleConnection> {
        let idle = IdleConnection { connection, since: Instant::now() };
        self.list_of(&idle).idle.push_back(idle);
        if self.len() > IDLE_CONNECTIONS_MAX { self.take_oldest() } else { None }
    }

    /// Takes out the one that has been idle longest.
    pub fn take_oldest(&mut self) -> Option<IdleConnection> {
        self.oldest_list()?.idle.pop_front()
    }

    fn list_of(&mut self, idle: &IdleConnection) -> &mut RuntimeConnections {
        let runtime = idle.connection.runtime();
        let index = self.0.iter().position(|list| list.runtime == runtime).unwrap_or_else(|| {
            self.0.push(RuntimeConnections { runtime, idle: VecDeque::new() });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn oldest_list(&mut self) -> Option<&mut RuntimeConnections> {
        let lists = self.0.iter_mut().filter(|list| !list.idle.is_empty());
        lists.min_by_key(|list| list.idle.front().map(|idle| idle.since))
    }

    /// Takes out those that were idle for too long.
    pub fn take_old(&mut self, is_old: impl Fn(Instant) -> bool) -> Vec<IdleConnection> {
        let mut old = Vec::new();
        for list in &mut self.0 {
            let count = list.idle.iter().take_while(|idle| is_old(idle.since)).count();
            old.extend(list.idle.drain(..count));
        }
        old
    }

    /// Takes out the connection at this index: runtime by runtime, the longest idle ones first.
    pub fn take_at(&mut self, mut index: usize) -> Option<IdleConnection> {
        for list in &mut self.0 {
            if index < list.idle.len() {
                return list.idle.remove(index);
            }
            index -= list.idle.len();
        }
        None
    }

    /// Puts it back at its place: others may have been taken and given back meanwhile.
    pub fn put_back(&mut self, idle: IdleConnection) {
        let list = &mut self.list_of(&idle).idle;
        list.insert(list.partition_point(|other| other.since <= idle.since), idle);
    }

    pub fn oldest_since(&self) -> Option<Instant> {
        self.0.iter().filter_map(|list| list.idle.front()).map(|idle| idle.since).min()
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|list| list.idle.is_empty())
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(|list| list.idle.len()).sum()
    }
}

impl RuntimeConnections {
    fn take(&mut self) -> Option<Http1Connection> {
        let IdleConnection { connection, .. } =
            self.idle.pop_back_if(|idle| idle.since.elapsed() < IDLE_CONNECTION_MAX)?;
        Some(connection)
    }
}
