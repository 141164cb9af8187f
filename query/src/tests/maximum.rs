//! Answers at the end of what numbers can say.

use ::events::money::{NanoUsd, NanoUsdSum};
use ::events::usage::TokenClasses;

use super::world::{OURS, World, operator, text};

/// Holds: query.usage-exact-sums
#[tokio::test]
async fn sums_beyond_64_bits_are_whole_numbers_and_money_beyond_an_amount_keeps_its_nine_digits() {
    const TIMES: u32 = 17;
    let world = World::new().await;
    let most = u64::MAX;
    let tokens = TokenClasses {
        input_uncached_tokens: most,
        input_cache_read_tokens: most,
        input_cache_write_tokens: most,
        output_text_tokens: most,
        output_reasoning_tokens: most,
        ..TokenClasses::default()
    };
    let mut position = 0;
    for number in 0..TIMES {
        let used = (tokens.clone(), NanoUsd::MAX);
        position = world.infers_using(OURS, 1000 + u128::from(number), &[("team", "red")], used).await;
    }
    let counted = u128::from(TIMES) * u128::from(most);
    let cost = NanoUsdSum::new(i128::from(TIMES) * i128::from(i64::MAX));
    for by in ["", "tenant,day", "metadata.team", "hour,key,metadata.none"] {
        let path = format!("/v1/usage?min_position={position}&group_by={by}");
        let answer = text(world.send(&operator(), &path, &[]).await).await;
        for class in ["input_uncached", "input_cache_read", "input_cache_write", "output_text", "output_reasoning"] {
            assert!(answer.contains(&format!("\"{class}_tokens\":{counted},")), "{by}: {class} in {answer}");
        }
        assert!(answer.contains(&format!("\"cost_usd\":\"{cost}\"")), "{by}: {answer}");
    }
    world.close().await;
}
