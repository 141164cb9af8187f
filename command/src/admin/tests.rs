//! The write side over a real log in a folder of its own.

mod authentication;
mod described;
mod ending;
mod fields;
mod handles;
mod money;
mod names;
mod prices;
mod reach;
mod resources;
mod retries;
mod sealing;
mod setup;

pub mod lab;
