//! The trait [`Administered`], in which each of the twelve resources says what is special to it and plans its commands.

use std::future::Future;
use std::sync::LazyLock;

use events::event::{Chain, Stream};
use events::ids::{TenantId, UserId};
use events_log::SideRow;
use projections::tables::Tables;
use secrets::Secret;
use serde_json::{Map, Value};

use super::AdminState;
use super::admin_context::AdminContext;
use super::declaration::Declaration;
use super::field_values::FieldValues;
use super::lifecycle::{Command, RuleError, Rules, StateOf};
use super::names::release;
use crate::admin::error::CommandError;

/// A planned command, or the reason why the caller may not give it.
pub type PlanResult<R> = Result<CommandPlan<R>, CommandError>;

/// The parts of the administration in which the twelve resources differ.
pub trait Administered: Rules {
    /// The path of the collection.
    const PATH: &'static str;
    const DECLARATION: &'static LazyLock<Declaration>;

    /// Completes the values of a creation, so that a state follows from them without a gateway. Returns the fields that the
    /// state does not have: they are kept beside it, or depend on when the resource is created.
    fn complete(_: &mut FieldValues) -> Result<Map<String, Value>, RuleError> {
        Ok(Map::new())
    }

    /// The owners of the resource and the resource itself; empty for a resource that all tenants share, or that is the
    /// platform's alone.
    fn chain(state: &Self::State, tables: &Tables) -> Chain;

    /// The user whose name and e-mail are added to the reply.
    fn person(_: &Self::State) -> Option<UserId> {
        None
    }

    /// Checks that the caller may create such resources at all.
    fn may_create(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// Checks that the caller, which can see the resource, may change and end it.
    fn may_manage(_: &AdminContext<'_>, _: &Self::State) -> Result<(), CommandError> {
        Ok(())
    }

    /// Checks that the caller, which may manage the resource, may end it.
    fn may_end(_: &AdminContext<'_>) -> Result<(), CommandError> {
        Ok(())
    }

    /// The tenant under legal hold of which something would be deleted with the resource, if there is one.
    fn held(_: &AdminContext<'_>, _: &Self::State) -> Option<TenantId> {
        None
    }

    /// Plans the creation of the resource as `id`.
    fn create(cx: &AdminContext<'_>, id: Self::Id, given: FieldValues)
    -> impl Future<Output = PlanResult<Self>> + Send;

    /// Plans a change of the resource.
    fn change(
        cx: &AdminContext<'_>,
        state: &Self::State,
        given: FieldValues,
    ) -> impl Future<Output = PlanResult<Self>> + Send {
        std::future::ready(Ok(CommandPlan::of(Command::Change(given), state, cx)))
    }

    /// The side rows that are written with its end. By default, its names are free again.
    fn side_rows_at_end(_: &AdminContext<'_>, state: &Self::State) -> Vec<SideRow> {
        vec![release(state.resource().id())]
    }

    /// Fields of the reply to a creation or a change that tell what follows from it: from its event, and the resource's event
    /// before it.
    fn consequences(
        _: &AdminState,
        _: ConsecutiveEvents,
    ) -> impl Future<Output = Result<Map<String, Value>, CommandError>> + Send {
        std::future::ready(Ok(Map::new()))
    }

    /// Fields of the reply to its end, as in [`CommandPlan::extra_fields`].
    fn extra_fields_at_end() -> Map<String, Value> {
        Map::new()
    }
}

/// The log positions of an event of a resource and of the one before it; 0 if there is none.
#[derive(Clone, Copy, Debug)]
pub struct ConsecutiveEvents {
    pub before: u64,
    pub position: u64,
}

/// A command with everything that is recorded or replied along with it.
#[must_use]
pub struct CommandPlan<R: Rules> {
    pub command: Command<R>,
    /// The owners that its events are about.
    pub chain: Chain,
    pub side: Vec<SideRow>,
    /// Other resources that it was planned on: if one changes before the command is recorded, it is planned again.
    pub based_on: Vec<Stream>,
    /// A new secret, which only this reply has.
    pub secret: Option<Secret>,
    /// Fields of the reply besides those of the resource. They are stored for retries, so they hold neither secrets nor
    /// personal data.
    pub extra_fields: Map<String, Value>,
}

impl<R: Rules> CommandPlan<R> {
    fn new(command: Command<R>, chain: Chain) -> Self {
        Self { command, chain, side: Vec::new(), based_on: Vec::new(), secret: None, extra_fields: Map::new() }
    }

    /// Plans a creation, which claims the name of what is made.
    pub fn creation(made: R, chain: Chain) -> Self {
        let claim = made.claim();
        Self::new(Command::Create(made), chain).with_side(claim)
    }

    /// Plans a command to an existing resource.
    pub fn of(command: Command<R>, state: &R::State, cx: &AdminContext<'_>) -> Self
    where
        R: Administered,
    {
        Self::new(command, R::chain(state, &cx.tables))
    }

    pub fn based_on(mut self, streams: impl IntoIterator<Item = Stream>) -> Self {
        self.based_on.extend(streams);
        self
    }

    pub fn with_side(mut self, rows: impl IntoIterator<Item = SideRow>) -> Self {
        self.side.extend(rows);
        self
    }
}
