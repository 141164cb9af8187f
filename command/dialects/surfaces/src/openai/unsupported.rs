//! Parts of OpenAI's API that this version does not serve.

use crate::{Audience, ErrorForm, Surface, Vendor};

pub const VENDOR: Vendor = Vendor {
    audience: Audience { error_form: ErrorForm::OpenAi, surface: Some(Surface::OpenAi) },
    unsupported: &[
        ("chat/completions/", "stored Chat Completions"),
        ("responses/input_tokens", "counting the tokens of a response"),
        ("responses/compact", "compaction of responses"),
        ("responses/", "stored responses"),
        ("assistants", "OpenAI's Assistants API"),
        ("audio", "speech and transcription"),
        ("batches", "OpenAI's Batch API"),
        ("chatkit", "OpenAI's ChatKit API"),
        ("containers", "OpenAI's Containers API"),
        ("conversations", "OpenAI's Conversations API"),
        ("edits", "OpenAI's Edits API"),
        ("engines", "OpenAI's Engines API"),
        ("evals", "OpenAI's Evals API"),
        ("files", "OpenAI's Files API"),
        ("fine-tunes", "fine-tuning"),
        ("fine_tuning", "fine-tuning"),
        ("images", "image generation"),
        ("moderations", "moderations"),
        ("organization", "OpenAI's Administration API"),
        ("realtime", "OpenAI's Realtime API"),
        ("rerank", "reranking"),
        ("threads", "OpenAI's Assistants API"),
        ("uploads", "OpenAI's Uploads API"),
        ("vector_stores", "OpenAI's Vector Stores API"),
        ("videos", "video generation"),
    ],
};
