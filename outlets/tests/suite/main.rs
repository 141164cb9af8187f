//! The driver of outlets, with outlets that write nowhere.

mod driver;
mod remembered_follower;
mod world;
