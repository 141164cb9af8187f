//! The cost of a dialect: a chunk of a stream from every family of providers to every surface, and a request of 100 KiB from
//! every surface to every family. Nothing but the translation is measured: no network, no ledger.
//!
//! `cargo bench --bench dialects` prints medians of single calls, beside what `serde_json` needs to read and write the same
//! JSON, measured in the same run. Pairs that share a dialect are passed through and marked `*`.

mod requests;
mod streams;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dialects::{
    Api, ClientRequest, EmbeddingsTarget, OutboundTarget, ProviderKind, Relay, Surface, UpstreamCap, WrittenBody,
    provider_dialects,
};
use events::refused_parameters::RefusedParameters;
use harness::figures::{hundredths, per_mille};
use harness::table;
use harness::verdict::exit_code;

/// Chunks measured of each pair, after as many that warm up.
const CHUNKS: usize = 20_000;
/// Requests measured of each pair.
const REQUESTS: usize = 400;
const REQUEST_BYTES: usize = 100 * 1024;

fn main() -> ExitCode {
    exit_code(run().map(|()| true).map_err(|error| error.to_string()))
}

fn run() -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "A chunk of a stream, µs at p50\n")?;
    let names: Vec<&str> = Surface::CHAT.iter().map(|surface| surface.spec().name).collect();
    table::header(&mut out, &[&["from", "bytes", "serde_json"], names.as_slice()].concat())?;
    for kind in kinds() {
        let family = streams::family(kind);
        let mut cells = vec![name_of(kind).to_owned(), (family.chunk)(1).len().to_string(), serde_of_chunk(&family)];
        cells.extend(Surface::CHAT.iter().map(|surface| marked(chunk(kind, &family, *surface), *surface, kind)));
        table::row(&mut out, &cells)?;
    }
    writeln!(out, "\nA request of 100 KiB, µs at p50\n")?;
    let kinds: Vec<_> = kinds().collect();
    let names: Vec<&str> = kinds.iter().map(|kind| name_of(*kind)).collect();
    table::header(&mut out, &[&["from", "serde_json", "read"], names.as_slice()].concat())?;
    for surface in Surface::ALL {
        let body: Bytes = requests::body(surface.spec().name, REQUEST_BYTES).into();
        let mut cells = vec![surface.spec().name.to_owned(), serde_of_request(&body), read(*surface, &body)];
        cells.extend(kinds.iter().map(|kind| marked(request(*surface, &body, *kind), *surface, *kind)));
        table::row(&mut out, &cells)?;
    }
    Ok(())
}

/// All but the simulator, which speaks OpenAI's dialect.
fn kinds() -> impl Iterator<Item = ProviderKind> {
    ProviderKind::ALL.iter().copied().filter(|kind| *kind != ProviderKind::Simulator)
}

fn name_of(kind: ProviderKind) -> &'static str {
    ProviderKind::NAMED.iter().find(|named| named.value == kind).map_or("", |named| named.name)
}

fn marked(figure: Option<String>, surface: Surface, kind: ProviderKind) -> String {
    let shared = surface.spec().shared_dialect;
    let is_shared = shared.is_some() && shared == provider_dialects::of(kind).shared_dialect;
    figure.map_or_else(|| "400".to_owned(), |figure| figure + if is_shared { " *" } else { "" })
}

/// The median of a call, in microseconds.
fn median(samples: &mut [Duration]) -> String {
    hundredths(per_mille(samples, 500).as_nanos(), 1000)
}

fn timed(samples: &mut Vec<Duration>, call: impl FnOnce()) {
    let began = Instant::now();
    call();
    samples.push(began.elapsed());
}

fn chunk(kind: ProviderKind, family: &streams::Family, surface: Surface) -> Option<String> {
    let body = requests::body(surface.spec().name, 64);
    let request = ClientRequest::parse(surface, streamed(&body).into()).ok()?;
    let mut out = BytesMut::with_capacity(64 * 1024);
    let mut relay = Relay::new(kind, &request, "req_01", "front", 0);
    relay.feed(&family.begin, &mut out).ok()?;
    let mut samples = Vec::with_capacity(CHUNKS);
    for number in 0..2 * CHUNKS {
        let bytes = (family.chunk)(number);
        out.clear();
        if number == CHUNKS {
            samples.clear();
        }
        let mut fed = Ok(());
        timed(&mut samples, || fed = black_box(relay.feed(black_box(&bytes), &mut out)));
        fed.ok()?;
    }
    Some(median(&mut samples))
}

/// The body as a request for a stream, where the surface has streams.
fn streamed(body: &str) -> String {
    body.replacen('{', r#"{"stream":true,"#, 1)
}

fn request(surface: Surface, body: &Bytes, kind: ProviderKind) -> Option<String> {
    let mut samples = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let mut sent = None;
        timed(&mut samples, || sent = body_sent(surface, body, kind));
        black_box(sent?);
    }
    Some(median(&mut samples))
}

/// From the client's bytes to those that are sent; `None` if the family has no such API.
fn body_sent(surface: Surface, body: &Bytes, kind: ProviderKind) -> Option<WrittenBody> {
    let request = ClientRequest::parse(surface, body.clone()).ok()?;
    let bodies = request.upstream_bodies();
    let no_fields = BTreeSet::new();
    if surface.api() == Api::Embeddings {
        return bodies.embeddings_body(kind, &EmbeddingsTarget { model: "m", allowed_fields: &no_fields }).ok();
    }
    let target = OutboundTarget {
        model: "backend",
        output_cap: UpstreamCap { tokens: 256, field: None },
        refused: RefusedParameters::NONE,
        server: None,
        takes_signed_thoughts_alone: false,
        context_window: None,
        system_prefix: None,
        allowed_fields: &no_fields,
    };
    bodies.body(kind, &target).ok()
}

/// Reading alone, without a target.
fn read(surface: Surface, body: &Bytes) -> String {
    let mut samples = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        timed(&mut samples, || {
            let _ = black_box(ClientRequest::parse(surface, body.clone()));
        });
    }
    median(&mut samples)
}

fn serde_of_chunk(family: &streams::Family) -> String {
    let mut samples = Vec::with_capacity(CHUNKS);
    for number in 0..CHUNKS {
        let json = (family.json)(number);
        timed(&mut samples, || through_serde(json.as_bytes()));
    }
    median(&mut samples)
}

fn serde_of_request(body: &Bytes) -> String {
    let mut samples = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        timed(&mut samples, || through_serde(body));
    }
    median(&mut samples)
}

fn through_serde(json: &[u8]) {
    let value: serde_json::Value = serde_json::from_slice(black_box(json)).unwrap_or_default();
    black_box(value.to_string());
}
