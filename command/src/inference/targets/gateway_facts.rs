//! Facts that the gateway records by itself while requests run: that a provider does not accept a key, that a target fails.

use events::event::admin::Provider;
use events::event::{Actor, Context, Resource, Stream};
use events_log::{Append, AppendError, Basis, Log, LogError};
use projections::tables::Tables;

/// Records a fact about a provider as the next one of a stream. `None` if others have changed the stream after `sequence`.
pub async fn append(
    log: &Log,
    actor: Actor,
    stream: Stream,
    sequence: u64,
    fact: &Resource,
    provider: &Provider,
    tables: &Tables,
) -> Result<Option<u64>, LogError> {
    let owners = provider.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default();
    let append = Append {
        stream,
        expected_sequence: sequence,
        events: vec![fact.clone().into()],
        context: Context::about(actor, owners),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    match log.append(append).await {
        Ok(appended) => Ok(Some(appended.last)),
        Err(AppendError::OptimisticLock) => Ok(None),
        Err(AppendError::Unavailable(error)) => Err(error),
        Err(error) => Err(LogError::Append(error.to_string())),
    }
}
