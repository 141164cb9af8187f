//! `CDN-Loop` (RFC 8586): each request to an upstream names this process in it, so that one that comes back is known. An
//! address that leads here by another name cannot be told from others before it is called.

use http::{HeaderMap, HeaderName, HeaderValue};

pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// How every gateway of this kind names itself.
const NAME: &str = "ledgerway";
/// The digits of the id of a process.
const ID_DIGITS: usize = 32;
/// The most gateways that a request may have passed.
const GATEWAYS_MAX: usize = 8;

/// The entry of this process.
#[derive(Clone, Debug)]
pub struct LoopMark {
    id: u128,
    entry: HeaderValue,
}

/// The entries of the gateways that a request has passed, in one line, which goes on with it.
#[derive(Clone, Debug)]
pub struct LoopEntries(HeaderValue);

/// The request goes in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looping {
    /// The request has passed this process before.
    Back,
    /// The request has passed more gateways than a sensible chain has.
    TooMany,
}

impl LoopMark {
    /// The mark of a process, from bytes that no other process has.
    pub fn new(random: [u8; 16]) -> Self {
        let id = u128::from_be_bytes(random);
        Self { id, entry: written(&[id]) }
    }

    /// The gateways that a request has passed, for [`LoopEntries::put_into`]; `None` if it names none, as almost all do.
    /// Whatever else is in the header is a client's own words: it stays here.
    ///
    /// Errors: it must not go on.
    pub fn read(&self, headers: &HeaderMap) -> Result<Option<LoopEntries>, Looping> {
        // As bytes: a proxy may have joined a line of a gateway with whatever a client has sent.
        let lines = headers.get_all(CDN_LOOP).iter();
        let (mut gateways, mut passed) = (0, Vec::new());
        for entry in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
            let mut parts = entry.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(NAME.as_bytes())) {
                continue;
            }
            gateways += 1;
            let mut first = None;
            for id in parts.filter_map(id_in) {
                if id == self.id {
                    return Err(Looping::Back);
                }
                first = first.or(Some(id));
            }
            if passed.len() < GATEWAYS_MAX {
                passed.extend(first);
            }
        }
        if gateways > GATEWAYS_MAX {
            return Err(Looping::TooMany);
        }
        Ok((!passed.is_empty()).then(|| LoopEntries(written(&passed))))
    }

    /// Adds the entry of this process to the headers of a request to an upstream.
    pub(crate) fn put_into(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.entry.clone());
    }
}

impl LoopEntries {
    /// Passes the entries on.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.0.clone());
    }
}

/// The entries of gateways with these ids.
fn written(ids: &[u128]) -> HeaderValue {
    let entries: Vec<_> = ids.iter().map(|id| format!("{NAME}; id={id:032x}")).collect();
    HeaderValue::try_from(entries.join(", ")).expect("names and hexadecimal digits are valid in a header")
}

