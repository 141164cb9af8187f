//! The entrance of a route.

/// The conditions for a request before a route is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entrance {
    /// Nothing; the route answers even while the gateway drains.
    Open,
    /// A valid key.
    Key,
    /// A valid key, and room under the rate limits of administration.
    Administration,
}
