//! Fuzz target of the simulator: its requests and its options. See `docs/fuzzing.md`.

use std::pin::pin;

use bytes::BytesMut;
use events::refused_parameters::RefusedParameters;
use fuzzing::{Corpus, Dice, fuzz, shown};
use http::StatusCode;
use http_body::Body;
use provider_dialects::simulator::{SimulatedAnswer, respond};

use super::*;

/// Frames per response. The longest response here has far fewer.
const FRAMES_MAX: usize = 20_000;

fn any_model(dice: &mut Dice<'_>) -> String {
    let mut model = dice.pick(&["echo", "lorem", "echo", "x"]).unwrap_or_default().to_owned();
    for number in 0..dice.below(4) {
        let names = ["output_tokens", "reasoning_tokens", "input_tokens", "cached_tokens", "no_usage", "ttft_ms", "x"];
        let name = dice.pick(&names).unwrap_or_default();
        let value = if dice.one_in(8) { dice.number() } else { dice.below(99).to_string() };
        // Larger numbers only make the response longer.
        let value = if value.len() > 3 && name.ends_with("put_tokens") { "1x".to_owned() } else { value };
        model += &format!("{}{name}={value}", if number == 0 { '?' } else { '&' });
    }
    model
}

/// The whole body; `None` if it has too many frames or is dropped.
async fn collected(answer: SimulatedAnswer) -> Option<Vec<u8>> {
    let (mut body, mut bytes) = (pin!(answer.body), Vec::new());
    for _ in 0..FRAMES_MAX {
        match std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            Some(frame) => bytes.extend_from_slice(&frame.ok()?.into_data().ok()?),
            None => return Some(bytes),
        }
    }
    None
}

#[test]
fn whatever_it_is_asked_it_answers_what_can_be_read() {
    let corpora = [Surface::Native, Surface::OpenAi]
        .map(|surface| (surface, Corpus::golden(&format!("{}/requests", surface.spec().name), "json")));
    let target = OutboundTarget {
        model: "echo",
        output_cap: UpstreamCap { tokens: 500, field: None },
        context_window: None,
        system_prefix: Some("be brief"),
        allowed_fields: &NO_FIELDS,
        server: None,
        refused: RefusedParameters::NONE,
        takes_signed_thoughts_alone: false,
    };
    // Paused time: it advances by itself when every task waits.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let _inside = runtime.enter();
    fuzz!(400, |dice| {
        let model = any_model(dice);
        let (surface, corpus) = &corpora[dice.below(2)];
        let body = corpus.draw(dice);
        let Ok(request) = ClientRequest::parse(*surface, body.clone().into()) else {
            // The gateway would not send this; the simulator must still not panic.
            let _ = respond(&model, &body.into());
            return;
        };
        let Ok(sent) = request.upstream_body(ProviderKind::Openai, &target) else { return };
        let answer = respond(&model, &sent);
        if answer.status != StatusCode::OK {
            assert!(matches!(answer.status.as_u16(), 400 | 404), "{} for {model}: {}", answer.status, shown(&sent));
            return;
        }
        let Some(received) = runtime.block_on(collected(answer)) else {
            panic!("{model} has no end for {}", shown(&sent))
        };
        let metered = if request.facts.streamed {
            let (mut relay, mut out) = (Relay::new(ProviderKind::Openai, &request, "req_1", "m", 0), BytesMut::new());
            let relayed = relay.feed(&received, &mut out).and_then(|()| relay.finish(&mut out));
            relayed.unwrap_or_else(|fault| panic!("{fault}: {} for {model} {}", shown(&received), shown(&sent)));
            relay.metered()
        } else {
            let answer = read_whole(ProviderKind::Openai, *surface, received.clone().into());
            answer
                .unwrap_or_else(|failed| panic!("{}: {} for {}", failed.fault, shown(&received), shown(&sent)))
                .metered
        };
        let reported = metered.reported().map_or(0, |tokens| tokens.output());
        assert!(reported <= 500 * request.facts.choices, "{reported} tokens for {model} {}", shown(&sent));
    });
}
