//! The imports that the files of the resources share.

pub use std::sync::LazyLock;

pub use events::event::{Chain, ResourceState};
pub use events_log::SideRow;
pub use openapi::schema;
pub use projections::tables::Tables;
pub use serde_json::{Map, Value, json};

pub(super) use super::NAME_LEN_MAX;
pub(super) use super::labels::labels;
pub use crate::admin::admin_context::AdminContext;
pub use crate::admin::administered::{Administered, CommandPlan, PlanResult};
pub use crate::admin::declaration::{
    Declaration, Member, Members, defaulting, in_some_replies, optional, replied, required,
};
pub use crate::admin::error::CommandError;
pub use crate::admin::field_type::{FieldType, amount, boolean, id, one_of, prose, text, text_that, time, whole};
pub use crate::admin::field_values::FieldValues;
pub use crate::admin::fields::{Field, FieldError};
pub use crate::admin::lifecycle::{Command, RuleError, Rules};
pub use crate::admin::names::{claim, claim_among, release};
