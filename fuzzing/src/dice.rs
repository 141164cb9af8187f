//! Choices read from bytes, so that a fuzzer that mutates the bytes mutates the choices.

/// Makes choices until the bytes are used up, then always the first one.
pub struct Dice<'a> {
    left: &'a [u8],
}

/// Numbers at which arithmetic and parsers fail.
const NUMBERS: [&str; 40] = [
    "0",
    "1",
    "-1",
    "-0",
    "9",
    "127",
    "128",
    "129",
    "255",
    "256",
    "1024",
    "65535",
    "65536",
    "99999999",
    "100000000",
    "100000001",
    "1000000000000",
    "1000000000001",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740991",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "0.1",
    "1.0",
    "1.5",
    "1e3",
    "1E-7",
    "1e308",
    "1e309",
    "0.0000000001",
    "00",
];

impl<'a> Dice<'a> {
    pub const fn new(input: &'a [u8]) -> Self {
        Self { left: input }
    }

    pub fn byte(&mut self) -> u8 {
        match self.left.split_first() {
            Some((first, rest)) => {
                self.left = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// 0 to `end - 1`; 0 if `end` is 0. Uses no more bytes than the choice needs.
    pub fn below(&mut self, end: usize) -> usize {
        let bytes = match end {
            0 | 1 => return 0,
            2..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        let drawn = (0..bytes).fold(0_usize, |drawn, _| drawn << 8 | usize::from(self.byte()));
        drawn % end
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        // The last and not the first, so that used-up dice do not choose rare cases.
        self.below(of) + 1 == of
    }

    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> Option<&'t T> {
        from.get(self.below(from.len())).copied()
    }

    /// A number as in JSON, often a boundary value; sometimes one that is not valid JSON.
    pub fn number(&mut self) -> String {
        match self.below(4) {
            0 => self.word().to_string(),
            1 => self.byte().to_string(),
            _ => self.pick(&NUMBERS).unwrap_or("0").to_owned(),
        }
    }

    /// At most `max` of the bytes.
    pub fn bytes(&mut self, max: usize) -> &'a [u8] {
        let wanted = self.below(max + 1).min(self.left.len());
        let (taken, rest) = self.left.split_at(wanted);
        self.left = rest;
        taken
    }

    /// At most `max` of the bytes as text.
    pub fn text(&mut self, max: usize) -> String {
        String::from_utf8_lossy(self.bytes(max)).into_owned()
    }

    /// A text of characters from `alphabet`.
    pub fn text_of(&mut self, alphabet: &str, max: usize) -> String {
        let alphabet: Vec<char> = alphabet.chars().collect();
        (0..self.below(max + 1)).filter_map(|_| alphabet.get(self.below(alphabet.len()))).collect()
    }

    /// The remaining bytes.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    /// `whole`, cut at random places.
    pub fn pieces<'w>(&mut self, whole: &'w [u8], cuts_max: usize) -> Vec<&'w [u8]> {
        let mut at: Vec<usize> = (0..self.below(cuts_max + 1)).map(|_| self.below(whole.len() + 1)).collect();
        at.extend([0, whole.len()]);
        at.sort_unstable();
        at.windows(2).filter_map(|pair| whole.get(*pair.first()?..*pair.last()?)).collect()
    }
}
