//! Carries a plan out: one request after the other, each with an `Idempotency-Key`, so that one whose answer was lost can be sent
//! again.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::super::gateway_client::{GatewayClient, GatewayError};
use super::conditions;
use super::plan::{Action, Change, Plan};
use super::prune::Deletion;
use super::references::{FieldTree, TextForm};

/// Attempts of one request.
const ATTEMPTS: usize = 3;
const OTHERS_TURN: &str = "another gateway applies its files now";
const PAUSE: Duration = Duration::from_secs(1);

/// A change that failed, and how many before it were carried out.
#[derive(Debug)]
pub struct FailedChange<'a> {
    pub done: usize,
    pub at: Change<'a>,
    pub error: GatewayError,
}

/// The ids of new resources, by those that stood for them in the plan.
#[derive(Default)]
struct NewIds(BTreeMap<String, String>);

/// Carries out every change for as long as `may_go_on`. `run` tells this run from all others.
///
/// Errors: the first step that fails; those after it are not carried out.
pub async fn carry_out<'a>(
    plan: &'a Plan,
    gateway: &GatewayClient,
    run: &str,
    may_go_on: impl Fn() -> bool,
) -> Result<(), FailedChange<'a>> {
    let mut new_ids = NewIds::default();
    for (done, change) in plan.changes().enumerate() {
        if !may_go_on() {
            return Err(FailedChange { done, at: change, error: gateway.unexpected(OTHERS_TURN) });
        }
        let request = request(change, &new_ids);
        let answer = send(gateway, &request, &format!("apply-{run}-{done}")).await;
        let answer = answer.map_err(|error| FailedChange { done, at: change, error })?;
        new_ids.note(change, &answer);
    }
    Ok(())
}

/// A request to the gateway that carries out a change.
struct ChangeRequest {
    method: Method,
    path: String,
    body: Option<String>,
}

fn request(change: Change<'_>, new_ids: &NewIds) -> ChangeRequest {
    let step = match change {
        Change::Deletion(Deletion { kind, id, .. }) => {
            let path = format!("{}/{id}", kind.format().path);
            return ChangeRequest { method: Method::DELETE, path, body: None };
        }
        Change::Step(step) => step,
    };
    let format = step.desired.kind.format();
    let collection = format.path;
    let (method, path) = match &step.action {
        Action::Create => (Method::POST, collection.to_owned()),
        Action::Change { id, .. } => (Method::PATCH, format!("{collection}/{id}")),
    };
    let mut body = Value::Object(step.body());
    new_ids.put_into(&mut body, &FieldTree::of(&format.schema()));
    ChangeRequest { method, path, body: Some(body.to_string()) }
}

async fn send(
    gateway: &GatewayClient,
    ChangeRequest { method, path, body }: &ChangeRequest,
    idempotency_key: &str,
) -> Result<Value, GatewayError> {
    let mut attempt = 1;
    loop {
        match gateway.command(method.clone(), path, body.clone(), idempotency_key).await {
            Err(error) if attempt < ATTEMPTS && error.may_be_retried() => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

impl NewIds {
    fn note(&mut self, change: Change<'_>, answer: &Value) {
        let Change::Step(step) = change else { return };
        if let (Action::Create, Some(stand_in), Some(id)) = (&step.action, &step.desired.id, answer["id"].as_str()) {
            self.0.insert(stand_in.clone(), id.to_owned());
        }
    }

    fn put_into(&self, value: &mut Value, tree: &FieldTree) {
        match value {
            Value::String(text) => self.put_into_text(text, tree.text()),
            Value::Array(items) => items.iter_mut().for_each(|item| self.put_into(item, tree.item())),
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, member)| self.put_into(member, tree.field(name)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn put_into_text(&self, text: &mut String, form: TextForm) {
        match form {
            TextForm::Whole => {
                if let Some(id) = self.0.get(text) {
                    text.clone_from(id);
                }
            }
            TextForm::Backend => {
                if let Some((stand_in, model)) = text.split_once('/')
                    && let Some(id) = self.0.get(stand_in)
                {
                    *text = format!("{id}/{model}");
                }
            }
            TextForm::Condition => *text = conditions::with_new_ids(text, |stand_in| self.0.get(stand_in).cloned()),
        }
    }
}
