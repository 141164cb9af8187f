//! Peers that do not keep to the rules: slow, many, malformed, gone in the middle. They cost themselves their connection,
//! nobody else anything, and what was admitted of theirs ends once.

mod answer_memory;
mod body_memory;
mod crowd;
mod late_bodies;
mod leaving;
mod malformed;
mod many_tenants;
mod names;
mod request_bytes;
mod resets;
mod silent_places;
mod slow;
mod slow_commands;
