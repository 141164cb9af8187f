//! The vectors of an answer: checked, put in order, and written in the encoding that the client asked for.
//!
//! They stay JSON text until they are converted, so that no digit changes on the way: a list that is passed on is the
//! provider's own, byte for byte. A conversion to base64 rounds each number once, to the nearest 32-bit float, as the
//! format demands; the way back gives the shortest digits that are read as the same float.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Encoding, ExpectedVectors};
use crate::UpstreamFault;
use crate::json::{self, Kind};
use crate::work;

/// Bytes of all vectors of an answer after a conversion, which makes them at most a few times as long.
pub const CONVERTED_BYTES_MAX: usize = 32 * 1024 * 1024;
const FLOAT_BYTES: usize = 4;

const NOT_A_VECTOR: UpstreamFault = UpstreamFault::Malformed("a vector that is not a list of numbers");
const NOT_FINITE: UpstreamFault = UpstreamFault::Malformed("a vector with a number that is not finite");
const NOT_BASE64: UpstreamFault = UpstreamFault::Malformed("a vector that is not the base64 of 32-bit floats");

/// A vector as an upstream wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedVector<'a> {
    /// The input that it belongs to.
    pub index: usize,
    /// JSON that a scan has yielded: a list of numbers, or a string of base64.
    pub json: &'a str,
}

/// The vectors of an answer, in the order of their inputs: as many as there are inputs, all of one length and encoding,
/// every number finite.
#[derive(Debug)]
pub struct Vectors<'a> {
    texts: Vec<&'a str>,
    encoding: Encoding,
    /// The upstream gave them in this order.
    came_in_order: bool,
}

impl<'a> Vectors<'a> {
    /// Checks the vectors of an answer. Errors: not as expected, or not usable.
    pub fn check(found: &[IndexedVector<'a>], expected: &ExpectedVectors) -> Result<Self, UpstreamFault> {
        if found.len() != expected.count {
            return Err(UpstreamFault::Malformed("another number of vectors than inputs"));
        }
        let mut places = vec![None; found.len()];
        for vector in found {
            let place = places.get_mut(vector.index).ok_or(UpstreamFault::Malformed("a vector of no input"))?;
            if place.replace(vector.json).is_some() {
                return Err(UpstreamFault::Malformed("two vectors of one input"));
            }
        }
        // None is missing: there are as many vectors as places, each in its own.
        let texts: Vec<&str> = places.into_iter().flatten().collect();
        let first = texts.first().copied().unwrap_or_default();
        let (encoding, length) = (encoding_of(first)?, length_of(first)?);
        for text in &texts {
            if encoding_of(text)? != encoding {
                return Err(UpstreamFault::Malformed("vectors in two encodings"));
            }
            if length_of(text)? != length {
                return Err(UpstreamFault::Malformed("vectors of different lengths"));
            }
        }
        if expected.dimensions.is_some_and(|wanted| u64::try_from(length) != Ok(wanted)) {
            return Err(UpstreamFault::Malformed("vectors of another length than was asked for"));
        }
        let came_in_order = found.iter().enumerate().all(|(at, vector)| at == vector.index);
        Ok(Self { texts, encoding, came_in_order })
    }

    /// True if the vectors can be passed on as they came.
    pub fn are_in(&self, encoding: Encoding) -> bool {
        self.encoding == encoding && self.came_in_order
    }

    /// Calls `each` for the JSON of every vector, in order and in this encoding. Errors: they are too long in it.
    pub fn write(&self, encoding: Encoding, each: impl FnMut(&str)) -> Result<(), UpstreamFault> {
        self.write_within(CONVERTED_BYTES_MAX, encoding, each)
    }

    fn write_within(
        &self,
        bytes_max: usize,
        encoding: Encoding,
        mut each: impl FnMut(&str),
    ) -> Result<(), UpstreamFault> {
        let (mut converted, mut bytes) = (String::new(), 0_usize);
        for text in &self.texts {
            let written = match (self.encoding, encoding) {
                (Encoding::Float, Encoding::Float) | (Encoding::Base64, Encoding::Base64) => text,
                (Encoding::Float, Encoding::Base64) => to_base64(text, &mut converted)?,
                (Encoding::Base64, Encoding::Float) => to_numbers(text, &mut converted)?,
            };
            bytes += written.len();
            work::steps(written.len());
            if bytes > bytes_max {
                return Err(UpstreamFault::TooLarge);
            }
            each(written);
        }
        Ok(())
    }
}

fn encoding_of(vector: &str) -> Result<Encoding, UpstreamFault> {
    match json::kind(vector) {
        Kind::Array => Ok(Encoding::Float),
        Kind::String => Ok(Encoding::Base64),
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Object => Err(NOT_A_VECTOR),
    }
}

/// The numbers in a vector, at least one. Errors: one that is not finite.
fn length_of(vector: &str) -> Result<usize, UpstreamFault> {
    work::steps(vector.len());
    let length = match encoding_of(vector)? {
        Encoding::Float => numbers(vector)?.try_fold(0, |count, number| float(number?).map(|_| count + 1)),
        Encoding::Base64 => Ok(floats(vector)?.len()),
    }?;
    if length == 0 { Err(UpstreamFault::Malformed("an empty vector")) } else { Ok(length) }
}

/// The numbers of a list, whose grammar was checked when it was scanned.
fn numbers(list: &str) -> Result<impl Iterator<Item = Result<&str, UpstreamFault>>, UpstreamFault> {
    let inside = list.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(NOT_A_VECTOR)?.trim_ascii();
    let numbers = (!inside.is_empty()).then(|| inside.split(',')).into_iter().flatten();
    Ok(numbers.map(|number| {
        let number = number.trim_ascii();
        // Whatever else begins so was not JSON. Some servers write null for what is not a number.
        let is_number = number.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        if is_number { Ok(number) } else { Err(NOT_A_VECTOR) }
    }))
}

/// The nearest 32-bit float. Looking for what cannot be too large takes as long as reading the number.
fn float(number: &str) -> Result<f32, UpstreamFault> {
    let float: f32 = number.parse().map_err(|_| NOT_A_VECTOR)?;
    if float.is_finite() { Ok(float) } else { Err(NOT_FINITE) }
}

/// The floats in a string of base64.
fn floats(string: &str) -> Result<Vec<f32>, UpstreamFault> {
    let text = json::string(string).ok_or(NOT_BASE64)?;
    let bytes = STANDARD.decode(text.as_bytes()).map_err(|_| NOT_BASE64)?;
    let (floats, rest) = bytes.as_chunks::<FLOAT_BYTES>();
    if !rest.is_empty() {
        return Err(NOT_BASE64);
    }
    let floats: Vec<f32> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    if floats.iter().all(|float| float.is_finite()) { Ok(floats) } else { Err(NOT_FINITE) }
}

fn to_base64<'o>(list: &str, out: &'o mut String) -> Result<&'o str, UpstreamFault> {
    let mut bytes = Vec::with_capacity(list.len() / 2);
    for number in numbers(list)? {
        bytes.extend_from_slice(&float(number?)?.to_le_bytes());
    }
    out.clear();
    out.push('"');
    STANDARD.encode_string(&bytes, out);
    out.push('"');
    Ok(out)
}

fn to_numbers<'o>(string: &str, out: &'o mut String) -> Result<&'o str, UpstreamFault> {
    let list = json::written(&floats(string)?);
    out.clear();
    out.push_str(std::str::from_utf8(&list).map_err(|_| NOT_BASE64)?);
    Ok(out)
}

#[cfg(test)]
mod tests;
