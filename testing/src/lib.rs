//! Shared by tests and benches: upstreams to put behind the gateway, connections to put in front of it,
//! PostgreSQL, NATS, Redis, S3 and name servers, databases, a proxy that disturbs connections, and hostile tenants.
//!
//! Nothing that is shipped depends on this crate. Clients and upstreams that speak HTTP/1.1 as bytes read it with [`http1`].
//! Assertions about responses belong to the tests.

pub mod blocking;
pub mod event_stream;
pub mod hostile_tenants;
pub mod http1;
pub mod name_server;
pub mod nats;
pub mod postgres;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod refusing_postgres;
pub mod request;
pub mod s3;
pub mod silencing_proxy;
pub mod syslog;
pub mod upstream;
pub mod wire;
