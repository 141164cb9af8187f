//! Imports of catalogues while the gateway runs.
//!
//! The document is written first, in one step, to the data folder or to the database of a shared ledger, and what follows from it is
//! recorded then. A crash in between loses nothing: the next start reads the new document and records the rest, or the node that
//! records does. The other order was rejected: a crash would leave prices of a document that is not in force, and they would be taken
//! back.
//!
//! The import itself, which names its author, is recorded before what follows from it: in the step that writes the document to the
//! database, and right after it was written to a data folder, or as soon as that can be recorded.

use std::borrow::Cow;
use std::sync::Arc;

use built_in_catalogue::{Catalogue, Older};
use events::event::ResourceState;
use events::event::admin::Price;
use events::event::catalogue_imported::{CatalogueImported, ImportedResources};
use events_log::{Append, Basis, SideRow};
use serde_json::{Value, json};

use super::reconciliation::{ReconciliationPlan, reconcile};
use super::shared::catalogue_and_revision;
use super::{Environment, IN_FORCE_WITHIN};
use crate::admin::CommandError;
use crate::admin::import::{Document, Import, Imported, difference, providers_not_used};
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
        let document = import.document().await?;
        for _ in 0..ATTEMPTS_MAX {
            match self.import_document(import, &document).await {
                // On another node, another import came first.
                Err(CommandError::Contended { .. }) => {}
                answer => return answer,
            }
        }
        Err(CommandError::Contended { kind: Price::KIND })
    }

    /// Imports a document, if it may follow the one that is in force.
    async fn import_document(&self, import: &Import, document: &Document) -> Result<Imported, CommandError> {
        let Document { catalogue: newer, text, sha256 } = document;
        let (current, revision) = self.current().await?;
        match built_in_catalogue::check_age(newer, &current) {
            Ok(()) => {}
            Err(Older::ThanInForce { .. }) if import.options.force => {}
            Err(older) => return Err(ImportError::Older(older).into()),
        }
        let not_used = providers_not_used(newer);
        let newer = newer.clone().with_providers_of(Catalogue::shipped());
        let mut body = difference(&current, &newer, self.parts.clock.now().date_naive());
        body.insert("providers_not_used".to_owned(), not_used);
        let newer = Arc::new(Cow::Owned(newer));
        body.insert("dry_run".to_owned(), import.options.dry_run.into());
        let plan = self.plan(&newer).await?;
        let (from, to) = (current.version(), newer.version());
        let event = CatalogueImported {
            import: import.id(),
            from_version: from,
            to_version: to,
            document_sha256: sha256.clone(),
            prices: counts(&plan.prices),
            models: counts(&plan.models),
        };
        body.insert("recorded".to_owned(), json!({ "prices": event.prices, "models": event.models }));
        if import.options.dry_run {
            return Ok(Imported { body: body.into(), position: None });
        }
        // The check that counts: from here on, the new document is in force.
        let author = import.author(&import.context()?);
        let append = import.append_of(author, event);
        let recorded = self.put_in_force(append, text.clone(), revision).await?;
        if let Some(named) = &self.named {
            named.take(Arc::clone(&newer));
        }
        tracing::info!(%from, %to, "took another catalogue");
        let finished = async {
            let imported = match recorded {
                Some(_) => recorded,
                None => self.record_kept_imports().await?,
            };
            let followed = self.finish(import, &newer, &body.clone().into()).await?;
            Ok::<_, CommandError>(imported.map_or(followed, |imported| followed.max(imported)))
        };
        let position = match finished.await {
            Ok(position) => position,
            Err(error) => {
                self.recording().note_unfinished();
                return Err(match error {
                    CommandError::NotPermitted(_) | CommandError::Import(ImportError::Unfinished(_)) => error,
                    error => ImportError::Unfinished(error.to_string()).into(),
                });
            }
        };
        match self.parts.tables.wait_for(position, IN_FORCE_WITHIN).await {
            true => Ok(Imported { body: body.into(), position: Some(position) }),
            false => Err(CommandError::NotYetInForce { position }),
        }
    }

    /// The catalogue that was taken before, or the gateway's own; if that one is damaged, the one that is in use. With the revision
    /// that it has in a shared ledger.
    async fn current(&self) -> Result<(Arc<Cow<'static, Catalogue>>, u64), CommandError> {
        let (in_force, revision) = catalogue_and_revision(&self.parts.log, self.parts.data.clone()).await?;
        match (&in_force.unusable, &self.named) {
            (Some(error), Some(named)) => {
                tracing::warn!(%error, "the catalogue that was taken before cannot be used: an import replaces it");
                Ok((named.catalogue(), revision))
            }
            _ => Ok((Arc::new(in_force.catalogue), revision)),
        }
    }

    /// Puts the document in force in place of the one of this revision. Returns the position of its import if that is recorded in the
    /// same step, as in a shared ledger; `None` if it is kept, to be recorded before what follows from it, whatever becomes of its
    /// author's right.
    ///
    /// Errors: [`CommandError::Contended`] if another catalogue than that of the revision is in force;
    /// [`ImportError::TooManyKept`] if too many imports are kept already.
    async fn put_in_force(
        &self,
        mut append: Append,
        document: String,
        replaces: u64,
    ) -> Result<Option<u64>, CommandError> {
        if self.parts.log.is_shared() {
            append.side.push(SideRow::Catalogue { document, replaces });
            let recorded = self.parts.log.append(append).await;
            return recorded.map(|at| Some(at.last)).map_err(|error| CommandError::of_append(Price::KIND, error));
        }
        if !self.kept_imports.have_room() {
            return Err(ImportError::TooManyKept.into());
        }
        append.basis = Basis::default();
        let folder = self.parts.data.clone();
        self.kept_imports.put_in_force(append, move || built_in_catalogue::write(&folder, &document)).await?;
        Ok(None)
    }

    /// Records the imports that are kept, if there are any. Returns the position of the last one.
    pub(super) async fn record_kept_imports(&self) -> Result<Option<u64>, CommandError> {
        self.kept_imports.record(&self.parts.log).await
    }

    /// Returns the changes that a catalogue makes now.
    pub(super) async fn plan(&self, catalogue: &Catalogue) -> Result<ReconciliationPlan, CommandError> {
        let Some(named) = &self.named else { return Ok(ReconciliationPlan::default()) };
        let parts = &self.parts;
        self.catch_up().await?;
        let tables = parts.tables.load();
        Ok(reconcile(&self.sources_with(named, catalogue, &tables), &tables, &parts.ids, parts.clock.now()))
    }

    /// Records what follows from the catalogue, by the right of the import's caller, or waits until the node that records has; then
    /// keeps the reply. Returns the position that has all of it.
    async fn finish(&self, import: &Import, catalogue: &Catalogue, body: &Value) -> Result<u64, CommandError> {
        for _ in 0..ATTEMPTS_MAX {
            let author = import.author(&import.context()?);
            match self.record_or_await(catalogue, &author).await {
                Ok(position) => {
                    let kept = import.keep_reply(author, body).await;
                    let kept = kept.map_err(|error| CommandError::of_append(Price::KIND, error))?;
                    return Ok(kept.unwrap_or(position));
                }
                Err(CommandError::Contended { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(CommandError::Contended { kind: Price::KIND })
    }
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
