//! Projections of the log: the in-memory tables that requests are served from, and the views that queries read. Both are
//! disposable, and neither decides about money.
//!
//! - `tables`: keys, routes, prices and limits in memory. `views`: what queries read.
//! - `caller`, `reach`, `model_globs`: the caller of a request, roles, and how far a key reaches. `visible`: what a caller
//!   may see of the views.
//! - `resource`: the JSON of a resource, for replies and lists, made from the state that its events carry.
//! - `last_use`: when keys were last used, in memory. `figures`: metrics that are counted from the log, off the request path.

mod background_task;
pub mod caller;
pub mod figures;
pub mod last_use;
pub mod model_globs;
pub mod parameter_text;
pub mod reach;
pub mod resource;
pub mod tables;
pub mod views;
pub mod visible;

pub use background_task::BackgroundTask;
