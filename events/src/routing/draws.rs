//! Pseudo-random numbers seeded by an id: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.

use crate::ids::RequestId;

pub struct Draws(u64);

impl Draws {
    pub fn of(request: RequestId) -> Self {
        let (high, low) = request.uuid().as_u64_pair();
        Self(high ^ low)
    }

    /// A number below `bound`, which is not zero. Bounds are so small that the modulo's bias is negligible.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
