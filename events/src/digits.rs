//! Decimal digits, written by hand: the formatter of the standard library takes five times as long, and a request writes two
//! dozen amounts and times.

/// Fills the places with the last digits of a number, padded with zeros.
pub fn fill(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        *place = last_of(number);
        number /= 10;
    }
}

/// The last digit of a number.
pub fn last_of(number: u64) -> u8 {
    // Always fits.
    b'0' + u8::try_from(number % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn places_get_the_last_digits() {
        for (number, expected) in [(0, "0000"), (7, "0007"), (1234, "1234"), (98_765, "8765"), (u64::MAX, "1615")] {
            let mut places = [b'x'; 4];
            fill(&mut places, number);
            assert_eq!(std::str::from_utf8(&places), Ok(expected), "{number}");
        }
    }
}
