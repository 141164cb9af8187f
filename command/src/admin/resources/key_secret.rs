//! Creates secrets of keys.

use access_control::auth::token::{self, Token};
use events::ids::KeyId;
use events_log::SideRow;
use secrets::Secret;

use crate::admin::AdminState;
use crate::admin::error::CommandError;

/// A new secret of the key, to be shown once, and the row that stores its hash.
pub async fn issue_secret(admin: &AdminState, id: KeyId, generation: u32) -> Result<(Secret, SideRow), CommandError> {
    let secret = token::make(id, &admin.key_check, &admin.ids);
    let token =
        Token::parse(secret.reveal()).ok_or_else(|| CommandError::Defect("a new token cannot be parsed".to_owned()))?;
    let stored = admin.hasher.hash(id, generation, token.secret, &admin.ids).await?;
    Ok((secret, SideRow::KeySecret(stored)))
}
