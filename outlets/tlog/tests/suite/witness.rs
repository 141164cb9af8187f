//! Requests to witnesses, and their answers.

use tlog::{
    ANSWER_BYTES_MAX, AddCheckpoint, Answer, MalformedAnswer, MalformedNote, MalformedProofLines, MalformedRequest,
    SIZE_CONTENT_TYPE, consistency_proof, parse_answer, tiles_of_consistency, verify_consistency,
};

use crate::proof_file::{ORIGIN, sign, signer, witness};
use crate::published::PublishedLog;

/// The examples of the specification.
const REQUEST: &str = "old 20852014\n\
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
    jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
    5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
    /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
    \n\
    example.com/behind-the-sofa\n\
    20852163\n\
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
    \n\
    — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
const COSIGNATURES: &str = "\
    — witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n\
    — witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==\n\
    — witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==\n";

#[test]
fn the_request_of_the_specification_is_read_as_it_stands() {
    let request = AddCheckpoint::parse(REQUEST.as_bytes()).expect("a request");
    assert_eq!((request.old_size, request.consistency.len()), (20_852_014, 4));
    assert_eq!(request.checkpoint.note().signatures().len(), 2);
    assert_eq!(request.to_string(), REQUEST);
}

#[test]
fn a_witness_can_check_what_a_log_asks_and_the_log_what_it_answers() {
    let log = PublishedLog::at([300, 1000]);
    let (old, new) = (PublishedLog::at([300]).tree.head(), log.tree.head());
    let tiles = log.fetch(&tiles_of_consistency(300, 1000).expect("it grows"));
    let consistency = consistency_proof(300, 1000, &tiles).expect("the tiles are there");
    let request = AddCheckpoint { old_size: 300, consistency, checkpoint: sign(new) };

    let asked = AddCheckpoint::parse(request.to_string().as_bytes()).expect("a request");
    let checkpoint = asked.checkpoint.verify(ORIGIN, &[signer().verifier_key().clone()]).expect("the log signed it");
    assert_eq!(verify_consistency(&old, checkpoint.head(), &asked.consistency), Ok(()));
    let body = format!("{}\n", witness(1).cosign(asked.checkpoint.note().text(), 1_800_000_000));

    let answer = parse_answer(200, None, body.as_bytes()).expect("an answer");
    let Answer::Cosigned(signatures) = answer else { panic!("{answer:?}") };
    let (mut signed, known) = (request.checkpoint, [witness(1).verifier_key().clone()]);
    assert_eq!(signed.add_cosignatures(&signatures, &known).map(|added| added.len()), Ok(1));
    assert_eq!(signed.cosignatures(&known).map(|found| found[0].unix_seconds), Ok(1_800_000_000));
}

#[test]
fn every_answer_of_the_specification_is_known() {
    let cosigned = parse_answer(200, Some("text/plain"), COSIGNATURES.as_bytes()).expect("an answer");
    let Answer::Cosigned(signatures) = cosigned else { panic!("{cosigned:?}") };
    let lines: String = signatures.iter().map(|signature| format!("{signature}\n")).collect();
    assert_eq!(lines, COSIGNATURES);
    for (status, content_type, body, answer) in [
        (409, Some(SIZE_CONTENT_TYPE), "20852014\n", Answer::OtherSize(20_852_014)),
        (409, Some("Text/X.tlog.size; charset=utf-8"), "0\n", Answer::OtherSize(0)),
        (409, Some("text/plain"), "20852014\n", Answer::OtherRoot),
        (409, None, "", Answer::OtherRoot),
        (404, None, "unknown", Answer::UnknownLog),
        (403, None, "", Answer::Untrusted),
        (422, None, "", Answer::Inconsistent),
        (400, None, "", Answer::BadRequest),
        (503, None, "", Answer::Other { status: 503 }),
        (201, None, COSIGNATURES, Answer::Other { status: 201 }),
    ] {
        assert_eq!(parse_answer(status, content_type, body.as_bytes()), Ok(answer), "{status} {content_type:?}");
    }
}

#[test]
fn an_answer_with_another_body_is_refused() {
    for body in ["", "\n", "20852014", "20852014\n\n", "020\n", "+1\n", " 1\n", "18446744073709551616\n"] {
        let answer = parse_answer(409, Some(SIZE_CONTENT_TYPE), body.as_bytes());
        assert_eq!(answer, Err(MalformedAnswer::Size), "{body:?}");
    }
    for (body, why) in [
        ("", MalformedNote::NoSignatures),
        ("\n", MalformedNote::SignatureLine),
        (COSIGNATURES.trim_end(), MalformedNote::NoSignatures),
        ("— x AAAAAAA=\n\n", MalformedNote::SignatureLine),
    ] {
        assert_eq!(parse_answer(200, None, body.as_bytes()), Err(MalformedAnswer::Signatures(why)), "{body:?}");
    }
    assert_eq!(parse_answer(200, None, b"\xff\n"), Err(MalformedAnswer::NotUtf8));
    assert_eq!(parse_answer(200, None, &vec![b'a'; ANSWER_BYTES_MAX + 1]), Err(MalformedAnswer::TooLong));
}

#[test]
fn what_is_not_a_request_is_refused() {
    use MalformedRequest::{Lines, OldSize};
    for (from, to, why) in [
        ("old 20852014\n", "", OldSize),
        ("old 20852014\n", "old 020852014\n", OldSize),
        ("old 20852014\n", "old  20852014\n", OldSize),
        ("old 20852014\n", "old 20852014 \n", OldSize),
        ("\n\nexample", "\nexample", Lines(MalformedProofLines::Hash)),
        ("kaw=\n", "kax=\n", Lines(MalformedProofLines::Hash)),
    ] {
        let changed = REQUEST.replacen(from, to, 1);
        assert_ne!(changed, REQUEST, "{from:?}");
        assert_eq!(AddCheckpoint::parse(changed.as_bytes()), Err(why), "{to:?}");
    }
    assert_eq!(AddCheckpoint::parse(b"old 0\n"), Err(Lines(MalformedProofLines::NoCheckpoint)));
}
