//! One call for a whole answer. Dropped because its client has left, it goes on where the upstream may have seen the
//! request: see [`AbandonedCalls`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use dialects::{FailedAnswer, Surface, WholeAnswer, read_whole};
use tokio::sync::oneshot;
use upstream::Transmission;

use super::abandoned::Owner;
use super::answer_permit::AnswerPermit;
use super::call::call;
use super::failure::CallFailure;
use super::gateway::Gateway;
use super::running::Running;
use super::target::PlannedTarget;

/// A whole answer, and what it is counted with.
pub struct HeldAnswer {
    pub answer: WholeAnswer,
    pub permit: AnswerPermit,
}

/// The request, and what came of the call that it was making.
type Ended = (Box<Running>, Result<HeldAnswer, CallFailure>);

/// Makes the call that `running` has begun, and tells when the answer to it begins.
pub async fn ask(
    gateway: &Arc<Gateway>,
    surface: Surface,
    target: &Arc<PlannedTarget>,
    body: Bytes,
    running: Box<Running>,
    begins: oneshot::Sender<()>,
) -> Ended {
    let (owner, transmission) = (running.owner(), running.transmission().clone());
    let call = Box::pin(make(Arc::clone(gateway), surface, Arc::clone(target), body, running, begins));
    Attended { call: Some(call), gateway: Arc::clone(gateway), owner, transmission }.await
}

async fn make(
    gateway: Arc<Gateway>,
    surface: Surface,
    target: Arc<PlannedTarget>,
    body: Bytes,
    mut running: Box<Running>,
    begins: oneshot::Sender<()>,
) -> Ended {
    let answer = answer(&gateway, surface, &target, body, &mut running, begins).await;
    (running, answer)
}

async fn answer(
    gateway: &Gateway,
    surface: Surface,
    target: &PlannedTarget,
    body: Bytes,
    running: &mut Running,
    begins: oneshot::Sender<()>,
) -> Result<HeldAnswer, CallFailure> {
    let mut called = call(gateway, target, body, &running.request_id(), running).await?;
    running.answered_by(called.upstream_request_id);
    // Whoever asked may have left.
    let _ = begins.send(());
    let mut permit = AnswerPermit::of(gateway, running);
    let whole = called.body.whole(&mut permit).await?;
    let answer = read_whole(target.provider.kind, surface, whole);
    let answer = answer.map_err(|FailedAnswer { fault, metered }| {
        running.answer_failed(metered);
        called.body.fault(fault)
    })?;
    running.first_token();
    Ok(HeldAnswer { answer, permit })
}

/// A call while its client waits for it.
struct Attended<F: Future<Output = Ended> + Send + 'static> {
    call: Option<Pin<Box<F>>>,
    gateway: Arc<Gateway>,
    owner: Owner,
    transmission: Transmission,
}

impl<F: Future<Output = Ended> + Send + 'static> Future for Attended<F> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        let Some(call) = &mut self.call else { return Poll::Pending };
        let ended = ready!(call.as_mut().poll(context));
        self.call = None;
        Poll::Ready(ended)
    }
}

impl<F: Future<Output = Ended> + Send + 'static> Drop for Attended<F> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.transmission.cancel() {
            return;
        }
        let count = self.gateway.figures.count_abandoned_call();
        let to_its_end = async move {
            let (running, answer) = call.await;
            running.end_abandoned(answer.map(|held| held.answer));
        };
        self.gateway.abandoned.go_on(self.owner, count, to_its_end);
    }
}
