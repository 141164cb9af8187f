//! What the measurements of the gateway share: a load generator that costs little, the processes under measurement,
//! and tables to paste. The upstream is [`testing::upstream::prepared`].
//!
//! Load and upstream run beside what is measured, on the same cores. So both speak HTTP/1.1 over plain sockets, send
//! bytes that were made beforehand, and take a thread each.

pub mod admin;
pub mod connection;
pub mod descriptors;
pub mod disk;
pub mod figures;
pub mod gateway;
pub mod load;
pub mod pool;
pub mod process;
pub mod request;
pub mod settings;
pub mod table;
pub mod verdict;
