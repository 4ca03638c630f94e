//! SipHash-2-4 of whole words: the hash of tables whose keys strangers choose.
//!
//! With a secret seed nobody outside can aim at one cell. The standard library has the same
//! function behind a random seed, which would not replay. Beyond tables it makes the nonces by
//! which a client proves its new address: 64 bits that are worth guessing for seconds, 20 times a
//! second. What is worth more takes a longer MAC. Called by `gate` and `connection`.

/// SipHash-2-4 under `seed` of the little-endian bytes of `words`.
pub fn siphash(seed: [u64; 2], words: &[u64]) -> u64 {
    let mut state = [
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ];
    for &word in words {
        absorb(&mut state, word);
    }
    absorb(&mut state, (words.len() as u64 * 8) << 56);
    state[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut state));
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v3);
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.wrapping_add(*v3);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.wrapping_add(*v1);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::Hasher;

    proptest! {
        #[test]
        fn the_hash_equals_that_of_the_standard_library(
            seed in any::<[u64; 2]>(),
            words in prop::collection::vec(any::<u64>(), 0..70),
        ) {
            #[allow(deprecated, reason = "the only keyed one in std, here as the oracle")]
            let mut oracle = std::hash::SipHasher::new_with_keys(seed[0], seed[1]);
            words.iter().for_each(|word| oracle.write(&word.to_le_bytes()));
            prop_assert_eq!(siphash(seed, &words), oracle.finish());
        }
    }
}
