
pub mod limits;
pub mod upstream;
pub mod access;
pub mod admin;
pub mod auth;
pub mod error;
pub mod secrets;
