use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderValue;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;
use crate::body::large_bodies::LargeBodyError;
use crate::body::memory::{BodyBounds, BodyMemory, BodyOwner, BoundOf};

const TEXT: &str = r#"{"name":"compressed-compressed-compressed-compressed-compressed-compressed-"}"#;
/// [`TEXT`] as other encoders write it: zlib, Google's of brotli (by Node.js), and the command `zstd`, with its checksum.
const BY_OTHERS: [(&str, &str); 4] = [
    ("gzip", "1f8b0800000000000003ab56ca4bcc4d55b2524acecf2d284a2d2e4e4dd12593a9540b00fc4ab72e4d000000"),
    ("deflate", "789cab56ca4bcc4d55b2524acecf2d284a2d2e4e4dd12593a9540b0077e21da8"),
    ("br", "1b4c00f88dd4567921dd2845c8f6ba45a7ac4f4a82cd3719c0131f59a5413f0a0c"),
    ("zstd", "28b52ffd244ded0000b07b226e616d65223a22636f6d707265737365642d227d0100e8b330016da46872"),
];
const MIB: usize = 1024 * 1024;

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn headers(codings: &[&str]) -> HeaderMap {
    codings.iter().map(|coding| (CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap())).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn memory() -> Arc<BodyMemory> {
    BodyMemory::new(BodyBounds { process: 80 * MIB, tenant: 80 * MIB, key: 80 * MIB, reserve: 0 })
}

fn arrived(memory: &Arc<BodyMemory>, codings: Vec<ContentCoding>, coded: &[u8]) -> (CodedBody, BodyPermit) {
    let mut permit = memory.begin(BodyOwner::of(None, None)).unwrap();
    let mut body = CodedBody::new(codings);
    for chunk in coded.chunks(100_000) {
        permit.grow_to(CodedBody::memory_at(body.len() + chunk.len())).unwrap();
        body.extend(chunk);
    }
    permit.mark_arrived();
    (body, permit)
}

/// The decoded body and the memory that it takes, or why there is none.
fn decode_with(codings: &[&str], coded: impl AsRef<[u8]>) -> Result<(Bytes, usize), BodyError> {
    let memory = memory();
    let (body, permit) = arrived(&memory, codings_of(&headers(codings))?, coded.as_ref());
    let held = body.decode(permit);
    let decoded = held.map(|held| (held.bytes.slice(..), memory.bytes_held()))?;
    assert!(memory.bytes_held() > 0, "what is decoded is counted until it is dropped");
    Ok(decoded)
}

#[test]
fn a_body_is_decoded_whichever_encoder_has_made_it() {
    for (coding, hex) in BY_OTHERS {
        let (decoded, taken) = decode_with(&[coding], bytes_of(hex)).unwrap();
        assert_eq!((&*decoded, taken), (TEXT.as_bytes(), TEXT.len()), "{coding}");
    }
}

#[test]
fn names_are_read_in_any_case_in_their_order_and_identity_is_none() {
    let twice = gzip(&zstd(TEXT.as_bytes()));
    for codings in [&["zstd, gzip"][..], &["zstd", "gzip"], &[" ZSTD ,, X-Gzip"], &["identity, zstd, gzip"]] {
        assert_eq!(&*decode_with(codings, twice.clone()).unwrap().0, TEXT.as_bytes(), "{codings:?}");
    }
    assert_eq!(codings_of(&headers(&["identity", ""])), Ok(Vec::new()));
    assert_eq!(codings_of(&HeaderMap::new()), Ok(Vec::new()));
    assert_eq!(decode_with(&["gzip, zstd"], twice), Err(BodyError::NotAsCoded), "the other way round");
}

#[test]
fn a_coding_that_is_not_decoded_here_is_named_before_the_body_is_read() {
    for codings in [&["compress"][..], &["gzip, lz4"], &["gzip, gzip, gzip"], &["gzip", "br", "zstd"], &["gz ip"]] {
        assert_eq!(codings_of(&headers(codings)), Err(BodyError::UnknownCoding), "{codings:?}");
    }
    let not_text = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_bytes(b"\xff").unwrap())]);
    assert_eq!(codings_of(&not_text), Err(BodyError::UnknownCoding));
    let refusal = BodyError::UnknownCoding.into_refusal();
    assert_eq!(refusal.details["accept_encoding"], ACCEPTED);
}

#[test]
fn several_members_or_frames_are_one_body() {
    let (first, second) = TEXT.as_bytes().split_at(20);
    for (coding, coded) in
        [("gzip", [gzip(first), gzip(second)].concat()), ("zstd", [zstd(first), zstd(b""), zstd(second)].concat())]
    {
        assert_eq!(&*decode_with(&[coding], coded).unwrap().0, TEXT.as_bytes(), "{coding}");
    }
    let many = zstd(b"a").repeat(usize::try_from(ZSTD_FRAMES_MAX).unwrap());
    assert_eq!(decode_with(&["zstd"], many.clone()).unwrap().0.len(), 1024);
    assert_eq!(decode_with(&["zstd"], [many, zstd(b"a")].concat()), Err(BodyError::NotAsCoded));
}

