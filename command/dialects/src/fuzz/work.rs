//! Untrusted input costs steps, memory and output in proportion to its length. They are counted, not timed, so that a
//! failure is the same on every machine.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use fuzzing::{Corpus, Dice, fuzz, grown, long_run, shown};
use intermediate::work;

use super::super::golden::{CREATED, MODEL, REQUEST_ID, minimal_request, receipt, usage, wire};
use super::answers::{REFUSALS, SECRET};
use super::requests::{CAP_FIELDS, any_surface, target};
use super::streams::{CLIENTS, CORPORA as STREAMS};
use super::*;

/// Steps per byte: each byte is read once per level of JSON, a few more times to decode and copy it, and each byte of
/// output is counted too: a short call in one line of Ollama becomes two events.
const STEPS_PER_BYTE_MAX: usize = 32;
/// Steps for the beginning and the end of a response, whatever is between them.
const STEPS_FREE: usize = 64 * 1024;
const OUT_PER_BYTE_MAX: usize = 16;
const OUT_FREE: usize = 128 * 1024;
/// Memory kept from one event to the next: ids and names of calls, half an event, reports.
const HELD_PER_BYTE_MAX: usize = 4;
const HELD_FREE: usize = 48 * 1024;

/// Steps to redact a rejection, which is short and is decoded with every combination of escapes.
const REDACTION_STEPS_MAX: u64 = 1024 * 1024;

static REFUSED: LazyLock<Corpus> = LazyLock::new(|| Corpus::of(REFUSALS.map(|refusal| refusal.as_bytes().to_vec())));
static ANSWERS: LazyLock<[Corpus; DIALECTS.len()]> =
    LazyLock::new(|| DIALECTS.map(|dialect| answers_of(dialect, "json")));

const fn most(bytes: usize, per_byte: usize, free: usize) -> usize {
    bytes * per_byte + free
}

/// Runs `work` with the steps that so many bytes may cost.
pub fn in_measure<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let (done, _) = work::within(most(bytes, STEPS_PER_BYTE_MAX, STEPS_FREE) as u64, work);
    done
}

/// Long inputs show quadratic work, and many short ones other faults.
fn bytes_max(dice: &mut Dice<'_>) -> usize {
    if long_run() { (16 * 1024) << dice.below(6) } else { 48 * 1024 }
}

#[track_caller]
fn is_in_measure(what: &str, found: usize, most: usize, came: &[u8]) {
    assert!(found <= most, "{found} bytes {what} of {}, {most} at most: {}", came.len(), shown(came));
}

/// Splits a stream as a network may: not at all, at a few positions, or every few bytes.
fn cut<'s>(stream: &'s [u8], dice: &mut Dice<'_>) -> Vec<&'s [u8]> {
    match dice.below(3) {
        0 => vec![stream],
        1 => dice.pieces(stream, 24),
        _ => stream.chunks(1 + dice.below(64)).collect(),
    }
}

#[test]
fn a_stream_costs_in_proportion_to_its_length() {
    fuzz!(800, |dice| {
        let which = dice.below(DIALECTS.len());
        let (surface, include_usage) = CLIENTS[dice.below(CLIENTS.len())];
        let room = bytes_max(dice);
        let stream = match dice.below(3) {
            0 => wire(DIALECTS[which], grown(&STREAMS[which].draw(dice), room, dice)),
            _ => tedious::stream(DIALECTS[which], room, dice),
        };
        let (pieces, request) = (cut(&stream, dice), minimal_request(surface, include_usage));
        in_measure(stream.len(), || relayed(DIALECTS[which], &request, &pieces, &stream));
    });
}

fn relayed(dialect: ProviderKind, request: &ClientRequest, pieces: &[&[u8]], stream: &[u8]) {
    let (mut relay, mut out) = (Relay::new(dialect, request, REQUEST_ID, MODEL, CREATED), BytesMut::new());
    let (mut came, mut gave, mut result) = (0, 0, Ok(()));
    for (number, piece) in pieces.iter().enumerate() {
        came += piece.len();
        result = relay.feed(piece, &mut out);
        gave += std::mem::take(&mut out).len();
        is_in_measure("become", gave, most(came, OUT_PER_BYTE_MAX, OUT_FREE), stream);
        if number % 64 == 0 || result.is_err() {
            is_in_measure("are held", relay.held_bytes(), most(came, HELD_PER_BYTE_MAX, HELD_FREE), stream);
        }
        if result.is_err() {
            break;
        }
    }
    let metered = relay.metered();
    if result.and_then(|()| relay.finish(&mut out)).is_ok() {
        gave += out.len() + relay.closing(&receipt(&usage(&metered), &metered)).len();
        is_in_measure("become", gave, most(came, OUT_PER_BYTE_MAX, OUT_FREE), stream);
    }
}

#[test]
fn an_answer_costs_in_proportion_to_its_length() {
    fuzz!(300, |dice| {
        let (which, surface, room) =
            (dice.below(DIALECTS.len()), SURFACES[dice.below(SURFACES.len())], bytes_max(dice));
        let body: Bytes = match dice.below(3) {
            0 => grown(&ANSWERS[which].draw(dice), room, dice).into(),
            _ => tedious::answer(DIALECTS[which], room, dice).into(),
        };
        in_measure(body.len(), || {
            let Ok(answer) = read_whole(DIALECTS[which], surface, body.clone()) else { return };
            let rendered = answer.render(&receipt(&usage(&answer.metered), &answer.metered));
            is_in_measure("become", rendered.len(), most(body.len(), OUT_PER_BYTE_MAX, OUT_FREE), &body);
        });
    });
}

#[test]
fn a_refusal_costs_in_proportion_to_its_length() {
    let redactor = Redactor::new([SECRET]);
    fuzz!(300, |dice| {
        let (dialect, status) = (DIALECTS[dice.below(DIALECTS.len())], [400, 422, 429, 503][dice.below(4)]);
        let room = bytes_max(dice);
        let body = match dice.below(3) {
            0 => grown(&REFUSED.draw(dice), room, dice),
            _ => tedious::refusal(room, dice),
        };
        let headers = http::HeaderMap::new();
        let read = || read_refusal(dialect, status, &headers, &body, chrono::DateTime::UNIX_EPOCH);
        let UpstreamRefusalKind::Rejected(words) = in_measure(body.len(), read).kind else { return };
        let (rejection, _) = work::within(REDACTION_STEPS_MAX, || words.redacted(&redactor));
        let Rejection { message, code, param } = &rejection;
        let shown = [message, code, param].into_iter().flatten().map(|said| said.chars().count()).sum::<usize>();
        assert!(shown <= 1000 + 64 + 128, "{rejection:?}");
    });
}

#[test]
fn a_request_costs_in_proportion_to_its_length() {
    fuzz!(400, |dice| {
        let ((surface, corpus), room) = (any_surface(dice), bytes_max(dice));
        let body: Bytes = grown(&corpus.draw(dice), room, dice).into();
        let cap_field = CAP_FIELDS[dice.below(3)];
        let read = in_measure(body.len(), || ClientRequest::parse(surface, body.clone()));
        let Ok(request) = read else { return };
        let bodies = request.upstream_bodies();
        for dialect in DIALECTS {
            let written = in_measure(body.len(), || bodies.body(dialect, &target(cap_field, None)));
            let Ok(WrittenBody { bytes: sent, .. }) = written else { continue };
            is_in_measure("are sent", sent.len(), most(body.len(), OUT_PER_BYTE_MAX, OUT_FREE), &body);
        }
    });
}
