//! The strategy that the request's tenant has chosen, which takes the place of this one. Where the tenant has chosen none, the order is that
//! of `priority`.

pub use super::priority::{MEASURED, WHAT, arrange, rate};
