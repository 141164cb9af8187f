//! HTTP/2 streams that are opened and reset as fast as they can be sent, as in CVE-2023-44487.

use std::time::{Duration, Instant};

use testing::upstream::MockUpstream;

use crate::gateway::Gateway;
use crate::tenant::{NATIVE, Tenant};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const STREAMS: u32 = 3000;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A string of HPACK without Huffman's code.
fn text(value: &str) -> Vec<u8> {
    let mut coded = Vec::new();
    match value.len() {
        short @ 0..127 => coded.push(u8::try_from(short).expect("short")),
        long => {
            coded.push(127);
            let mut rest = long - 127;
            while rest >= 128 {
                coded.push(u8::try_from(rest % 128 + 128).expect("a byte"));
                rest /= 128;
            }
            coded.push(u8::try_from(rest).expect("a byte"));
        }
    }
    coded.extend(value.bytes());
    coded
}

/// Fields that go into no table: method and scheme are static ones.
fn head_of(tenant: &Tenant) -> Vec<u8> {
    let mut head = vec![0x83, 0x86, 0x04];
    head.extend(text(NATIVE));
    for (name, value) in [
        (":authority", "localhost"),
        ("content-type", "application/json"),
        ("authorization", &format!("Bearer {}", tenant.secret)),
    ] {
        head.push(0);
        head.extend(text(name));
        head.extend(text(value));
    }
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_hold_up_nobody_and_end_once() {
    let (gateway, upstream) = (Gateway::start(), MockUpstream::start().await);
    let tenant = Tenant::new(&gateway, &upstream, &["slow-30", "ok"]).await;
    let (head, body) = (head_of(&tenant), tenant.ask("slow-30").to_string());
    let mut wires = Vec::new();
    for _ in 0..4 {
        let mut wire = gateway.wire().await;
        wire.send(PREFACE).await;
        wire.send(frame(SETTINGS, 0, 0, &[])).await;
        wires.push(wire);
    }
    let flood = async {
        for number in 0..STREAMS {
            let stream = number * 2 + 1;
            let mut bytes = frame(HEADERS, END_HEADERS, stream, &head);
            bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
            bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
            let mut is_open = false;
            for wire in &mut wires {
                is_open |= wire.send(&bytes).await;
            }
            if !is_open {
                return;
            }
        }
    };
    let beside = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            gateway.client(None).get("/health/live").await.must(200);
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest
    };
    let ((), slowest) = tokio::join!(flood, beside);
    assert!(slowest < Duration::from_millis(1500), "health took {slowest:?}");
    // Not a count of what was sent: buffers of the sockets can hold all of it before the gateway has read that much.
    for wire in &mut wires {
        assert!(wire.closes_within(Duration::from_secs(10)).await, "a connection that resets its streams is kept");
    }
    drop(wires);
    tenant.chat("ok").await.must(200);
    let books = gateway.books_when_all_ended(Duration::from_secs(10)).await;
    assert!(books.admitted().len() < 1000, "{} were admitted", books.admitted().len());
    assert!(!gateway.stderr().contains("panicked"), "{}", gateway.stderr());
}
