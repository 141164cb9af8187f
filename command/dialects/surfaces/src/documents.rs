//! Documents in base64, which clients of several surfaces give.

use events::refusal::Refusal;
use intermediate::chat::{InlineDocument, data_url};
use intermediate::fields::Path;

use crate::priceable::unpriced;

/// The document in a `data:` URL. Errors: those of [`of_base64`], and `INVALID_REQUEST` for another URL.
pub fn of_data_url<'a>(url: &'a str, path: &Path<'_>) -> Result<InlineDocument<'a>, Refusal> {
    match data_url(url) {
        Some((media_type, base64, true)) if !media_type.is_empty() => of_base64(media_type, base64, path),
        _ => Err(path.refuse("must be data:MEDIA_TYPE;base64,… of a document")),
    }
}

/// The document of this media type. Errors: `MODEL_UNPRICED` for what is none, such as audio and video.
pub fn of_base64<'a>(media_type: &'a str, base64: &'a str, path: &Path<'_>) -> Result<InlineDocument<'a>, Refusal> {
    let what = "a file other than a PDF, text or a document of an office program has no price";
    InlineDocument::of(media_type, base64).ok_or_else(|| unpriced(path, what))
}
