//! The entrance of a route.

/// What a request needs before a route is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entrance {
    /// Nothing; the route answers even while the gateway drains.
    Open,
    /// A valid key.
    Key,
    /// A valid key, and room under the rate limits of administration.
    Administration,
}
