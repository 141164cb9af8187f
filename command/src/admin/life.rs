//! The life that all nine resources of administration share: made once, changed while they live, ended once. Each file
//! beside this one has its own commands, facts and rules; what they have in common with `cqrs_es` is made here.

use events::event::{Event, StreamKind};
use serde::{Deserialize, Serialize};

/// A resource as its facts have left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life<T> {
    #[default]
    Absent,
    Live(T),
    Ended(T),
}

/// The resource is not where a command needs it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifeError {
    #[error("exists already")]
    Exists,
    #[error("does not exist")]
    Absent,
    #[error("has ended")]
    Ended,
}

/// A fact of another kind stands on the stream: a defect, or a damaged log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found} does not belong on a stream of {}", kind.as_str())]
pub struct ForeignFact {
    pub kind: StreamKind,
    pub found: &'static str,
}

impl<T> Life<T> {
    /// For a command that makes it.
    pub const fn absent(&self) -> Result<(), LifeError> {
        match self {
            Self::Absent => Ok(()),
            Self::Live(_) => Err(LifeError::Exists),
            Self::Ended(_) => Err(LifeError::Ended),
        }
    }

    /// For a command that changes it.
    pub const fn live(&self) -> Result<&T, LifeError> {
        match self {
            Self::Absent => Err(LifeError::Absent),
            Self::Live(state) => Ok(state),
            Self::Ended(_) => Err(LifeError::Ended),
        }
    }

    /// Its newest state, also after its end.
    pub const fn state(&self) -> Option<&T> {
        match self {
            Self::Absent => None,
            Self::Live(state) | Self::Ended(state) => Some(state),
        }
    }

    /// The facts that end it: none where it has ended before, so that a repeated `DELETE` changes nothing.
    pub fn end<F>(&self, ended: impl FnOnce(&T) -> F) -> Result<Vec<F>, LifeError> {
        match self {
            Self::Absent => Err(LifeError::Absent),
            Self::Live(state) => Ok(vec![ended(state)]),
            Self::Ended(_) => Ok(vec![]),
        }
    }

    /// Takes in the fact that it has ended.
    pub fn has_ended(&mut self) {
        if let Self::Live(state) = std::mem::take(self) {
            *self = Self::Ended(state);
        }
    }
}

/// An aggregate of administration: [`cqrs_es::Aggregate`] whose facts are the log's own events.
pub trait AdminAggregate: cqrs_es::Aggregate<Event = Self::Fact, Services = (), Command: Send, Error: Send> {
    type Fact: cqrs_es::DomainEvent + Into<Event> + TryFrom<Event, Error = ForeignFact>;
    /// What a client knows as the resource.
    type State: Clone + Send + Sync;
    const KIND: StreamKind;

    fn life(&self) -> &Life<Self::State>;
}

