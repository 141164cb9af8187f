//! Parts of Anthropic's API that this version does not serve.

use crate::{Audience, ErrorForm, Surface, Vendor};

pub const VENDOR: Vendor = Vendor {
    audience: Audience { error_form: ErrorForm::Anthropic, surface: Some(Surface::Anthropic) },
    unsupported: &[
        ("messages/batches", "Anthropic's Message Batches API"),
        ("complete", "Anthropic's Text Completions API"),
    ],
};
