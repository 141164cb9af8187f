//! Secrets of keys, and their stored form.

use access_control::auth::token::{self, Token};
use events::ids::{KeyId, TenantId};
use events_log::{KeySecret, SideRow};
use secrets::Secret;

use crate::admin::AdminState;
use crate::admin::error::CommandError;

/// A new secret of a key of this tenant, to be shown once, and the row that stores its HMAC. In a shared log, the row has a slow
/// hash as well: nodes of the version before check nothing else (ADR-0037).
pub async fn issue_secret(
    admin: &AdminState,
    tenant: Option<TenantId>,
    id: KeyId,
    generation: u32,
) -> Result<(Secret, SideRow), CommandError> {
    let secret = token::make(id, &admin.key_check, &admin.ids);
    let token =
        Token::parse(secret.reveal()).ok_or_else(|| CommandError::Defect("a new token cannot be parsed".to_owned()))?;
    let mac = Some(admin.key_check.key_macs().sign(id, generation, token.secret));
    let stored = match admin.log.is_shared() {
        true => KeySecret { mac, ..admin.hasher.hash(tenant, id, generation, token.secret, &admin.ids).await? },
        false => KeySecret { key_id: id, generation, salt: Vec::new(), hash: Vec::new(), mac },
    };
    Ok((secret, SideRow::KeySecret(stored)))
}
