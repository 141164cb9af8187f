//! The forms that a secret could be written in.

use memchr::memmem::Finder;

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A secret, looked for in all its forms.
pub struct Wanted {
    forms: Vec<(&'static str, Finder<'static>)>,
}

impl Wanted {
    pub fn new(secret: &str) -> Self {
        Self::of_bytes(secret.as_bytes())
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![
            ("as it is", bytes.to_vec()),
            ("hexadecimal", hex.clone().into_bytes()),
            ("hexadecimal", hex.to_uppercase().into_bytes()),
        ];
        // Where it begins in a longer text decides which of three ways it looks.
        for before in 0..3 {
            let coded = base64(bytes, before);
            let for_urls = coded.iter().map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            });
            forms.push(("base64 for URLs", for_urls.collect()));
            forms.push(("base64", coded));
        }
        let finder = |(name, form): (_, Vec<u8>)| (name, Finder::new(&form).into_owned());
        Self { forms: forms.into_iter().map(finder).collect() }
    }

    pub fn form_in(&self, bytes: &[u8]) -> Option<&'static str> {
        self.forms.iter().find(|(_, form)| form.find(bytes).is_some()).map(|(name, _)| *name)
    }

    pub fn times_as_it_is(&self, bytes: &[u8]) -> usize {
        self.forms.first().map_or(0, |(_, form)| form.find_iter(bytes).count())
    }
}

/// Those characters that depend on these bytes alone, with so many unknown ones in front.
fn base64(bytes: &[u8], before: usize) -> Vec<u8> {
    let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(bytes.iter().copied()).collect();
    let whole = padded.len() / 3 * 3;
    let coded: Vec<u8> = padded[..whole]
        .chunks(3)
        .flat_map(|three| {
            let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            [18, 12, 6, 0].map(|shift| BASE64[(word >> shift & 63) as usize])
        })
        .collect();
    let unknown = if before == 0 { 0 } else { before + 1 };
    coded[unknown..].to_vec()
}

#[test]
fn base64_is_found_wherever_it_begins() {
    let wanted = Wanted::new("a secret of some length");
    for text in [
        "YSBzZWNyZXQgb2Ygc29tZSBsZW5ndGg=",
        "eGEgc2VjcmV0IG9mIHNvbWUgbGVuZ3RoeQ==",
        "eHhhIHNlY3JldCBvZiBzb21lIGxlbmd0aHk=",
        "612073656372657420",
    ] {
        let found = wanted.form_in(format!("{{\"x\":\"{text}\"}}").as_bytes());
        assert_eq!(found.is_some(), text.len() > 20, "{text}: {found:?}");
    }
    assert_eq!(wanted.form_in(b"{\"x\":\"612073656372657420 6f6620736f6d65\"}"), None);
    assert_eq!(wanted.form_in(b"x6120736563726574206f6620736f6d65206c656e677468"), Some("hexadecimal"));
}
