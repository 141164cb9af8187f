//! HTTP: the server, the door in front of every route, health and `/openapi.json`.

mod by_address;
mod commands_thread;
mod connection_places;
mod connection_requests;
mod connection_threads;
mod connection_watch;
mod cors;
mod door;
mod entrances;
mod grpc_routes;
mod health;
mod open_door;
mod openapi_json;
mod parse_errors;
mod refusal_response;
mod request_line;
mod server;
mod trusted_proxies;
mod unknown_path;
mod write_timeout;

pub use connection_requests::ConnectionRequests;
pub use connection_threads::ConnectionThreads;
pub use cors::{Cors, CorsOrigins};
pub use door::{Door, DoorParts};
pub use grpc_routes::grpc_routes;
pub use health::{Health, routes as health_routes};
pub use open_door::OpenDoor;
pub use openapi_json::{metrics_alone, published};
pub use server::{RequestHandler, Server};
pub use trusted_proxies::TrustedProxies;
