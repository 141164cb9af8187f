//! Users, and the roles that they have.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Handles, Labels};
use crate::event::Shown;
use crate::ids::{PartnerId, TenantId, UserId};
use crate::named;

/// A user. Name and e-mail are in the erasable side table; here are their digests, salted per user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub user_id: UserId,
    pub tenant_id: TenantId,
    pub roles: Vec<RoleGrant>,
    /// SHA-256 of salt and name, in hex.
    pub name_digest: String,
    /// SHA-256 of salt and e-mail, in hex; absent if no e-mail was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_digest: Option<String>,
    #[serde(flatten)]
    pub handles: Handles,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl User {
    /// A user without roles and without an e-mail.
    pub fn new(user_id: UserId, tenant_id: TenantId, name_digest: impl Into<String>) -> Self {
        let (name_digest, handles) = (name_digest.into(), Handles::default());
        let labels = Labels::none();
        Self { user_id, tenant_id, roles: Vec::new(), name_digest, email_digest: None, handles, labels }
    }
}

impl Shown for User {
    const HIDDEN: &'static [&'static str] = &["name_digest", "email_digest"];

    fn left_out() -> Value {
        json!({ "name": null, "email": null, "slug": null, "external_id": null, "labels": {} })
    }
}

named! {
    #[derive(PartialOrd, Ord)]
    pub enum UserRole {
        PartnerAdmin = "partner_admin",
        TenantAdmin = "tenant_admin",
        Auditor = "auditor",
        Analyst = "analyst",
        Member = "member",
    }
}

/// The reach of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reach {
    #[serde(rename = "platform")]
    Platform,
    #[serde(rename = "partner_id")]
    Partner(PartnerId),
    #[serde(rename = "tenant_id")]
    Tenant(TenantId),
}

/// A role and its reach: `{"role":"auditor","scope":{"tenant_id":"ten_…"}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RoleGrant {
    pub role: UserRole,
    pub scope: Reach,
}

/// The personal data of a user was erased, with the addresses from which its keys changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserErased {
    pub user_id: UserId,
}
