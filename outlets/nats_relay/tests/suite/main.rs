//! The relay against real NATS servers: whatever happens to it, to them and to the stream, the stream is a copy of the log up to its
//! end, or the relay says why not.

mod bad_servers;
mod copies;
mod foreign;
mod kills;
mod limits;
mod logged;
mod removed;
mod several;
mod stored;
mod world;
