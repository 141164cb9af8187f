//! `POST /v1/admin/prices/import`: a newer catalogue in place of the one in force, and the prices that follow from it.
//!
//! The handler only hands the request over: the task that keeps the environment's resources up to date carries it out
//! (`environment/imports.rs`), one import after the other, and also when its client has gone. Carrying it out here was
//! rejected: that task and the handler would both record what they find, and so record it twice.

mod described;
mod shown;

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use built_in_catalogue::Catalogue;
use events::event::catalogue_imported::CatalogueImported;
use events::event::{Chain, Context, Event, Resource, Stream, StreamKind};
use events::hex;
use events::ids::RequestId;
use events_log::{Append, AppendError, Basis};
use http::{StatusCode, Uri};
use openapi::Json;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::admin_context::AdminContext;
use super::execution::{reply, stored_body};
use super::fields::FieldError;
use super::import_error::ImportError;
use super::recording::Author;
use super::request::AdminRequest;
use super::{AdminState, CommandError};

pub use described::described;
pub use shown::{difference, providers_not_used};

const PLATFORM_ONLY: &str = "only the platform may import prices";
/// How many imports wait at a time. Each holds its body, and a permit.
const WAITING_MAX: usize = 16;

/// Takes imports from handlers to the task that carries them out.
#[derive(Clone)]
pub struct Importer(mpsc::Sender<Import>);

/// The imports that wait.
pub struct ImportQueue(mpsc::Receiver<Import>);

impl ImportQueue {
    pub fn new() -> (Importer, Self) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Importer(sender), Self(receiver))
    }

    /// `None` once no handler is left.
    pub async fn next(&mut self) -> Option<Import> {
        self.0.recv().await
    }
}

/// An import that a caller asked for.
pub struct Import {
    admin: AdminState,
    request: AdminRequest,
    pub options: ImportOptions,
    reply: oneshot::Sender<Result<Imported, CommandError>>,
}

/// The options of the query string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Answers what it would change, and changes nothing.
    pub dry_run: bool,
    /// Goes back to a catalogue that is older than the one in force.
    pub force: bool,
}

/// The document of an import.
pub struct Document {
    pub catalogue: Catalogue,
    pub text: String,
    /// SHA-256 of the document's bytes, in hexadecimal digits.
    pub sha256: String,
}

/// The answer to an import.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    pub body: Value,
    /// The position that has everything that it recorded; `None` if it recorded nothing.
    pub position: Option<u64>,
}

