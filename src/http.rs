//! Listening, the door in front of every route, and how the gateway is asked how it is.

mod connection_limit;
mod connection_watch;
mod cors;
mod door;
mod entrances;
mod health;
mod line_end;
mod openapi_json;
mod server;
mod unknown_path;
mod unread;
mod wording;
mod write_timeout;

pub use cors::CorsOrigins;
pub use door::{Door, DoorParts};
pub use health::{Health, routes as health_routes};
pub use openapi_json::{published, unpublished};
pub use server::Server;
