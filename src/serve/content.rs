//! The store of sealed content, and how it is written and read.

use std::sync::Arc;
use std::time::Duration;

use content_store::retention::{ContentRetention, RetentionRules};
use content_store::{ContentFigures, ContentKey, ContentReader, ContentStore, ContentWriter, FOLDER, KeyOpener};
use events::ids::IdMaker;
use object_storage::Opening;
use projections::tables::{Tables, TablesHandle};
use prometheus::Registry;
use secrets::Vault;

use super::ServeError;
use super::object_stores::objects_opener;
use crate::config::Config;

/// How long the start waits for the store. For a bucket nothing is asked yet; a folder may be on a mount that does not answer.
const OPEN_MAX: Duration = Duration::from_secs(5);

/// The store of sealed content, and the way there.
#[derive(Clone)]
pub struct ContentParts {
    pub store: ContentStore,
    pub writer: ContentWriter,
    figures: ContentFigures,
}

impl ContentParts {
    /// The outlet that deletes content after its days, which these tables have.
    pub fn retention(&self, tables: &TablesHandle) -> ContentRetention {
        let (of_all, of_one) = (tables.clone(), tables.clone());
        let rules = RetentionRules {
            tenants: Box::new(move || of_all.load().tenants_with_retention().collect()),
            days_of: Box::new(move |tenant| of_one.load().retention_days(tenant)),
        };
        ContentRetention { store: self.store.clone(), figures: self.figures.clone(), rules }
    }
}

/// Opens the store of the configuration; `None` if there is none.
///
/// Errors: the folder cannot be used, or the settings of a bucket are wrong. Content that is to be kept would be lost.
pub async fn open(config: &Config, registry: &Registry, ids: &IdMaker) -> Result<Option<ContentParts>, ServeError> {
    let Some(address) = &config.content else { return Ok(None) };
    let objects = Opening::new(objects_opener(address, &[FOLDER])?).within(OPEN_MAX).await?;
    let store = ContentStore::new(objects);
    let figures = ContentFigures::register(registry)?;
    let writer = ContentWriter::new(store.clone(), ids.clone(), figures.clone());
    Ok(Some(ContentParts { store, writer, figures }))
}

/// Says that requests of tenants are refused whose content is to be kept, on a node without a store.
pub fn warn_without_store(tables: &Tables) {
    let tenants = tables.tenants_with_sealed_content().count();
    if tenants > 0 {
        tracing::warn!(
            tenants,
            "the content of tenants is kept sealed, and LEDGERWAY_CONTENT_URL is not set: this node refuses their requests"
        );
    }
}

pub fn reader(store: ContentStore, vault: &Arc<Vault>) -> ContentReader {
    let vault = Arc::clone(vault);
    let open_key: KeyOpener = Arc::new(move |tenant, owner, generation| {
        let vault = Arc::clone(&vault);
        Box::pin(async move {
            let secret =
                vault.content_key_of_generation(tenant, owner, generation).await.map_err(|error| error.to_string())?;
            Ok(secret.map(|opened| ContentKey::new(owner, opened.generation, &opened.secret)))
        })
    });
    ContentReader::new(store, open_key)
}