/// Ties a resource's own facts, commands and two pure functions (`decide` and `evolve`, in scope where it is used) to
/// `cqrs_es` and to the log. The names and versions of the facts are those of [`Event`]: there is one list of them.
macro_rules! admin_aggregate {
    (
        $state:ty, $kind:ident, $name:literal, $command:ty, $error:ty,
        $(#[$doc:meta])* $fact:ident {
            $created:ident($made:ty), $changed:ident($new:ty), $ended:ident($end:ty) $(, $beside:ident($data:ty))*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $fact {
            $created($made),
            $changed($new),
            $ended($end),
            $($beside($data),)*
        }

        impl From<$fact> for events::event::Event {
            fn from(fact: $fact) -> Self {
                use events::event::{Change, Resource};
                Self::Resource(match fact {
                    $fact::$created(made) => Resource::$kind(Change::created(made)),
                    $fact::$changed(new) => Resource::$kind(Change::changed(new)),
                    $fact::$ended(end) => Resource::$kind(Change::Ended(end.id)),
                    $($fact::$beside(data) => Resource::$beside(Box::new(data)),)*
                })
            }
        }

        impl TryFrom<events::event::Event> for $fact {
            type Error = $crate::admin::life::ForeignFact;

            fn try_from(event: events::event::Event) -> Result<Self, Self::Error> {
                use events::event::{Change, Event, Resource};
                match event {
                    Event::Resource(Resource::$kind(Change::Created(made))) => Ok(Self::$created(*made)),
                    Event::Resource(Resource::$kind(Change::Changed(new))) => Ok(Self::$changed(*new)),
                    Event::Resource(Resource::$kind(Change::Ended(id))) => {
                        Ok(Self::$ended(events::event::admin::Ended { id }))
                    }
                    $(Event::Resource(Resource::$beside(data)) => Ok(Self::$beside(*data)),)*
                    other => Err($crate::admin::life::ForeignFact {
                        kind: events::event::StreamKind::$kind,
                        found: other.name(),
                    }),
                }
            }
        }

        impl cqrs_es::DomainEvent for $fact {
            fn event_type(&self) -> String {
                events::event::Event::from(self.clone()).name().to_owned()
            }

            fn event_version(&self) -> String {
                events::event::Event::from(self.clone()).version().to_string()
            }
        }

        impl cqrs_es::Aggregate for $crate::admin::life::Life<$state> {
            const TYPE: &'static str = $name;
            type Command = $command;
            type Event = $fact;
            type Error = $error;
            type Services = ();

            async fn handle(
                &mut self,
                command: Self::Command,
                (): &Self::Services,
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), Self::Error> {
                for fact in decide(self, command)? {
                    sink.write(fact, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, fact: Self::Event) {
                evolve(self, fact);
            }
        }

        impl $crate::admin::life::AdminAggregate for $crate::admin::life::Life<$state> {
            type Fact = $fact;
            type State = $state;
            const KIND: events::event::StreamKind = events::event::StreamKind::$kind;

            fn life(&self) -> &$crate::admin::life::Life<$state> {
                self
            }
        }

        #[cfg(test)]
        fn given(facts: impl IntoIterator<Item = $fact>) -> $crate::admin::life::spec::Given<Life<$state>> {
            $crate::admin::life::spec::given(facts)
        }
    };
}

pub(crate) use admin_aggregate;

/// Decisions as sentences: `given([facts]).when(command).then([facts])`.
#[cfg(test)]
pub mod spec {
    use std::fmt::Debug;

    use cqrs_es::event_sink::EventSink;

    use super::AdminAggregate;

    pub struct Given<A>(A);

    pub struct Decided<A: AdminAggregate>(Result<Vec<A::Fact>, A::Error>);

    pub fn given<A: AdminAggregate>(facts: impl IntoIterator<Item = A::Fact>) -> Given<A> {
        let mut aggregate = A::default();
        facts.into_iter().for_each(|fact| aggregate.apply(fact));
        Given(aggregate)
    }

    impl<A: AdminAggregate> Given<A> {
        pub fn when(mut self, command: A::Command) -> Decided<A> {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            Decided(runtime.block_on(async {
                let sink = EventSink::default();
                self.0.handle(command, &(), &sink).await?;
                Ok(sink.collect().await)
            }))
        }
    }

    impl<A: AdminAggregate<Error: PartialEq + Debug>> Decided<A> {
        pub fn then(self, facts: impl IntoIterator<Item = A::Fact>) {
            assert_eq!(self.0, Ok(facts.into_iter().collect()));
        }

        pub fn then_nothing(self) {
            self.then([]);
        }

        pub fn then_refused(self, error: A::Error) {
            assert_eq!(self.0, Err(error));
        }
    }

    /// An id of any kind, by number.
    pub fn id<I: From<uuid::Uuid>>(number: u128) -> I {
        I::from(uuid::Uuid::from_u128(number))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Change;
    use events::event::admin::{Ended, Tenant};

    use super::*;
    use crate::admin::partner::PartnerFact;

    #[test]
    fn an_end_keeps_the_state_and_a_second_one_is_nothing_new() {
        let mut life = Life::Live(7);
        assert_eq!(life.end(|state| *state), Ok(vec![7]));
        life.has_ended();
        assert_eq!(life, Life::Ended(7));
        assert_eq!(life.end(|state| *state), Ok(vec![]));
        assert_eq!(life.live(), Err(LifeError::Ended));
        assert_eq!(Life::<u8>::Absent.end(|state| *state), Err(LifeError::Absent));
    }

    #[test]
    fn facts_have_the_names_of_the_logs_events_and_no_others_pass_for_them() {
        use cqrs_es::DomainEvent;
        let fact = PartnerFact::PartnerEnded(Ended { id: spec::id(1) });
        assert_eq!((fact.event_type().as_str(), fact.event_version().as_str()), ("partner.ended", "1"));
        assert_eq!(PartnerFact::try_from(Event::from(fact.clone())), Ok(fact));
        let foreign = Event::from(Change::<Tenant>::Ended(spec::id(1)));
        let found = ForeignFact { kind: StreamKind::Partner, found: "tenant.ended" };
        assert_eq!(PartnerFact::try_from(foreign), Err(found));
    }
}
