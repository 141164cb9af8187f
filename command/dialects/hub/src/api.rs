//! The APIs that requests can need of an upstream.

use events::named;

named! {
    /// What a request asks an upstream to do. The names are those of OpenTelemetry's conventions for generative AI.
    pub enum Api {
        Chat = "chat",
        Embeddings = "embeddings",
    }
}
