//! One call for a whole answer. When its client leaves, the call goes on if the upstream may have seen the request: see
//! [`AbandonedCalls`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialects::{AnswerReader, FailedAnswer, UpstreamFault, WholeAnswer};
use projections::figures::GaugeGuard;
use provider_client::{Owner, Transmission};
use tokio::sync::oneshot;

use super::answer_permit::AnswerPermit;
use super::upstream_response::send_call;
use crate::body::large_bodies::LargeBodies;
use crate::inference::node::gateway::Gateway;
use crate::inference::running::{CallUnderWay, Running};
use crate::inference::upstream::failure::{CallFailure, Cause};

/// A whole answer, and the permit for its memory.
pub struct HeldAnswer {
    pub answer: WholeAnswer,
    pub permit: AnswerPermit,
}

/// The request, and the outcome of its call.
type CallOutcome = (Box<Running>, Result<HeldAnswer, CallFailure>);

/// Makes the call that is under way. `begins` is signalled when its answer begins.
pub async fn call_whole(
    gateway: &Arc<Gateway>,
    reader: AnswerReader,
    body: Bytes,
    mut running: Box<Running>,
    begins: oneshot::Sender<()>,
) -> CallOutcome {
    let transmission = match running.under_way() {
        Ok(under_way) => under_way.call.transmission.clone(),
        Err(failure) => return (running, Err(failure)),
    };
    let owner = running.request.owner;
    let call = Box::pin({
        let gateway = Arc::clone(gateway);
        async move {
            let answer = match running.under_way() {
                Ok(mut under_way) => read_answer(&gateway, reader, body, &mut under_way, begins).await,
                Err(failure) => Err(failure),
            };
            if answer.is_ok() {
                running.answer_begins();
            }
            (running, answer)
        }
    });
    AwaitedCall { call: Some(call), gateway: Arc::clone(gateway), owner, transmission }.await
}

/// Calls the target and reads its answer. `begins` is signalled when that begins.
pub async fn read_answer(
    gateway: &Gateway,
    reader: AnswerReader,
    body: Bytes,
    under_way: &mut CallUnderWay<'_>,
    begins: oneshot::Sender<()>,
) -> Result<HeldAnswer, CallFailure> {
    let mut called = send_call(gateway, body, under_way).await?;
    let kind = under_way.call.target.kind;
    under_way.answered(called.upstream_request_id);
    // The receiver may be gone: its client has left.
    let _ = begins.send(());
    let mut permit = AnswerPermit::of(gateway, under_way.request);
    let whole = called.body.whole(&mut permit).await.map_err(|failure| asked_for(under_way, failure))?;
    let (tenant, answer_text) = (permit.tenant(), under_way.request.content.answer_text());
    let (answer, permit) = if reader.is_slow() && LargeBodies::is_large(whole.len()) {
        let read = move || (reader.read(kind, whole, answer_text), permit);
        let read = gateway.memory.large_bodies.run_until(under_way.request.deadline, tenant, read).await;
        read.map_err(|error| CallFailure::of(Cause::NotRead(error)))?
    } else {
        (reader.read(kind, whole, answer_text), permit)
    };
    let answer = answer.map_err(|FailedAnswer { fault, metered }| {
        under_way.answer_failed(metered);
        called.body.fault(fault)
    })?;
    under_way.first_token();
    Ok(HeldAnswer { answer, permit })
}

/// A call while its client waits for it. Dropped, it hands the call over to [`AbandonedCalls`].
struct AwaitedCall<F: Future<Output = CallOutcome> + Send + 'static> {
    call: Option<Pin<Box<F>>>,
    gateway: Arc<Gateway>,
    owner: Owner,
    transmission: Transmission,
}

impl<F: Future<Output = CallOutcome> + Send + 'static> Future for AwaitedCall<F> {
    type Output = CallOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CallOutcome> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let ended = ready!(call.as_mut().poll(context));
        self.call = None;
        Poll::Ready(ended)
    }
}

impl<F: Future<Output = CallOutcome> + Send + 'static> Drop for AwaitedCall<F> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.transmission.cancel() {
            return;
        }
        let count = GaugeGuard::of(&self.gateway.figures.abandoned_calls);
        let to_its_end = async move {
            let (running, answer) = call.await;
            running.end_abandoned(answer.map(|held| held.answer));
        };
        self.gateway.background.abandoned.spawn(self.owner, count, to_its_end);
    }
}

/// An answer that is too large is the client's doing if the client asked for that much.
fn asked_for(under_way: &mut CallUnderWay<'_>, failure: CallFailure) -> CallFailure {
    match (&failure.cause, under_way.request.may_ask_too_much) {
        (Cause::Fault(UpstreamFault::TooLarge), Some(too_much)) => {
            under_way.asked_too_much(too_much);
            CallFailure::of(Cause::AskedTooMuch(too_much))
        }
        _ => failure,
    }
}