/// The id in a parameter of an entry, if it is one that a gateway has.
fn id_in(parameter: &[u8]) -> Option<u128> {
    let equals = parameter.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
    let digits = value.strip_prefix(b"\"").and_then(|quoted| quoted.strip_suffix(b"\"")).unwrap_or(value);
    let is_id = name.eq_ignore_ascii_case(b"id")
        && digits.len() == ID_DIGITS
        && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_id)?;
    u128::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CDN_LOOP, HeaderValue::try_from(*line).expect("a value"))).collect()
    }

    /// Returns the entries that are passed on from these lines.
    fn read(lines: &[&str]) -> Result<Option<String>, Looping> {
        let entries = LoopMark::new([7; 16]).read(&headers(lines))?;
        Ok(entries.map(|LoopEntries(line)| line.to_str().expect("text").to_owned()))
    }

    fn entry(id: u8) -> String {
        format!("ledgerway; id={}", format!("{id:02x}").repeat(16))
    }

    /// Holds: http.loop
    #[test]
    fn a_request_that_this_process_sent_is_known_however_its_header_is_written() {
        let own = "07".repeat(16);
        for back in [
            format!("ledgerway; id={own}"),
            format!("other, LEDGERWAY ;a=b;ID = \"{own}\" , x"),
            format!("ledgerway; id={}; id={own}", "08".repeat(16)),
            format!("cdn; id=1,ledgerway;id={own}"),
        ] {
            assert_eq!(read(&["other", &back]), Err(Looping::Back), "{back}");
        }
        assert_eq!(read(&[&[&*["ledgerway"; 9].join(","), &entry(7)].join(",")]), Err(Looping::Back));
        assert_eq!(read(&[]), Ok(None));
    }

    /// Holds: http.loop
    #[test]
    fn a_chain_of_gateways_ends_after_eight_of_them() {
        let chain = |length: u8| (0x10..0x10 + length).map(entry).collect::<Vec<_>>().join(", ");
        assert_eq!(read(&[&chain(8), "cdn-of-another-kind"]), Ok(Some(chain(8))));
        assert_eq!(read(&[&chain(8), "ledgerway"]), Err(Looping::TooMany));
        assert_eq!(read(&[&chain(9)]), Err(Looping::TooMany));
    }

    /// Holds: http.loop-entries
    #[test]
    fn nothing_goes_on_but_entries_of_gateways_in_the_words_of_this_one() {
        let other = "08".repeat(16);
        let nothing = ["", "other", ",,;;", "ledgerway", "ledgerway; id=08", "ledgerway; id", "cloudflare; loops=9"];
        for left_out in nothing.map(str::to_owned).into_iter().chain([
            format!("other; id={other}"),
            format!("ledgerway; id={other}0"),
            format!("ledgerway; id=+{}", &other[1..]),
            format!("ledgerway; id={}", "AB".repeat(16)),
            format!("ledgerway; key={other}"),
            format!("ledgerway-x; id={other}"),
            "x".repeat(60_000),
        ]) {
            assert_eq!(read(&[&left_out]), Ok(None), "{left_out}");
        }
        for written in
            [format!("a, LedgerWay;secret=s;  ID=\"{other}\";b=c, d; x=1"), format!("\u{e9},ledgerway ;id={other}")]
        {
            assert_eq!(read(&["first", &written, &"y;,".repeat(9_000)]), Ok(Some(entry(8))), "{written}");
        }
        assert_eq!(read(&vec!["another; id=1"; 90]), Ok(None));
    }

    proptest! {
        /// Holds: http.loop
        #[test]
        fn whatever_stands_around_the_own_entry_it_is_found_and_nothing_else_is(
            before in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            after in "[ -~]{0,40}",
        ) {
            let mark = LoopMark::new([7; 16]);
            let line = |bytes: &Vec<u8>| HeaderValue::from_bytes(bytes).ok();
            let mut headers: HeaderMap = before.iter().filter_map(line).map(|line| (CDN_LOOP, line)).collect();
            prop_assert!(matches!(mark.read(&headers), Ok(None)));
            let own = format!("\u{e9}, ledgerway; id={}, {after}", "07".repeat(16));
            headers.append(CDN_LOOP, HeaderValue::from_bytes(own.as_bytes()).expect("no control characters"));
            prop_assert_eq!(mark.read(&headers).err(), Some(Looping::Back));
        }
    }

    /// Holds: http.loop-entries
    #[test]
    fn entries_go_on_and_the_own_one_is_added() {
        let mark = LoopMark::new([7; 16]);
        let entries = mark.read(&headers(&["a; x=1", &entry(2), &entry(3)])).expect("no loop").expect("entries");
        let mut sent = HeaderMap::new();
        entries.put_into(&mut sent);
        mark.put_into(&mut sent);
        let lines: Vec<_> = sent.get_all(CDN_LOOP).iter().map(|line| line.to_str().expect("text")).collect();
        assert_eq!(lines, [format!("{}, {}", entry(2), entry(3)), entry(7)]);
        assert_eq!(LoopMark::new([7; 16]).read(&sent).err(), Some(Looping::Back));
        assert_eq!(LoopMark::new([8; 16]).read(&sent).err(), None);
    }
}
