//! Which thread a request of administration runs on.

use std::panic::resume_unwind;

use axum::response::Response;
use events::refusal::{ErrorCode, Refusal};
use openapi::refusals;
use projections::caller::Caller;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// True for the check of a provider. The connection that it opens stays with the thread, for requests that follow.
pub fn calls_provider(path: &str) -> bool {
    path.ends_with("/test")
}

/// Routes a request of administration, that of a tenant or a partner on the thread of commands. It ends if nobody waits for it any more.
pub async fn route_for(
    caller: &Caller,
    commands: &Handle,
    routing: impl Future<Output = Response> + Send + 'static,
) -> Response {
    if caller.reaches_platform() {
        return routing.await;
    }
    match AbortOnDropHandle::new(commands.spawn(routing)).await {
        Ok(response) => response,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(error) => refusals::response(Refusal::new(ErrorCode::Overloaded, "the gateway is stopping").because(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use events::event::Chain;
    use events::event::admin::Reach;
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;
    use tokio::task::{JoinSet, yield_now};
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// The operator, and a key of a tenant.
    fn callers() -> [Caller; 2] {
        let operator = Caller::operator(Chain::default());
        let tenant = Uuid::from_u128(1).into();
        [operator.clone(), Caller { reach: Reach::Tenant(tenant), ..operator }]
    }

    /// A runtime with a thread of its own, which is never dropped.
    fn commands() -> &'static Handle {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        Box::leak(Box::new(runtime)).handle()
    }

    #[tokio::test]
    async fn commands_of_tenants_run_on_their_own_thread_and_the_operators_do_not() {
        let (commands, [operator, tenant]) = (commands(), callers());
        for (caller, runtime) in [(operator, Handle::current().id()), (tenant, commands.id())] {
            let (sender, ran_on) = oneshot::channel();
            let routing = async move {
                let _ = sender.send(Handle::current().id());
                Response::default()
            };
            route_for(&caller, commands, routing).await;
            assert_eq!(ran_on.await, Ok(runtime));
        }
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_ends() {
        let [_, tenant] = callers();
        let ((guard, ended), (begins, begun)) = (oneshot::channel::<()>(), oneshot::channel());
        let routing = async move {
            let _guard = guard;
            let _ = begins.send(());
            pending::<Response>().await
        };
        let mut request = Box::pin(route_for(&tenant, commands(), routing));
        let has_begun = async {
            tokio::select! {
                _ = &mut request => false,
                begun = begun => begun.is_ok(),
            }
        };
        assert!(timeout(SOON, has_begun).await.expect("in time"));
        drop(request);
        assert!(timeout(SOON, ended).await.expect("in time").is_err());
    }

    #[tokio::test]
    async fn a_panic_of_a_command_is_passed_on() {
        let [_, tenant] = callers();
        let mut requests = JoinSet::new();
        requests.spawn(async move {
            let fail = || -> Response { panic!("meant") };
            let routing = async move {
                yield_now().await;
                fail()
            };
            route_for(&tenant, commands(), routing).await
        });
        let ended = requests.join_next().await.expect("the request");
        assert!(ended.is_err_and(|error| error.is_panic()));
    }
}
