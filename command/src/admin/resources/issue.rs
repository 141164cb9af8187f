//! New secrets of keys.

use access::auth::token::{self, Token};
use events::ids::KeyId;
use events::log::SideRow;
use secrets::Secret;

use crate::admin::AdminState;
use crate::admin::error::CommandError;

/// A new secret of the key, to show once, and what is stored of it.
pub async fn issue(admin: &AdminState, id: KeyId, generation: u32) -> Result<(Secret, SideRow), CommandError> {
    let secret = token::make(id, &admin.key_check, &admin.ids);
    let token = Token::parse(secret.reveal()).ok_or_else(|| CommandError::Defect("a token of no form".to_owned()))?;
    let stored = admin.hasher.hash(id, generation, token.secret(), &admin.ids).await?;
    Ok((secret, SideRow::KeySecret(stored)))
}
