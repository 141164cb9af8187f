//! Projections of the log: the in-memory tables that requests are served from, and the views that queries read. Both are
//! disposable, and neither decides about money.

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
