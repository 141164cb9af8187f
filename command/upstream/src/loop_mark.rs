//! `CDN-Loop` (RFC 8586): each request to an upstream names this process in it, so that one that comes back is known. An
//! address that leads here by another name cannot be told from others before it is called.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// How every gateway of this kind names itself.
const NAME: &str = "ledgerway";
/// The most gateways that a request may have passed.
const GATEWAYS_MAX: usize = 8;

/// The entry of this process.
#[derive(Clone, Debug)]
pub struct LoopMark {
    id: Arc<str>,
    entry: HeaderValue,
}

/// The entries of those that a request has passed, which go on with it.
#[derive(Clone, Debug)]
pub struct LoopEntries(Arc<[HeaderValue]>);

/// The request goes in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looping {
    /// It has passed this process before.
    Back,
    /// It has passed more gateways than a sensible chain has.
    TooMany,
}

impl LoopMark {
    /// The mark of a process, from bytes that no other process has.
    pub fn new(random: [u8; 16]) -> Self {
        let id = format!("{:032x}", u128::from_be_bytes(random));
        let entry =
            HeaderValue::try_from(format!("{NAME}; id={id}")).expect("hexadecimal digits are valid in a header");
        Self { id: id.into(), entry }
    }

    /// The entries of a request, for [`LoopEntries::put_into`]; `None` if it has none, as almost all have.
    ///
    /// Errors: it must not go on.
    pub fn read(&self, headers: &HeaderMap) -> Result<Option<LoopEntries>, Looping> {
        if !headers.contains_key(CDN_LOOP) {
            return Ok(None);
        }
        let lines: Arc<[HeaderValue]> = headers.get_all(CDN_LOOP).iter().cloned().collect();
        // Not only lines of ASCII: a proxy may have joined one of them with whatever a client has sent.
        let texts: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let mut gateways = 0;
        for entry in texts.iter().flat_map(|text| text.split(',')) {
            let mut parts = entry.split(';').map(str::trim);
            if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(NAME)) {
                continue;
            }
            gateways += 1;
            let ids = parts.filter_map(|part| part.split_once('='));
            let mut ids = ids.filter(|(name, _)| name.trim().eq_ignore_ascii_case("id"));
            if ids.any(|(_, id)| id.trim().trim_matches('"') == &*self.id) {
                return Err(Looping::Back);
            }
        }
        if gateways > GATEWAYS_MAX { Err(Looping::TooMany) } else { Ok(Some(LoopEntries(lines))) }
    }

    /// Adds the entry of this process to the headers of a request to an upstream.
    pub(crate) fn put_into(&self, headers: &mut HeaderMap) {
        headers.append(CDN_LOOP, self.entry.clone());
    }
}

impl LoopEntries {
    /// Passes the entries on.
    pub fn put_into(&self, headers: &mut HeaderMap) {
        for entry in &*self.0 {
            headers.append(CDN_LOOP, entry.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CDN_LOOP, HeaderValue::try_from(*line).expect("a value"))).collect()
    }

    fn read(lines: &[&str]) -> Result<usize, Looping> {
        let entries = LoopMark::new([7; 16]).read(&headers(lines))?;
        Ok(entries.map_or(0, |LoopEntries(lines)| lines.len()))
    }

    /// Holds: http.loop
    #[test]
    fn a_request_that_this_process_sent_is_known_however_its_header_is_written() {
        let own = "07".repeat(16);
        for back in [
            format!("ledgerway; id={own}"),
            format!("other, LEDGERWAY ;a=b;ID = \"{own}\" , x"),
            format!("cdn; id=1,ledgerway;id={own}"),
        ] {
            assert_eq!(read(&["other", &back]), Err(Looping::Back), "{back}");
        }
        for passed in ["", "other", ",,;;", "ledgerway", "ledgerway; id=08", &format!("other; id={own}")] {
            assert_eq!(read(&[passed]), Ok(1), "{passed}");
        }
        assert_eq!(read(&[]), Ok(0));
    }

    /// Holds: http.loop
    #[test]
    fn a_chain_of_gateways_ends_after_eight_of_them() {
        let chain = |length: usize| (0..length).map(|id| format!("ledgerway; id={id}")).collect::<Vec<_>>().join(", ");
        assert_eq!(read(&[&chain(8), "cdn-of-another-kind"]), Ok(2));
        assert_eq!(read(&[&chain(8), "ledgerway"]), Err(Looping::TooMany));
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
            prop_assert_ne!(mark.read(&headers).err(), Some(Looping::Back));
            let own = format!("\u{e9}, ledgerway; id={}, {after}", "07".repeat(16));
            headers.append(CDN_LOOP, HeaderValue::from_bytes(own.as_bytes()).expect("no control characters"));
            prop_assert_eq!(mark.read(&headers).err(), Some(Looping::Back));
        }
    }

    #[test]
    fn entries_go_on_and_the_own_one_is_added() {
        let mark = LoopMark::new([7; 16]);
        let entries = mark.read(&headers(&["a; x=1", "ledgerway; id=2"])).expect("no loop").expect("entries");
        let mut sent = HeaderMap::new();
        entries.put_into(&mut sent);
        mark.put_into(&mut sent);
        let lines: Vec<_> = sent.get_all(CDN_LOOP).iter().map(|line| line.to_str().expect("text")).collect();
        assert_eq!(lines, ["a; x=1", "ledgerway; id=2", &format!("ledgerway; id={}", "07".repeat(16))]);
        assert_eq!(LoopMark::new([7; 16]).read(&sent).err(), Some(Looping::Back));
        assert_eq!(LoopMark::new([8; 16]).read(&sent).err(), None);
    }
}
