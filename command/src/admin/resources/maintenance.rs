//! The field `maintenance` of providers and of targets.

use events::maintenance::MaintenanceWindow;

use super::prelude::*;

const WINDOWS_LEN_MAX: usize = 32;

/// The field, for a resource or a part of one.
pub fn maintenance(meaning: &str) -> Member {
    defaulting("maintenance", windows(), json!([]))
        .shown_as(schema::list(window().creation().open(), None))
        .meaning(meaning)
}

fn window() -> Members {
    Members(vec![required("from", time()).meaning("When it begins"), required("to", time()).meaning("When it is over")])
}

fn windows() -> FieldType {
    let shape = schema::list(window().creation().closed(), Some(WINDOWS_LEN_MAX));
    FieldType::new(shape, |field| {
        field.list(WINDOWS_LEN_MAX, |item| {
            let mut fields = item.object()?;
            let from = fields.required("from", |field| field.time())?;
            let to = fields.required("to", |field| field.time())?;
            if to <= from {
                return Err(FieldError::new(fields.path_of("to"), "must be after from"));
            }
            fields.finish()?;
            Ok(MaintenanceWindow { from, to })
        })
    })
}
