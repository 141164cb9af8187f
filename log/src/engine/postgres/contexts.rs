//! The contexts of the events of requests. Each is stored once, without its request, under a name that follows from it
//! (ADR-0014). All other events keep their whole context.

use std::collections::HashMap;

use events::compact_json;
use events::event::{Context, Recorded};
use events::ids::IdMap;
use ring::digest::{SHA256, digest};
use uuid::Uuid;

use crate::LogError;
use crate::stored::{is_of_its_request, stored};

/// At this number of contexts in memory all are forgotten, and sent or read again when they are needed.
pub(super) const KEPT_MAX: usize = 4096;

/// The contexts that are known to be stored: those of batches up to the tip, so that every database that has the tip has them.
#[derive(Default)]
pub(super) struct PostgresContexts {
    names: IdMap<Context, Uuid>,
    by_name: HashMap<Uuid, Context>,
}

/// The contexts of a batch that are not known to be stored.
#[derive(Default)]
pub(super) struct NewContexts {
    names: IdMap<Context, Uuid>,
    /// Their JSON, by name.
    pub(super) texts: HashMap<Uuid, String>,
}

/// How an event stores its context.
pub(super) enum StoredContext {
    Named(Uuid),
    /// The context itself, as JSON.
    Whole(String),
}

impl PostgresContexts {
    /// How this event stores its context. If it is not known to be stored, it is added to `new`.
    pub(super) fn of(&self, recorded: &Recorded, new: &mut NewContexts) -> Result<StoredContext, LogError> {
        if !is_of_its_request(recorded) {
            return json(&recorded.context).map(StoredContext::Whole);
        }
        let context = Context { request_id: None, ..recorded.context.clone() };
        if let Some(name) = self.names.get(&context).or_else(|| new.names.get(&context)) {
            return Ok(StoredContext::Named(*name));
        }
        let text = json(&context)?;
        let name = name_of(&text);
        new.names.insert(context, name);
        new.texts.insert(name, text);
        Ok(StoredContext::Named(name))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The context of this name, without its request.
    pub(super) fn named(&self, name: Uuid) -> Option<&Context> {
        self.by_name.get(&name)
    }

    /// Notes that the contexts of a batch are stored.
    pub(super) fn note_all_stored(&mut self, new: NewContexts) {
        self.forget_if_full();
        for (context, name) in new.names {
            self.note_stored(name, context);
        }
    }

    /// Notes a context that is stored.
    pub(super) fn note_stored(&mut self, name: Uuid, context: Context) {
        self.by_name.insert(name, context.clone());
        self.names.insert(context, name);
    }

    pub(super) fn forget_if_full(&mut self) {
        if self.names.len() >= KEPT_MAX {
            *self = Self::default();
        }
    }
}

/// The first 128 bits of the SHA-256: every node gives a context the same name without asking.
pub(super) fn name_of(text: &str) -> Uuid {
    let mut name = [0; 16];
    name.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(name)
}

fn json(context: &Context) -> Result<String, LogError> {
    let mut json = Vec::with_capacity(300);
    compact_json::write(&mut json, context).map_err(stored)?;
    String::from_utf8(json).map_err(stored)
}
