//! `slug` and `external_id`. A slug is claimed beside its siblings: partners on the platform, tenants within their
//! partner, users within their tenant; the end of what has it frees it.

use std::fmt::Display;

use events::event::StreamKind;
use events::event::admin::Handles;
use events::log::SideRow;
use openapi::resource::{self, Member};
use openapi::schema;

use crate::admin::fields::{Field, FieldError, Fields, Patched};
use crate::admin::handles::ChangeHandles;

const SLUG_LEN_MAX: usize = 63;
const EXTERNAL_ID_LEN_MAX: usize = 255;

/// Where the slugs of partners are claimed.
pub const PLATFORM: &str = "platform";

/// What claims a slug.
pub struct Claimant<I> {
    pub kind: StreamKind,
    pub id: I,
}

fn slug(field: Field) -> Result<String, FieldError> {
    let path = field.path().to_owned();
    let slug = field.text(SLUG_LEN_MAX)?;
    let sound = slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if sound && !slug.starts_with('-') {
        return Ok(slug);
    }
    Err(FieldError::new(path, "must be of a-z, 0-9 and -, and begin with a letter or a digit"))
}

fn external_id(field: Field) -> Result<String, FieldError> {
    field.text(EXTERNAL_ID_LEN_MAX)
}

/// What is published of them.
pub fn members() -> [Member; 2] {
    let form = format!("^[a-z0-9][a-z0-9-]{{0,{}}}$", SLUG_LEN_MAX - 1);
    [
        resource::optional("slug", schema::formed(&form)).meaning("Unique beside its siblings; free again at its end"),
        resource::optional("external_id", schema::text(EXTERNAL_ID_LEN_MAX))
            .meaning("Yours, for billing; it stands in events, so nothing personal"),
    ]
}

/// Of what is to be made.
pub fn given(fields: &mut Fields) -> Result<Handles, FieldError> {
    Ok(Handles { slug: fields.optional("slug", slug)?, external_id: fields.optional("external_id", external_id)? })
}

/// Of what is changed; `null` removes.
pub fn changed(fields: &mut Fields) -> Result<ChangeHandles, FieldError> {
    Ok(ChangeHandles { slug: fields.patched("slug", slug)?, external_id: fields.patched("external_id", external_id)? })
}

impl<I: Display> Claimant<I> {
    /// For what is made with a slug.
    pub fn claim(&self, among: impl Display, handles: &Handles) -> Option<SideRow> {
        handles.slug.as_ref().map(|slug| self.row(among, slug))
    }

    /// For a change: the slug before is free, and the new one taken, in one.
    pub fn reclaim(&self, among: impl Display, change: &ChangeHandles) -> Vec<SideRow> {
        match &change.slug {
            Patched::Kept => vec![],
            Patched::Removed => vec![self.release()],
            Patched::Set(slug) => vec![self.release(), self.row(among, slug)],
        }
    }

    pub fn release(&self) -> SideRow {
        SideRow::ReleaseNames { owner: self.id.to_string() }
    }

    fn row(&self, among: impl Display, slug: &str) -> SideRow {
        SideRow::ClaimName {
            kind: self.kind,
            scope: among.to_string(),
            name: slug.to_owned(),
            owner: self.id.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_slug_is_lower_case_and_short_and_begins_with_a_letter_or_a_digit() {
        let read = |slug: &str| {
            let body = json!({ "slug": slug }).to_string();
            given(&mut Fields::of_body(body.as_bytes()).unwrap()).map(|handles| handles.slug)
        };
        for fine in ["a", "0", "acme-eu-1", "a--", &"a".repeat(63)] {
            assert_eq!(read(fine), Ok(Some(fine.to_owned())));
        }
        for wrong in ["", "-a", "Acme", "a_b", "a b", "a/b", "ä", "ten_1", "a\u{7f}", &"a".repeat(64)] {
            assert_eq!(read(wrong).unwrap_err().field, "slug", "{wrong}");
        }
    }

    #[test]
    fn an_external_id_is_any_printable_text() {
        let read = |id: &str| {
            let body = json!({ "external_id": id }).to_string();
            given(&mut Fields::of_body(body.as_bytes()).unwrap()).map(|handles| handles.external_id)
        };
        for fine in ["C-1", "Kunde Ärger & Söhne/7", &"x".repeat(255)] {
            assert_eq!(read(fine), Ok(Some(fine.to_owned())));
        }
        for wrong in ["", " ", "a\nb", &"x".repeat(256)] {
            assert_eq!(read(wrong).unwrap_err().field, "external_id", "{wrong}");
        }
    }
}
