//! Sets of the words of one enum.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum whose variants are words; `named!` makes it one.
pub trait NamedEnum: Copy + 'static {
    const ALL: &'static [Self];

    /// The index in [`Self::ALL`].
    fn index(self) -> u32;

    fn word(self) -> &'static str;
}

/// A set of such words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NamedSet<T>(u32, PhantomData<T>);

impl<T> NamedSet<T> {
    pub const NONE: Self = Self(0, PhantomData);

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of this set that are not in the other one.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0, PhantomData)
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0, PhantomData)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0, PhantomData)
    }
}

impl<T: NamedEnum> NamedSet<T> {
    /// Larger enums have no sets: this is checked where one is used.
    const FITS: () = assert!(T::ALL.len() <= u32::BITS as usize);

    #[must_use]
    pub fn with(self, value: T) -> Self {
        Self(self.0 | Self::bit(value), PhantomData)
    }

    /// The set with the value, if this holds.
    #[must_use]
    pub fn with_if(self, value: T, holds: bool) -> Self {
        if holds { self.with(value) } else { self }
    }

    pub fn contains(self, value: T) -> bool {
        self.0 & Self::bit(value) != 0
    }

    fn bit(value: T) -> u32 {
        const { Self::FITS };
        1 << value.index()
    }

    pub fn iter(self) -> impl Iterator<Item = T> {
        T::ALL.iter().copied().filter(move |value| self.contains(*value))
    }
}

impl<T> Default for NamedSet<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: NamedEnum> FromIterator<T> for NamedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The words, with commas between them.
impl<T: NamedEnum> fmt::Display for NamedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, value) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, value.word())?;
        }
        Ok(())
    }
}

/// Serialized as a list of words.
impl<T: NamedEnum> Serialize for NamedSet<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(NamedEnum::word))
    }
}

/// Words of later versions are left out.
impl<'de, T: NamedEnum> Deserialize<'de> for NamedSet<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Ok(words.iter().filter_map(|word| T::ALL.iter().copied().find(|value| value.word() == word)).collect())
    }
}
