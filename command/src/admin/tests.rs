//! Tests of the write side over a real log in a temporary folder.

mod aggregates;
mod apply;
mod authentication;
mod described;
mod ending;
mod fields;
mod handles;
mod money;
mod names;
mod own_providers;
mod prices;
mod reach;
mod resources;
mod retries;
mod sealing;
mod setup;

pub mod lab;

use serde_json::Value;

use super::administered::Administered;
use super::fields::Fields;
use super::lifecycle::Command;

/// The command that the body of a change leads to.
pub fn change<R: Administered>(body: &Value) -> Command<R> {
    let fields = Fields::of_body(body.to_string().as_bytes()).unwrap();
    Command::Change(R::DECLARATION.members.read_change(fields).unwrap())
}
