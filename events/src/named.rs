//! Enums whose variants are words, on the wire, in columns and in text. Each word is a literal, written once, so that no
//! name in the code decides what is recorded.

/// A value with the word for it. Tables of them say which words are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedValue<T> {
    pub name: &'static str,
    pub value: T,
}

impl<T> NamedValue<T> {
    pub const fn new(name: &'static str, value: T) -> Self {
        Self { name, value }
    }
}

/// True for a value that events leave out, as they did before its field existed.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Defines an enum that is read and written as words: `ALL`, in the order of the rows, `words`, `parse`, `as_str`, `Display`,
/// and [`crate::named_set::NamedEnum`] for sets of them.
#[macro_export]
macro_rules! named {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, $crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "events::serde")]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// All variants with their words.
            pub const NAMED: &'static [$crate::named::NamedValue<Self>] =
                &[$($crate::named::NamedValue::new($word, Self::$variant),)+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The words of all variants.
            pub fn words() -> impl Iterator<Item = &'static str> {
                Self::NAMED.iter().map(|named| named.name)
            }

            /// `None` if no variant has this word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl $crate::named_set::NamedEnum for $name {
            const ALL: &'static [Self] = Self::ALL;

            fn index(self) -> u32 {
                self as u32
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
