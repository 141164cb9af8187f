//! Parsers take any bytes without a panic, and accept only what they would write themselves.

use std::str::FromStr;

use proptest::prelude::*;
use tlog::{
    AddCheckpoint, Answer, Checkpoint, EntryBundle, EntryBundleId, Hash, Note, NoteSignature, SignedCheckpoint, Tile,
    TileId, TlogProof, VerifierKey, parse_answer, parse_entries,
};

use crate::proof_file::{proof, signer};

/// One of the formats, with what its parser makes of the bytes, written again.
struct Format {
    name: &'static str,
    sample: fn() -> String,
    rewrite: fn(&[u8]) -> Option<String>,
}

const FORMATS: [Format; 11] = [
    Format { name: "hash", sample: || Hash::EMPTY_ROOT.to_string(), rewrite: text::<Hash> },
    Format { name: "tile path", sample: || "tile/0/x001/x234/067.p/200".to_owned(), rewrite: text::<TileId> },
    Format { name: "bundle path", sample: || "tile/entries/x001/067".to_owned(), rewrite: text::<EntryBundleId> },
    Format { name: "vkey", sample: || signer().verifier_key().to_string(), rewrite: text::<VerifierKey> },
    Format {
        name: "signature line",
        sample: || proof().checkpoint.note().signatures()[0].to_string(),
        rewrite: text::<NoteSignature>,
    },
    Format {
        name: "note",
        sample: || "a\n\nb\n\n— x AAAAAAA=\n".to_owned(),
        rewrite: |bytes| Note::parse(bytes).ok().map(|note| note.to_string()),
    },
    Format {
        name: "checkpoint",
        sample: || proof().checkpoint.unverified().to_string() + "extension\n",
        rewrite: |bytes| Checkpoint::parse(std::str::from_utf8(bytes).ok()?).ok().map(|read| read.to_string()),
    },
    Format {
        name: "signed checkpoint",
        sample: || proof().checkpoint.to_string(),
        rewrite: |bytes| SignedCheckpoint::parse(bytes).ok().map(|read| read.to_string()),
    },
    Format {
        name: "proof file",
        sample: || proof().to_string(),
        rewrite: |bytes| TlogProof::parse(bytes).ok().map(|read| read.to_string()),
    },
    Format {
        name: "request",
        sample: || {
            let proof = proof();
            AddCheckpoint { old_size: 7, consistency: proof.hashes, checkpoint: proof.checkpoint }.to_string()
        },
        rewrite: |bytes| AddCheckpoint::parse(bytes).ok().map(|read| read.to_string()),
    },
    Format {
        name: "answer",
        sample: || format!("{}\n", proof().checkpoint.note().signatures()[1]),
        rewrite: |bytes| match parse_answer(200, None, bytes) {
            Ok(Answer::Cosigned(signatures)) => Some(signatures.iter().map(|one| format!("{one}\n")).collect()),
            _ => None,
        },
    },
];

fn text<T: FromStr + ToString>(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok()?.parse::<T>().ok().map(|read| read.to_string())
}

/// An edit: its place in thousandths of the whole, the number of bytes of the sample that it replaces, and the bytes in their place.
pub type Edit = (usize, usize, Vec<u8>);

pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((0..1000_usize, 0..4_usize, inserted()), 1..4)
}

pub fn spliced(sample: &str, edits: &[Edit]) -> Vec<u8> {
    let mut bytes = sample.as_bytes().to_vec();
    for (place, len, inserted) in edits {
        let from = bytes.len() * place / 1000;
        let to = bytes.len().min(from + len);
        bytes.splice(from..to, inserted.iter().copied());
    }
    bytes
}

/// Bytes that mean something in one of the formats, more often than others.
fn inserted() -> impl Strategy<Value = Vec<u8>> {
    let telling = prop::sample::select(b"\n\n\n +/=.x0123456789Aa\xe2\x80\x94\r\t\0".to_vec());
    prop::collection::vec(prop_oneof![3 => telling, 1 => any::<u8>()], 0..6)
}

#[test]
fn samples_are_read_as_they_are_written() {
    for Format { name, sample, rewrite } in FORMATS {
        assert_eq!(rewrite(sample().as_bytes()), Some(sample()), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_have_one_form(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for Format { name, rewrite, .. } in FORMATS {
            prop_assert!(rewrite(&bytes).is_none_or(|text| text.as_bytes() == bytes), "{}", name);
        }
    }

    #[test]
    fn spoiled_samples_are_refused_or_have_one_form(edits in edits()) {
        for Format { name, sample, rewrite } in FORMATS {
            let bytes = spliced(&sample(), &edits);
            prop_assert!(rewrite(&bytes).is_none_or(|text| text.as_bytes() == bytes), "{}: {:?}", name, bytes);
        }
    }

    #[test]
    fn bundles_and_tiles_are_read_only_as_they_are_written(
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), 0..4_u8], 0..200), width in 1..=64_u16
    ) {
        let bundle = EntryBundleId::new(0, width).expect("an id");
        if let Ok(entries) = parse_entries(bundle, &bytes) {
            let mut written = EntryBundle::new();
            for entry in entries {
                written.push(entry).expect("it fits");
            }
            prop_assert_eq!((written.width(), written.as_bytes()), (width, &bytes[..]));
        }
        let id = TileId::new(0, 0, width).expect("an id");
        prop_assert!(Tile::parse(id, &bytes).map_or(true, |tile| tile.to_bytes() == bytes));
    }
}
