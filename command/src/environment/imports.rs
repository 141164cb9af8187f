//! Imports of catalogues while the gateway runs.
//!
//! The document is written first, in one step, to the data folder or to the database of a shared ledger, and what follows from it is
//! recorded then. A crash in between loses nothing: the next start reads the new document and records the rest, or the node that
//! records does. The other order was rejected: a crash would leave prices of a document that is not in force, and they would be taken
//! back.

use std::borrow::Cow;
use std::sync::Arc;

use catalogue::{Catalogue, Older};
use events::event::ResourceState;
use events::event::admin::Price;
use events::event::catalogue_imported::{CatalogueImported, ImportedResources};
use events::log::AppendError;
use serde_json::{Value, json};

use super::reconciliation::{Plan, reconcile};
use super::shared::catalogue_in_force;
use super::{Environment, IN_FORCE_WITHIN};
use crate::admin::CommandError;
use crate::admin::import::{Document, Followed, Import, Imported, difference, providers_not_used};
use crate::admin::import_error::ImportError;
use crate::admin::recording::Step;

/// How often it is decided what to record, if the caller's rights or the resources change meanwhile.
const ATTEMPTS_MAX: usize = 10;

impl Environment {
    /// Carries an import out and answers it.
    pub(super) async fn answer(&self, import: Import) {
        let imported = self.import(&import).await;
        import.reply(imported);
    }

    async fn import(&self, import: &Import) -> Result<Imported, CommandError> {
        import.context()?;
        if let Some(reply) = import.earlier_reply().await? {
            return Ok(reply);
        }
        let Document { catalogue: newer, text, sha256 } = import.document().await?;
        let current = self.current().await?;
        match catalogue::check_age(&newer, &current) {
            Ok(()) => {}
            Err(Older::ThanInForce { .. }) if import.options.force => {}
            Err(older) => return Err(ImportError::Older(older).into()),
        }
        let not_used = providers_not_used(&newer);
        let newer = newer.with_providers_of(Catalogue::shipped());
        let mut body = difference(&current, &newer, self.parts.clock.now().date_naive());
        body.insert("providers_not_used".to_owned(), not_used);
        let newer = Arc::new(Cow::Owned(newer));
        body.insert("dry_run".to_owned(), import.options.dry_run.into());
        let followed = followed(&self.plan(&newer).await?);
        body.insert("recorded".to_owned(), json!(followed));
        if import.options.dry_run {
            return Ok(Imported { body: body.into(), position: None });
        }
        // The check that counts: from here on, the new document is in force.
        import.context()?;
        self.write(import, text).await?;
        if let Some(named) = &self.named {
            named.take(Arc::clone(&newer));
        }
        let (from, to) = (current.version(), newer.version());
        let taken = import.taken(&current, &newer, sha256, followed);
        let position =
            self.record_import(import, &newer, &taken, body.clone().into()).await.map_err(|error| match error {
                CommandError::NotPermitted(_) | CommandError::Import(ImportError::Unfinished(_)) => error,
                error => ImportError::Unfinished(error.to_string()).into(),
            })?;
        tracing::info!(%from, %to, position, "took another catalogue");
        match self.parts.tables.wait_for(position, IN_FORCE_WITHIN).await {
            true => Ok(Imported { body: body.into(), position: Some(position) }),
            false => Err(CommandError::NotYetInForce { position }),
        }
    }

    /// The catalogue that was taken before, or the gateway's own; if that one is damaged, the one that is in use.
    async fn current(&self) -> Result<Arc<Cow<'static, Catalogue>>, CommandError> {
        let in_force = catalogue_in_force(&self.parts.log, self.parts.data.clone()).await?;
        match (&in_force.unusable, &self.named) {
            (Some(error), Some(named)) => {
                tracing::warn!(%error, "the catalogue that was taken before cannot be used: an import replaces it");
                Ok(named.catalogue())
            }
            _ => Ok(Arc::new(in_force.catalogue)),
        }
    }

    /// Puts the document in force.
    async fn write(&self, import: &Import, text: String) -> Result<(), CommandError> {
        if self.parts.log.is_shared() {
            let stored = import.store(&import.author(&import.context()?), text).await;
            return stored.map_err(|error| CommandError::of_append(Price::KIND, error));
        }
        let folder = self.parts.data.clone();
        let written = tokio::task::spawn_blocking(move || catalogue::write(&folder, &text)).await;
        let written = written.map_err(|error| CommandError::Defect(error.to_string()))?;
        written.map_err(|error| ImportError::NotWritten(error).into())
    }

    /// What a catalogue changes now.
    pub(super) async fn plan(&self, catalogue: &Catalogue) -> Result<Plan, CommandError> {
        let Some(named) = &self.named else { return Ok(Plan::default()) };
        let parts = &self.parts;
        if !parts.tables.catch_up(IN_FORCE_WITHIN).await {
            return Err(CommandError::NotYetInForce { position: parts.log.head().position });
        }
        let tables = parts.tables.load();
        Ok(reconcile(&self.sources_with(named, catalogue, &tables), &tables, &parts.ids, parts.clock.now()))
    }

    /// Has it recorded what follows from the catalogue, by the right of the import's caller if this node records it, and then records
    /// the import with its reply. Returns the position that has all of it.
    async fn record_import(
        &self,
        import: &Import,
        catalogue: &Catalogue,
        taken: &CatalogueImported,
        body: Value,
    ) -> Result<u64, CommandError> {
        for _ in 0..ATTEMPTS_MAX {
            let author = import.author(&import.context()?);
            match self.have_recorded(catalogue, &author).await {
                Ok(()) => {}
                Err(CommandError::Contended { .. }) => continue,
                Err(error) => return Err(error),
            }
            match import.remember(&author, taken, &body).await {
                Ok(position) => return Ok(position),
                Err(AppendError::Outdated { .. }) => {}
                Err(error) => return Err(CommandError::of_append(Price::KIND, error)),
            }
        }
        Err(CommandError::Contended { kind: Price::KIND })
    }
}

fn followed(plan: &Plan) -> Followed {
    Followed { prices: counts(&plan.prices), models: counts(&plan.models) }
}

fn counts<R>(steps: &[Step<R>]) -> ImportedResources {
    let mut counts = ImportedResources::default();
    for step in steps {
        match step {
            Step::Create(_) => counts.created += 1,
            Step::Change(_) => counts.changed += 1,
            Step::End(_) => counts.ended += 1,
        }
    }
    counts
}