#[test]
fn a_few_bytes_that_stand_for_more_than_the_largest_body_are_too_large() {
    for megabytes in [32, 33] {
        let text = vec![b' '; megabytes * MIB];
        for (coding, coded) in [("gzip", gzip(&text)), ("deflate", deflate(&text)), ("zstd", zstd(&text))] {
            assert!(coded.len() < MIB, "{coding} takes {}", coded.len());
            let decoded = decode_with(&[coding], coded).map(|(bytes, _)| bytes.len());
            assert_eq!(decoded, if megabytes == 32 { Ok(32 * MIB) } else { Err(BodyError::TooLarge) }, "{coding}");
        }
    }
    // A bomb within a bomb: what the first coding makes is never held as a whole.
    let nested = gzip(&gzip(&vec![b' '; 256 * MIB]));
    assert_eq!(decode_with(&["gzip, gzip"], nested), Err(BodyError::TooLarge));
}

#[test]
fn what_is_truncated_or_changed_is_refused_and_never_taken_for_less() {
    for (coding, hex) in BY_OTHERS {
        let coded = bytes_of(hex);
        for len in 1..coded.len() {
            let decoded = decode_with(&[coding], &coded[..len]);
            let is_whole = decoded.as_ref().is_ok_and(|(decoded, _)| *decoded == TEXT);
            // The trailers of a frame and of a stream, which only check it, are not missed by every decoder.
            assert!(is_whole || decoded == Err(BodyError::NotAsCoded), "{coding} of {len} bytes: {decoded:?}");
        }
    }
    assert_eq!(decode_with(&["gzip"], TEXT), Err(BodyError::NotAsCoded));
    assert_eq!(decode_with(&["zstd"], TEXT), Err(BodyError::NotAsCoded));
    assert_eq!(decode_with(&["deflate"], TEXT), Err(BodyError::NotAsCoded));
    assert_eq!(decode_with(&["br"], TEXT), Err(BodyError::NotAsCoded));
    // A window of 128 MiB.
    let large_window = bytes_of("28b52ffd008802010000");
    assert_eq!(decode_with(&["zstd"], large_window), Err(BodyError::NotAsCoded));
}

#[test]
fn forms_between_two_codings_are_bounded_though_they_become_nothing() {
    // Empty blocks of deflate and empty frames of zstd, many for each byte of the form around them.
    let empty_blocks = [vec![0x78, 1], [0, 0, 0, 0xff, 0xff].repeat(8 * MIB)].concat();
    let skipped = [&0x184D_2A50_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), &vec![0; 33 * MIB]].concat();
    for (codings, coded) in [("deflate, gzip", gzip(&empty_blocks)), ("zstd, gzip", gzip(&skipped))] {
        assert!(coded.len() < MIB);
        assert_eq!(decode_with(&[codings], coded), Err(BodyError::TooLarge), "{codings}");
    }
}

#[test]
fn brotli_with_a_window_that_its_standard_does_not_have_is_refused() {
    // [`TEXT`] with a window of 1 GiB, as Node.js writes it with `BROTLI_PARAM_LARGE_WINDOW`.
    let large_window = bytes_of("115e3001e037525be58574a31421dbeb169db23e290936df64009ef011ab34e8478101");
    assert_eq!(decode_with(&["br"], large_window), Err(BodyError::NotAsCoded));
}

#[test]
fn frames_of_zstd_for_others_are_skipped_and_a_wrong_checksum_is_refused() {
    let mut coded =
        [&0x184D_2A5F_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc", &bytes_of(BY_OTHERS[3].1)].concat();
    assert_eq!(&*decode_with(&["zstd"], &coded).unwrap().0, TEXT.as_bytes());
    *coded.last_mut().unwrap() ^= 1;
    assert_eq!(decode_with(&["zstd"], &coded), Err(BodyError::NotAsCoded));
}

#[test]
fn a_body_never_takes_the_memory_of_both_its_forms() {
    // Nothing in it can be compressed: both forms are about as long, and a body of the largest size still fits.
    let mut random = 1_u64;
    let noise = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.to_be_bytes()[0]
    });
    let noise: Vec<u8> = noise.take(BODY_BYTES_MAX - MIB).collect();
    for (coding, coded) in [("gzip", gzip(&noise)), ("zstd", zstd(&noise))] {
        let memory = BodyMemory::new(BodyBounds { process: 33 * MIB, tenant: 33 * MIB, key: 33 * MIB, reserve: 0 });
        let (body, permit) = arrived(&memory, codings_of(&headers(&[coding])).unwrap(), &coded);
        let held = body.decode(permit).unwrap();
        assert!(*held.bytes == *noise, "{coding}");
        assert_eq!(memory.bytes_held(), BODY_BYTES_MAX - MIB, "{coding}");
    }
}

#[test]
fn without_memory_for_what_is_decoded_nothing_stays_counted() {
    let memory = memory();
    let mut other = memory.begin(BodyOwner::of(None, None)).unwrap();
    other.grow_to(70 * MIB).unwrap();
    let held = memory.bytes_held();
    let (body, permit) = arrived(&memory, vec![ContentCoding::Gzip], &gzip(&vec![b' '; 20 * MIB]));
    let refused = body.decode(permit).map(|held| held.bytes.len());
    assert_eq!((refused, memory.bytes_held()), (Err(BodyError::NoMemory(BoundOf::Process)), held));
}

#[test]
fn a_decoder_that_is_lost_is_no_fault_of_the_client() {
    let refusal = BodyError::NotDecoded(LargeBodyError::Lost).into_refusal();
    assert_eq!(refusal.code, events::refusal::ErrorCode::Internal);
    assert!(refusal.message.contains("it was not read"), "{}", refusal.message);
}
