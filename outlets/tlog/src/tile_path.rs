//! The part of a path that tiles and entry bundles share: `<N>[.p/<W>]`. The index has three digits in each element, and all but
//! the last begin with an `x`, so that no name is a file and a folder at a time: index 1234067 is `x001/x234/067`.

use std::fmt;

use crate::decimal;

/// How many hashes a full tile has, and how many entries a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Longer than every path of a tile: six elements before the last one, a level and a width.
const PATH_BYTES_MAX: usize = 64;
const ELEMENT_BASE: u64 = 1000;

/// A text is not the path of a tile, or of an entry bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile or of an entry bundle")]
pub struct MalformedPath;

/// Which of the tiles of one level, and how many hashes or entries it has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IndexAndWidth {
    pub index: u64,
    /// 1 to 256; below 256 it is partial.
    pub width: u16,
}

impl IndexAndWidth {
    pub fn new(index: u64, width: u16) -> Option<Self> {
        (1..=TILE_WIDTH).contains(&width).then_some(Self { index, width })
    }

    /// Reads only what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > PATH_BYTES_MAX {
            return None;
        }
        let (elements, width) = match text.split_once(".p/") {
            Some((elements, width)) => (elements, u16::try_from(decimal::parse(width)?).ok()?),
            None => (text, TILE_WIDTH),
        };
        let mut index = 0_u64;
        for element in elements.split('/') {
            let digits = element.strip_prefix('x').unwrap_or(element);
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
            index = index.checked_mul(ELEMENT_BASE)?.checked_add(number)?;
        }
        // Where an `x` stands, how many digits an element has, and which widths are written, is compared as a whole.
        Self::new(index, width).filter(|read| read.to_string() == text)
    }
}

impl fmt::Display for IndexAndWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut divisor = 1;
        while self.index / divisor >= ELEMENT_BASE {
            divisor *= ELEMENT_BASE;
        }
        while divisor > 1 {
            write!(f, "x{:03}/", self.index / divisor % ELEMENT_BASE)?;
            divisor /= ELEMENT_BASE;
        }
        write!(f, "{:03}", self.index % ELEMENT_BASE)?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_has_three_digits_in_each_element() {
        for (index, width, text) in [
            (0, 256, "000"),
            (7, 1, "007.p/1"),
            (999, 255, "999.p/255"),
            (1000, 256, "x001/000"),
            (1_234_067, 256, "x001/x234/067"),
            (u64::MAX, 255, "x018/x446/x744/x073/x709/x551/615.p/255"),
        ] {
            let read = IndexAndWidth { index, width };
            assert_eq!(read.to_string(), text);
            assert_eq!(IndexAndWidth::parse(text), Some(read));
        }
    }

    #[test]
    fn other_forms_of_an_index_are_refused() {
        for text in [
            "",
            "0",
            "00",
            "0000",
            "x000",
            "x000/000",
            "001/000",
            "x001/x000",
            "x01/000",
            "xx01/000",
            "x001//000",
            "/000",
            "000/",
            "+01",
            "000.p/0",
            "000.p/256",
            "000.p/",
            "000.p/01",
            "000.p/+1",
            "000.p/1/",
            "000.p/1.p/1",
            "000.P/1",
            "x018/x446/x744/x073/x709/x551/616",
            "x001/x001/x001/x001/x001/x001/x001/000",
            "٠٠٠",
            "x",
            "x/000",
        ] {
            assert_eq!(IndexAndWidth::parse(text), None, "{text}");
        }
        assert_eq!(IndexAndWidth::parse(&"x000/".repeat(100_000)), None);
    }
}
