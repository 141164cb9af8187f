//! A whole response from an Anthropic upstream to a client of the same dialect: its bytes, with the frontend model.

use bytes::Bytes;
use intermediate::{Metered, UpstreamFault, json};
use provider_dialects::anthropic::read_choices;

use crate::passthrough::rewrite::{Change, PlannedEdit, plan, rewritten};

pub struct AnthropicAnswer {
    body: Bytes,
    plan: Vec<PlannedEdit>,
}

impl AnthropicAnswer {
    /// Reads and measures a response as if it were translated. Errors: those of a translation.
    pub fn read(body: &Bytes, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let body = body.slice_ref(body.trim_ascii());
        let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
        read_choices(text, metered)?;
        let members = json::known_members(text).collect::<Result<Vec<_>, _>>()?;
        let plan = plan(&members, |_| Change::Keep);
        Ok(Self { body, plan })
    }

    pub fn render(&self, frontend_model: &str) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(&self.body) else { return self.body.to_vec() };
        rewritten(text, &self.plan, &json::written(frontend_model))
    }
}
