//! What lets a request in to a route.

/// What a request has to have to be let in to a route, and what may keep it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entrance {
    /// Nobody needs a key, and it answers while the gateway drains.
    Open,
    Key,
    /// A key, and room under the limits of administration.
    Administration,
}