impl Import {
    /// The caller's rights as of now.
    ///
    /// Errors: it may not import prices, or no longer.
    pub fn context(&self) -> Result<AdminContext<'_>, CommandError> {
        let cx = AdminContext::new(&self.admin, &self.request.caller)?;
        cx.require_platform(PLATFORM_ONLY)?;
        Ok(cx)
    }

    pub fn author(&self, cx: &AdminContext<'_>) -> Author {
        let context = Context::about(cx.caller.actor.clone(), Chain::default()).in_request(self.request.request_id);
        Author { context, basis: cx.basis() }
    }

    /// The document that it brings. It is checked on a thread of its own.
    pub async fn document(&self) -> Result<Document, CommandError> {
        let bytes = self.request.bytes();
        let parsed = blocking_work::CONFIGURATION.run(None, move || {
            let sha256 = hex::lower(digest(&SHA256, &bytes).as_ref());
            let text = String::from_utf8(bytes.to_vec()).map_err(|_| ImportError::NotText)?;
            let catalogue = Catalogue::parse(&text).map_err(ImportError::Invalid)?;
            Ok::<_, ImportError>(Document { catalogue, text, sha256 })
        });
        let parsed = parsed.await.map_err(|error| CommandError::Defect(error.to_string()))?;
        Ok(parsed?)
    }

    /// The reply to an earlier attempt of the same request. A dry run has none.
    pub async fn earlier_reply(&self) -> Result<Option<Imported>, CommandError> {
        if self.options.dry_run {
            return Ok(None);
        }
        let Some(stored) = self.request.earlier_reply(&self.admin.log).await? else { return Ok(None) };
        let body = stored_body(&stored)?;
        Ok(Some(Imported { body, position: Some(stored.position) }))
    }

    /// The id that the import has in the log.
    pub const fn id(&self) -> RequestId {
        self.request.request_id
    }

    /// Returns the append that records the import and the client's address.
    pub fn append_of(&self, author: Author, event: CatalogueImported) -> Append {
        let events = vec![Event::Resource(Resource::CatalogueImported(Box::new(event)))];
        Append { events, side: vec![self.request.client_address()], ..self.append(author, 0) }
    }

    /// Keeps the reply for retries, once all that follows from the document is recorded. Returns the position that it is kept with,
    /// which has everything before; `None` if it has no idempotency key.
    pub async fn keep_reply(&self, author: Author, body: &Value) -> Result<Option<u64>, AppendError> {
        let Some(key) = self.request.idempotency_key.clone() else { return Ok(None) };
        let idempotency = Some(key.with_reply(StatusCode::OK, body.to_string()));
        let append = Append { idempotency, basis: Basis::default(), ..self.append(author, 1) };
        Ok(Some(self.admin.log.append(append).await?.last))
    }

    /// An append to the stream of this import, without anything to append.
    fn append(&self, Author { context, basis }: Author, expected_sequence: u64) -> Append {
        let stream = Stream::new(StreamKind::Import, self.request.request_id);
        Append { basis, ..Append::new(stream, expected_sequence, Vec::new(), context) }
    }

    /// Answers the client, if it still waits.
    pub fn reply(self, imported: Result<Imported, CommandError>) {
        let _ = self.reply.send(imported);
    }
}

pub async fn import(
    State(admin): State<AdminState>,
    uri: Uri,
    request: AdminRequest,
) -> Result<Response, CommandError> {
    AdminContext::new(&admin, &request.caller)?.require_platform(PLATFORM_ONLY)?;
    let options = ImportOptions::parse(&uri)?;
    let (sender, replied) = oneshot::channel();
    let imports = admin.imports.clone();
    let import = Import { admin, request, options, reply: sender };
    imports.0.send(import).await.map_err(|_| ImportError::Stopped)?;
    let Imported { mut body, position } = replied.await.map_err(|_| ImportError::Stopped)??;
    let Some(position) = position else { return Ok(Json(body).into_response()) };
    body["position"] = json!(position);
    Ok(reply(StatusCode::OK, position, body))
}

impl ImportOptions {
    fn parse(uri: &Uri) -> Result<Self, FieldError> {
        let malformed = |_| FieldError::new("", "the query string is malformed");
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(malformed)?;
        let (mut dry_run, mut force) = (None, None);
        for (name, value) in &pairs {
            let option = match name.as_str() {
                "dry_run" => &mut dry_run,
                "force" => &mut force,
                _ => return Err(FieldError::new(name, "is not a parameter of this path")),
            };
            if option.is_some() {
                return Err(FieldError::new(name, "is given twice"));
            }
            *option = Some(value.parse().map_err(|_| FieldError::new(name, "must be true or false"))?);
        }
        Ok(Self { dry_run: dry_run.unwrap_or(false), force: force.unwrap_or(false) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Result<ImportOptions, String> {
        let uri = format!("/v1/admin/prices/import?{query}").parse().unwrap();
        ImportOptions::parse(&uri).map_err(|error| format!("{}: {}", error.field, error.reason))
    }

    #[test]
    fn the_query_string_is_read_strictly() {
        assert_eq!(options(""), Ok(ImportOptions::default()));
        assert_eq!(options("force=true&dry_run=false"), Ok(ImportOptions { dry_run: false, force: true }));
        for (query, wrong) in [
            ("dry_run=1", "dry_run: must be true or false"),
            ("dry_run=true&dry_run=false", "dry_run: is given twice"),
            ("dryrun=true", "dryrun: is not a parameter of this path"),
        ] {
            assert_eq!(options(query), Err(wrong.to_owned()));
        }
    }
}
