//! Shared by the benchmarks: a cheap load generator, the processes under measurement, figures and tables. The upstream is
//! [`testing::upstream::prepared`].
//!
//! Load generator and upstream share the cores with what they measure. So both speak HTTP/1.1 over plain sockets, send bytes
//! that were made in advance, and use one thread each.

pub mod admin;
pub mod connection;
pub mod descriptors;
pub mod disk;
pub mod figures;
pub mod fixed_rate;
pub mod gateway;
pub mod load;
pub mod pool;
pub mod postgres;
pub mod process;
pub mod request;
pub mod settings;
pub mod table;
pub mod verdict;
