use proptest::prelude::*;

use super::*;
use crate::UpstreamFault::Malformed;

fn expecting(count: usize, encoding: Encoding) -> ExpectedVectors {
    ExpectedVectors { count, dimensions: None, encoding }
}

fn in_order<'a>(vectors: &[&'a str]) -> Vec<IndexedVector<'a>> {
    vectors.iter().enumerate().map(|(index, json)| IndexedVector { index, json }).collect()
}

fn checked(vectors: &[&str]) -> Result<(), UpstreamFault> {
    Vectors::check(&in_order(vectors), &expecting(vectors.len(), Encoding::Float)).map(|_| ())
}

/// The vectors as they are written in an encoding.
fn written(vectors: &[&str], encoding: Encoding) -> Result<Vec<String>, UpstreamFault> {
    let mut out = Vec::new();
    let found = in_order(vectors);
    Vectors::check(&found, &expecting(found.len(), encoding))?.write(encoding, |vector| out.push(vector.to_owned()))?;
    Ok(out)
}

fn base64_of(floats: &[f32]) -> String {
    let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
    format!("\"{}\"", STANDARD.encode(bytes))
}

#[test]
fn what_is_not_a_vector_of_finite_numbers_is_a_fault() {
    for vector in ["[1,-0.5,2e-3]", " [ 1 ,\n2 ]".trim(), "[0]", "[1e-60]", "[340282346638528859811704183484516925440]"]
    {
        assert_eq!(checked(&[vector]), Ok(()), "{vector}");
    }
    for vector in ["null", "1", "{}", "true", "", "[null]", "[[1]]", r#"["1"]"#, "[1,true]", "[1,{}]"] {
        assert_eq!(checked(&[vector]), Err(NOT_A_VECTOR), "{vector}");
    }
    let long = format!("[1{}]", "0".repeat(39));
    for vector in ["[1e39]", "[-1E+39]", "[1e999]", &long, "[340282356779733661637539395458142568448]"] {
        assert_eq!(checked(&[vector]), Err(NOT_FINITE), "{vector}");
    }
    for vector in ["[]", "[ ]", r#""""#] {
        assert_eq!(checked(&[vector]), Err(Malformed("an empty vector")), "{vector}");
    }
    for vector in [r#""AAAA""#, r#""AAAAAA""#, r#""AACAPw""#, r#""????""#, r#""\ud800""#] {
        assert_eq!(checked(&[vector]), Err(NOT_BASE64), "{vector}");
    }
    for float in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(checked(&[&base64_of(&[1.0, float])]), Err(NOT_FINITE), "{float}");
    }
    assert_eq!(checked(&[&base64_of(&[1.0, f32::MAX, f32::MIN_POSITIVE])]), Ok(()));
}

#[test]
fn vectors_are_as_many_as_inputs_each_of_its_own_and_all_alike() {
    assert_eq!(checked(&["[1,2]", "[3,4]"]), Ok(()));
    assert_eq!(checked(&["[1,2]", "[3]"]), Err(Malformed("vectors of different lengths")));
    let mixed = ["[1,2]", &base64_of(&[1.0, 2.0])];
    assert_eq!(checked(&mixed), Err(Malformed("vectors in two encodings")));
    let of = |indexes: &[usize], count| {
        let found: Vec<_> = indexes.iter().map(|index| IndexedVector { index: *index, json: "[1,2]" }).collect();
        Vectors::check(&found, &expecting(count, Encoding::Float)).map(|_| ())
    };
    for indexes in [&[][..], &[0], &[0, 1, 2]] {
        assert_eq!(of(indexes, 2), Err(Malformed("another number of vectors than inputs")), "{indexes:?}");
    }
    assert_eq!(of(&[0, 0], 2), Err(Malformed("two vectors of one input")));
    assert_eq!(of(&[0, 2], 2), Err(Malformed("a vector of no input")));
    assert_eq!(of(&[0, usize::MAX], 2), Err(Malformed("a vector of no input")));
    assert_eq!(of(&[1, 0], 2), Ok(()));
    for (dimensions, is_it) in [(1, false), (2, true), (3, false)] {
        let expected = ExpectedVectors { dimensions: Some(dimensions), ..expecting(1, Encoding::Float) };
        assert_eq!(Vectors::check(&in_order(&["[1,2]"]), &expected).is_ok(), is_it, "{dimensions}");
    }
}

#[test]
fn vectors_are_put_in_the_order_of_their_inputs() {
    let found = [(2, "[3]"), (0, "[1]"), (1, "[2]")].map(|(index, json)| IndexedVector { index, json });
    let vectors = Vectors::check(&found, &expecting(3, Encoding::Float)).expect("vectors");
    assert!(!vectors.are_in(Encoding::Float));
    let mut out = String::new();
    vectors.write(Encoding::Float, |vector| out.push_str(vector)).expect("they fit");
    assert_eq!(out, "[1][2][3]");
    let vectors = Vectors::check(&in_order(&["[1]"]), &expecting(1, Encoding::Float)).expect("vectors");
    assert_eq!([Encoding::Float, Encoding::Base64].map(|encoding| vectors.are_in(encoding)), [true, false]);
}

/// Holds: inf.embeddings-exact
#[test]
fn digits_are_kept_in_their_encoding_and_rounded_once_in_the_other() {
    let digits = "[-0.006929283495992422, 1.0E-2 ,0.1000]";
    assert_eq!(written(&[digits], Encoding::Float), Ok(vec![digits.to_owned()]));
    // The nearest floats, not those of a number that was rounded to 64 bits before.
    let floats = [-0.006_929_283_5_f32, 0.01, 0.1];
    assert_eq!(written(&[digits], Encoding::Base64), Ok(vec![base64_of(&floats)]));
    assert_eq!(written(&["[1.00000017881393432617187499]"], Encoding::Base64), Ok(vec![base64_of(&[1.000_000_1])]));
    let floats = [0.1_f32, -0.0, 1e-45, f32::MAX];
    assert_eq!(written(&[&base64_of(&floats)], Encoding::Float), Ok(vec!["[0.1,-0.0,1e-45,3.4028235e+38]".to_owned()]));
}

#[test]
fn what_becomes_too_long_is_not_sent() {
    let found = in_order(&["[1,2,3]", "[4,5,6]"]);
    let vectors = Vectors::check(&found, &expecting(2, Encoding::Base64)).expect("vectors");
    // Each is 18 bytes with its quotes.
    for (bytes_max, fits) in [(35, Err(UpstreamFault::TooLarge)), (36, Ok(()))] {
        assert_eq!(vectors.write_within(bytes_max, Encoding::Base64, |_| {}), fits);
    }
}

proptest! {
    /// Holds: inf.embeddings-exact
    #[test]
    fn a_float_is_the_same_after_every_way(
        floats in prop::collection::vec(any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |f| f.is_finite()), 1..40)
    ) {
        let base64 = base64_of(&floats);
        let numbers = written(&[&base64], Encoding::Float).expect("numbers");
        prop_assert!(json::check(&numbers[0]).is_ok(), "{}", numbers[0]);
        prop_assert_eq!(written(&[&numbers[0]], Encoding::Base64).expect("base64"), vec![base64]);
    }
}
