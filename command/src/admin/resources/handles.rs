//! `slug` and `external_id`. A slug is unique among siblings: partners on the platform, tenants of a partner, users and
//! teams of a tenant. The end of its resource frees it.

use std::fmt::Display;

use events::event::admin::{Handles, SLUG_LEN_MAX, is_slug};

use super::prelude::*;

const EXTERNAL_ID_LEN_MAX: usize = 255;

/// The scope of the slugs of partners.
pub const PLATFORM: &str = "platform";

pub fn members() -> [Member; 2] {
    let form = format!("^[a-z0-9][a-z0-9-]{{0,{}}}$", SLUG_LEN_MAX - 1);
    let reason = "must consist of a-z, 0-9 and -, and begin with a letter or a digit";
    [
        optional("slug", text_that(schema::formed(&form), SLUG_LEN_MAX, is_slug, reason))
            .meaning("Unique among siblings: partners, the tenants of a partner, the users or the teams of a tenant. Free again after its end"),
        optional("external_id", text(EXTERNAL_ID_LEN_MAX))
            .meaning("Your own id, for example for billing. Events contain it, so use no personal data"),
    ]
}

/// True if the change sets or removes either.
pub fn are_changed(given: &FieldValues) -> bool {
    given.has_any(&["slug", "external_id"])
}

/// The claim of a resource that has a slug.
pub fn claim<R: ResourceState>(id: R::Id, among: impl Display, handles: &Handles) -> Option<SideRow> {
    handles.slug.as_ref().map(|slug| claim_among(among, R::KIND, id, slug))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::declaration::Members;
    use crate::admin::fields::{FieldError, Fields};

    fn read(name: &'static str, value: &str) -> Result<Option<String>, FieldError> {
        let body = json!({ name: value }).to_string();
        let given = Members(members().to_vec()).read_creation(Fields::of_body(body.as_bytes()).unwrap())?;
        Ok(given.text(name).map(str::to_owned))
    }

    #[test]
    fn a_slug_is_lower_case_and_short_and_begins_with_a_letter_or_a_digit() {
        for fine in ["a", "0", "acme-eu-1", "a--", &"a".repeat(63)] {
            assert_eq!(read("slug", fine), Ok(Some(fine.to_owned())));
        }
        for wrong in ["", "-a", "Acme", "a_b", "a b", "a/b", "ä", "ten_1", "a\u{7f}", &"a".repeat(64)] {
            assert_eq!(read("slug", wrong).unwrap_err().field, "slug", "{wrong}");
        }
    }

    #[test]
    fn an_external_id_is_any_printable_text() {
        for fine in ["C-1", "Kunde Ärger & Söhne/7", &"x".repeat(255)] {
            assert_eq!(read("external_id", fine), Ok(Some(fine.to_owned())));
        }
        for wrong in ["", " ", "a\nb", &"x".repeat(256)] {
            assert_eq!(read("external_id", wrong).unwrap_err().field, "external_id", "{wrong}");
        }
    }
}
