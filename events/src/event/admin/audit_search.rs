//! Named filters of the audit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::Shown;
use crate::ids::{AuditSearchId, TenantId};

/// A named filter of the audit. It widens nothing: whoever uses it finds what is within reach anyway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditSearch {
    pub audit_search_id: AuditSearchId,
    pub name: String,
    /// The tenant whose auditors see it; absent for those of the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Filters by the names of the audit's parameters, each with the text that the parameter would have. A version that does
    /// not know one of them refuses the search instead of leaving the filter out.
    pub filter: BTreeMap<String, String>,
}

impl AuditSearch {
    /// A search of the platform's.
    pub fn new(audit_search_id: AuditSearchId, name: impl Into<String>, filter: BTreeMap<String, String>) -> Self {
        Self { audit_search_id, name: name.into(), tenant_id: None, filter }
    }
}

impl Shown for AuditSearch {
    const NULLABLE: &'static [&'static str] = &["tenant_id"];
}
