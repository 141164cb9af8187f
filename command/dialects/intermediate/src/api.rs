//! The APIs that requests can need of an upstream.

use events::named;

named! {
    /// The operation that a request asks of an upstream. The names are those of OpenTelemetry's conventions for
    /// generative AI.
    pub enum Api {
        Chat = "chat",
        Embeddings = "embeddings",
    }
}
