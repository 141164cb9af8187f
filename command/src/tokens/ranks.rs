//! The tables of the tokenizers: which bytes each token stands for. `tiktoken-rs` has them as 5.3 MB of text; in the binary they are
//! 1.5 MB, and are unpacked at their first use.
//!
//! `UPDATE_GOLDEN=1` makes the files from those of the crate: tokens in the order of their ranks, each with its length before
//! it, as one zlib stream.

use std::io::Read;
use std::sync::LazyLock;

use events::event::admin::Tokenizer;
use flate2::read::ZlibDecoder;
use rustc_hash::FxHashMap;
use tiktoken_rs::{CoreBPE, O200K_BASE_PAT_STR, Rank};

const O200K_BASE: &[u8] = include_bytes!("ranks/o200k_base.zlib");
const CL100K_BASE: &[u8] = include_bytes!("ranks/cl100k_base.zlib");
/// How `cl100k_base` splits a text before it looks for tokens; the crate has it inside a function.
const CL100K_BASE_PATTERN: &str = concat!(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+",
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
);

/// The tokenizer, unpacked if this is its first use.
pub fn encoder(tokenizer: Tokenizer) -> &'static CoreBPE {
    static O200K: LazyLock<CoreBPE> = LazyLock::new(|| unpacked(O200K_BASE, O200K_BASE_PAT_STR));
    static CL100K: LazyLock<CoreBPE> = LazyLock::new(|| unpacked(CL100K_BASE, CL100K_BASE_PATTERN));
    match tokenizer {
        Tokenizer::O200kBase => &O200K,
        Tokenizer::Cl100kBase => &CL100K,
    }
}

fn unpacked(table: &[u8], pattern: &str) -> CoreBPE {
    let mut tokens = Vec::new();
    ZlibDecoder::new(table).read_to_end(&mut tokens).expect("a table of this binary");
    let (mut ranks, mut rest) = (FxHashMap::<Vec<u8>, Rank>::default(), tokens.as_slice());
    while let Some((len, others)) = rest.split_first() {
        let (token, others) = others.split_at(usize::from(*len));
        let rank = ranks.len().try_into().expect("fewer tokens than ranks");
        ranks.insert(token.to_vec(), rank);
        rest = others;
    }
    // Texts of prompts have no special tokens: what reads like one is text.
    CoreBPE::new(ranks, FxHashMap::default(), pattern).expect("a pattern of this binary")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn of_the_crate(tokenizer: Tokenizer) -> (&'static CoreBPE, &'static str, Rank) {
        match tokenizer {
            Tokenizer::O200kBase => (tiktoken_rs::o200k_base_singleton(), "o200k_base", 199_998),
            Tokenizer::Cl100kBase => (tiktoken_rs::cl100k_base_singleton(), "cl100k_base", 100_256),
        }
    }

    #[test]
    fn the_tables_have_the_tokens_of_the_crate() {
        for tokenizer in [Tokenizer::O200kBase, Tokenizer::Cl100kBase] {
            let (theirs, name, count) = of_the_crate(tokenizer);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
                for token in (0..count).map(|rank| theirs.decode_bytes(&[rank]).unwrap()) {
                    packed.write_all(&[token.len().try_into().unwrap()]).unwrap();
                    packed.write_all(&token).unwrap();
                }
                let path = format!("{}/src/tokens/ranks/{name}.zlib", env!("CARGO_MANIFEST_DIR"));
                std::fs::write(path, packed.finish().unwrap()).unwrap();
            }
            let tokens = |of: &CoreBPE| (0..count).map(|rank| of.decode_bytes(&[rank]).unwrap()).collect::<Vec<_>>();
            assert!(tokens(encoder(tokenizer)) == tokens(theirs), "{name}: run with UPDATE_GOLDEN=1, and build again");
            assert!(encoder(tokenizer).decode_bytes(&[count]).is_err(), "{name} has no more of them");
        }
    }

    /// The patterns are those of the crate, too.
    #[test]
    fn texts_have_the_tokens_that_the_crate_finds() {
        let texts = [
            "It's 12345 words, I'LL say;\r\n\r\n  and\tmore \n",
            "fn main() { println!(\"{}\", 1_000); } // end   ",
            "Grüße aus Köln, 漢字かな交じり文 и русский текст 😀😀  ",
            "<|endoftext|> <|fim_prefix|> x\u{301}\u{200d}\u{a0}\u{3000}\n\n",
        ];
        for tokenizer in [Tokenizer::O200kBase, Tokenizer::Cl100kBase] {
            let (ours, (theirs, ..)) = (encoder(tokenizer), of_the_crate(tokenizer));
            for text in texts {
                assert_eq!(ours.encode_ordinary(text), theirs.encode_ordinary(text), "{tokenizer:?} {text}");
            }
        }
    }
}
