//! Signs checkpoints with the keys that the log names.

use std::sync::Arc;

use events::event::log_key::LogKeyCreated;
use futures_util::future::BoxFuture;
use tlog::{Checkpoint, MalformedCheckpoint, SignedCheckpoint, Signer, TooManySignatures, TreeHead};

use crate::key_history::{KeyHistory, RecordedKey};

/// How many of the keys that were replaced since the checkpoint before sign the next one: the first, which others know, and the last
/// of those after it.
const REPLACED_MAX: usize = 8;

/// Opens a key of the log; `None` if nobody can any more, because the node's key was lost.
pub type OpenSigner =
    Arc<dyn Fn(LogKeyCreated) -> BoxFuture<'static, Result<Option<Signer>, SignerNotOpened>> + Send + Sync>;

/// A key of the log cannot be opened now.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the key of the log's checkpoints: {0}")]
pub struct SignerNotOpened(pub Box<dyn std::error::Error + Send + Sync>);

/// A checkpoint cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error(transparent)]
    NotOpened(#[from] SignerNotOpened),
    #[error("the key that signs the log's checkpoints does not open here: it is under another node's key")]
    NoKey,
    #[error("a checkpoint cannot be made: {0}")]
    Malformed(#[from] MalformedCheckpoint),
    #[error(transparent)]
    TooManySignatures(#[from] TooManySignatures),
}

/// Signs checkpoints. Keys that it has opened for one stay open for the next.
pub struct CheckpointSigner {
    open: OpenSigner,
    opened: Vec<OpenedKey>,
}

/// A key that signs here.
struct OpenedKey {
    /// The position of its event.
    position: u64,
    signer: Arc<Signer>,
}

impl CheckpointSigner {
    pub const fn new(open: OpenSigner) -> Self {
        Self { open, opened: Vec::new() }
    }

    /// Signs a checkpoint after one of `before` events, with the keys that [`KeyHistory::signing`] says. The signatures of keys that
    /// were replaced come first.
    pub async fn sign(
        &mut self,
        history: &KeyHistory,
        before: u64,
        head: TreeHead,
    ) -> Result<SignedCheckpoint, SigningError> {
        let signing = history.signing(before, head.size);
        let mut signers = Vec::new();
        let left_out = signing.replaced.len().saturating_sub(REPLACED_MAX);
        for (index, key) in signing.replaced.iter().enumerate() {
            // Without a key that was lost, nobody is led from it to the next one.
            if (index == 0 || index > left_out)
                && let Some(signer) = self.opened(key).await?
            {
                signers.push(OpenedKey { position: key.position, signer });
            }
        }
        signers.push(self.first_that_opens(signing.in_force).await?);
        let checkpoint = Checkpoint::new(history.origin(), head)?;
        let signed = signed_by(checkpoint, &signers)?;
        self.opened = signers;
        Ok(signed)
    }

    async fn first_that_opens(&self, keys: &[RecordedKey]) -> Result<OpenedKey, SigningError> {
        for key in keys {
            if let Some(signer) = self.opened(key).await? {
                return Ok(OpenedKey { position: key.position, signer });
            }
        }
        Err(SigningError::NoKey)
    }

    async fn opened(&self, key: &RecordedKey) -> Result<Option<Arc<Signer>>, SignerNotOpened> {
        if let Some(opened) = self.opened.iter().find(|opened| opened.position == key.position) {
            return Ok(Some(Arc::clone(&opened.signer)));
        }
        Ok((self.open)(key.created.clone()).await?.map(Arc::new))
    }
}

fn signed_by(checkpoint: Checkpoint, signers: &[OpenedKey]) -> Result<SignedCheckpoint, SigningError> {
    let mut signers = signers.iter().map(|opened| &*opened.signer);
    let first = signers.next().ok_or(SigningError::NoKey)?;
    let mut signed = SignedCheckpoint::sign(checkpoint, first)?;
    for signer in signers {
        signed.sign_also(signer)?;
    }
    Ok(signed)
}
