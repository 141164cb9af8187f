use proptest::prelude::*;

use super::*;
use testing::event_stream::{frame, framed, stream};

type Owned = (String, String, bool);

fn events_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Owned>, UpstreamFault> {
    let (mut parser, mut events) = (EventStreamParser::default(), Vec::new());
    for piece in pieces {
        parser.feed(piece, |event| {
            events.push((event.name.to_owned(), event.data.to_owned(), event.is_error));
            Ok(())
        })?;
    }
    parser.finish().map(|()| events)
}

fn owned(name: &str, data: &str, is_error: bool) -> Owned {
    (name.to_owned(), data.to_owned(), is_error)
}

const LINES: &[u8] = b"messageStart {\"role\":\"assistant\"}\ncontentBlockDelta {\"delta\":{\"text\":\"\xC3\xA9\"}}\n\
    messageStop\n!throttlingException {\"message\":\"slow\"}\n";

fn wanted() -> Vec<Owned> {
    vec![
        owned("messageStart", r#"{"role":"assistant"}"#, false),
        owned("contentBlockDelta", r#"{"delta":{"text":"é"}}"#, false),
        owned("messageStop", "", false),
        owned("throttlingException", r#"{"message":"slow"}"#, true),
    ]
}

/// Written by another implementation, and read by AWS's own.
#[test]
fn a_stream_of_another_writer_is_read() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/bedrock/answers");
    let [binary, text] = ["text.eventstream", "text.frames"].map(|name| std::fs::read(path.join(name)).unwrap());
    assert_eq!(stream(&text), binary);
    let events = events_of([&*binary]).unwrap();
    assert_eq!(events.first(), Some(&owned("messageStart", r#"{"role":"assistant","p":"abcdefghijk"}"#, false)));
    assert_eq!(events.last().map(|(name, ..)| name.as_str()), Some("metadata"));
}

/// The frame that AWS publishes with its description of the format: no headers, which is no event.
#[test]
fn the_checksums_are_those_of_the_published_frame() {
    let published = [0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a];
    let payload = b"{'foo':'bar'}";
    let frame = framed(&[], payload);
    assert_eq!(frame[..12], published);
    assert_eq!(frame[25..], [0xc3, 0x65, 0x39, 0x36]);
    assert_eq!(events_of([&*frame]), Err(UpstreamFault::Malformed("a frame without its type")));
}

/// The name and the value of a header.
fn header(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
    [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), &[kind], value].concat()
}

fn string(name: &str, value: &str) -> Vec<u8> {
    header(name, STRING, &[&u16::try_from(value.len()).unwrap().to_be_bytes(), value.as_bytes()].concat())
}

#[test]
fn headers_of_every_type_are_skipped() {
    let mut headers = Vec::new();
    for (kind, value) in [
        (0, &b""[..]),
        (1, b""),
        (2, b"\x01"),
        (3, b"\x01\x02"),
        (4, b"\x01\x02\x03\x04"),
        (5, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        (6, b"\x00\x03abc"),
        (7, b"\x00\x03abc"),
        (8, b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        (9, b"0123456789abcdef"),
    ] {
        headers.extend(header("x", kind, value));
    }
    headers.extend([string(":message-type", "event"), string(":event-type", "a")].concat());
    assert_eq!(events_of([&*framed(&headers, b"{}")]), Ok(vec![owned("a", "{}", false)]));
    for end in 1..headers.len() {
        assert!(events_of([&*framed(&headers[..end], b"{}")]).is_err(), "{end}");
    }
    let unknown = [header("x", 10, b""), headers].concat();
    assert_eq!(events_of([&*framed(&unknown, b"{}")]), Err(UpstreamFault::Malformed("not a frame's headers")));
}

#[test]
fn a_frame_without_its_type_is_a_fault() {
    for headers in [
        vec![],
        string(":event-type", "a"),
        string(":message-type", "event"),
        [string(":message-type", "event"), string(":exception-type", "a")].concat(),
        [string(":message-type", "other"), string(":event-type", "a")].concat(),
        [header(":message-type", 6, b"\x00\x05event"), string(":event-type", "a")].concat(),
    ] {
        let found = events_of([&*framed(&headers, b"{}")]);
        assert_eq!(found, Err(UpstreamFault::Malformed("a frame without its type")), "{headers:?}");
    }
    let error = [string(":message-type", "error"), string(":error-code", "InternalError")].concat();
    assert_eq!(events_of([&*framed(&error, b"")]), Ok(vec![owned("InternalError", "", true)]));
}

#[test]
fn a_payload_that_is_not_text_is_a_fault() {
    assert_eq!(events_of([&*frame(b"a", b"\xFF")]), Err(UpstreamFault::Malformed("not UTF-8")));
    assert_eq!(events_of([&*frame(b"\xFF", b"{}")]), Err(UpstreamFault::Malformed("not UTF-8")));
}

fn prelude(frame: usize, headers: usize) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_be_bytes();
    let lengths = [length(frame), length(headers)].concat();
    [&*lengths, &crc32fast::hash(&lengths).to_be_bytes()].concat()
}

#[test]
fn lengths_are_judged_before_the_frame_has_arrived() {
    let fault = |bytes: &[u8]| EventStreamParser::default().feed(bytes, |_| Ok(()));
    assert_eq!(fault(&prelude(EVENT_BYTES_MAX, 0)), Ok(()));
    assert_eq!(fault(&prelude(EVENT_BYTES_MAX + 1, 0)), Err(UpstreamFault::TooLarge));
    assert_eq!(fault(&prelude(16 * 1024 * 1024, 0)), Err(UpstreamFault::TooLarge));
    assert_eq!(fault(&prelude(u32::MAX as usize, u32::MAX as usize)), Err(UpstreamFault::TooLarge));
    for (frame, headers) in [(15, 0), (0, 0), (16, 1), (100, 85), (100, u32::MAX as usize)] {
        let found = fault(&prelude(frame, headers));
        assert_eq!(found, Err(UpstreamFault::Malformed("a frame is shorter than its headers")), "{frame}");
    }
    let not_one = Err(UpstreamFault::Malformed("a frame's lengths do not have their checksum"));
    assert_eq!(fault(b"<html><body>busy</body></html>"), not_one);
}

#[test]
fn a_frame_of_eight_mebibytes_is_read() {
    let overhead = frame(b"a", b"").len();
    let frame = frame(b"a", &vec![b'x'; EVENT_BYTES_MAX - overhead]);
    let (first, last) = frame.split_at(frame.len() - 1);
    let mut parser = EventStreamParser::default();
    parser.feed(first, |_| Err(UpstreamFault::Truncated)).unwrap();
    assert_eq!(parser.buffered_bytes(), EVENT_BYTES_MAX - 1);
    let mut length = 0;
    parser
        .feed(last, |event| {
            length = event.data.len();
            Ok(())
        })
        .unwrap();
    assert_eq!(length, EVENT_BYTES_MAX - overhead);
    assert!(parser.held_bytes() <= KEPT_BYTES_MAX);
}

#[test]
fn a_frame_without_a_payload_is_not_of_an_answer() {
    let count = |frame: &[u8], size: usize| {
        let mut parser = EventStreamParser::default();
        frame.chunks(size).for_each(|piece| parser.feed(piece, |_| Ok(())).unwrap());
        parser.answer_bytes()
    };
    let (empty, full) = (frame(b"a", b""), frame(b"a", b"{}"));
    assert_eq!((count(&empty, empty.len()), count(&empty, 1)), (0, 0));
    assert_eq!(count(&full, full.len()), full.len());
    // Whether it has a payload is known from its twelfth byte on.
    assert_eq!(count(&full, 1), full.len() - 11);
}

#[test]
fn half_a_frame_at_the_end_is_truncated() {
    let stream = stream(LINES);
    for end in 1..frame(b"messageStart", br#"{"role":"assistant"}"#).len() {
        assert_eq!(events_of([&stream[..end]]), Err(UpstreamFault::Truncated), "{end}");
    }
    assert_eq!(events_of([]), Ok(vec![]));
}

proptest! {
    #[test]
    fn cuts_do_not_matter(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let stream = stream(LINES);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(events_of(pieces), Ok(wanted()));
    }

    #[test]
    fn a_flipped_bit_is_a_fault(at in any::<prop::sample::Index>(), bit in 0..8_u8, size in 1..40_usize) {
        let mut stream = stream(LINES);
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        prop_assert!(events_of(stream.chunks(size)).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), size in 1..9_usize) {
        let _ = events_of(bytes.chunks(size));
        // With right checksums, so that the headers are read.
        let _ = events_of([&*framed(&bytes, b"{}")]);
    }
}
