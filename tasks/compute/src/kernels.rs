//! The work itself, without any host: the same code natively and in a sandbox.

use sha2::{Digest as _, Sha256};

/// The number of primes up to and including `up_to`, and the largest of them. Sieves odd numbers
/// only: one byte for two numbers.
pub fn primes(up_to: u32) -> (u32, Option<u32>) {
    if up_to < 2 {
        return (0, None);
    }
    // Index `i` stands for the number `2 * i + 1`; index 0 for the one even prime.
    let mut is_prime = vec![true; up_to.div_ceil(2) as usize];
    let mut i = 1;
    while let Some(&candidate) = is_prime.get(i) {
        let (square, step) = (2 * i * (i + 1), 2 * i + 1);
        if square >= is_prime.len() {
            break;
        }
        if candidate {
            for composite in is_prime.iter_mut().skip(square).step_by(step) {
                *composite = false;
            }
        }
        i += 1;
    }
    let count = is_prime.iter().filter(|is_prime| **is_prime).count() as u32;
    let largest = is_prime.iter().rposition(|is_prime| *is_prime);
    (
        count,
        largest.map(|i| if i == 0 { 2 } else { 2 * i as u32 + 1 }),
    )
}

/// The SHA-256 digest of `data` as 64 hexadecimal digits in lower case.
pub fn sha256(data: &[u8]) -> String {
    Sha256::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Xorshift64*: small, fast, good enough to throw points, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        // The state must not be zero; the multiplication spreads small seeds over all bits.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number, evenly from 0 up to but not including 1.
    pub fn draw(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

/// Of `samples` points in the unit square, how many lie within one of the origin.
pub fn points_inside(random: &mut Random, samples: u32) -> u32 {
    let mut inside = 0;
    for _ in 0..samples {
        let (x, y) = (random.draw(), random.draw());
        inside += u32::from(x * x + y * y <= 1.0);
    }
    inside
}

/// Parses a JSON document into a tree and writes it again without white space.
///
/// # Errors
/// Where the document is not JSON.
pub fn reencode_json(text: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let value: serde_json::Value = serde_json::from_slice(text)?;
    serde_json::to_vec(&value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let is_prime = |n: u32| n >= 2 && !(2..n).any(|d| n.is_multiple_of(d));
        for up_to in 0..200 {
            let mut primes_up_to = (0..=up_to).filter(|n| is_prime(*n));
            let expected = (
                primes_up_to.clone().count() as u32,
                primes_up_to.next_back(),
            );
            assert_eq!(primes(up_to), expected, "up to {up_to}");
        }
    }

    #[test]
    fn throws_evenly() {
        let mut random = Random::new(0);
        let mean = (0..10_000).map(|_| random.draw()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
