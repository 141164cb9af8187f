//! Families of events: types with a name, a version, a payload and a rule for their sequence.

/// The sequences that an event may have on its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceRule {
    /// Sequence 1, which only such events have.
    First,
    Later,
    Anywhere,
}

impl SequenceRule {
    /// True if an event may have this sequence, counted from 1.
    pub const fn allows(self, sequence: u64) -> bool {
        match self {
            Self::First => sequence == 1,
            Self::Later => sequence != 1,
            Self::Anywhere => true,
        }
    }
}

/// The type of an event, and the sequences that such an event may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType {
    pub name: &'static str,
    pub version: u32,
    pub sequence_rule: SequenceRule,
}

/// Defines the enum of a family, with the names, versions and event sets of its types.
macro_rules! family {
    (
        $(#[$doc:meta])* $family:ident {
            $($(#[$fact_doc:meta])*
              $variant:ident($data:ty) $name:literal v $version:literal in set $set:literal at $place:ident;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $family {
            $($(#[$fact_doc])* $variant(Box<$data>),)*
        }

        impl $family {
            /// The name and version of every type.
            pub const TYPES: &'static [(&'static str, u32)] = &[$(($name, $version),)*];
            /// The event set of every type.
            #[cfg(test)]
            pub(super) const EVENT_SETS: &'static [u32] = &[$($set,)*];

            pub(super) const fn event_set(&self) -> u32 {
                match self { $(Self::$variant(_) => $set,)* }
            }

            pub(super) const fn event_type(&self) -> $crate::event::EventType {
                let (name, version, sequence_rule) = match self {
                    $(Self::$variant(_) => ($name, $version, $crate::event::SequenceRule::$place),)*
                };
                $crate::event::EventType { name, version, sequence_rule }
            }

            pub(super) fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                match self { $(Self::$variant(data) => $crate::compact_json::write(out, &**data),)* }
            }

            /// `None` for a type of another family.
            pub(super) fn decode(
                name: &str,
                version: u32,
                payload: &str,
            ) -> Option<Result<Self, $crate::event::DecodeError>> {
                Some(match (name, version) {
                    $(($name, $version) => $crate::event::decode_data(name, version, payload).map(Self::$variant),)*
                    _ => return None,
                })
            }
        }

        impl From<$family> for $crate::event::Event {
            fn from(fact: $family) -> Self {
                Self::$family(fact)
            }
        }
    };
}

pub(super) use family;
