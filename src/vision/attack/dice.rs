//! Numbers for attacks: the same sequence for the same seed, everywhere and for ever.

use image::Rgb;

/// A small generator of numbers (PCG), so that attacks do not change with a library's.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A sequence for a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d);
        dice.next();
        dice.next();
        dice
    }

    /// 32 random bits.
    pub(super) fn next(&mut self) -> u32 {
        let old = self.0;
        self.0 = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = ((old >> 18 ^ old) >> 27) as u32;
        mixed.rotate_right((old >> 59) as u32)
    }

    /// 0 to `n - 1`.
    pub fn below(&mut self, n: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(n)) >> 32) as u32
    }

    /// A position in a list of `len` entries (of fewer than 2³²).
    pub fn index(&mut self, len: usize) -> usize {
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// Uniform between the ends.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 8) as f32 / 16_777_216.0
    }

    /// −1 or 1.
    pub(super) fn sign(&mut self) -> f32 {
        if self.below(2) == 0 { -1.0 } else { 1.0 }
    }

    /// Close to normal, of mean 0 and deviation 1: the sum of four uniform numbers.
    pub(super) fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.between(-1.0, 1.0)).sum::<f32>() * 0.866
    }

    /// Any colour.
    pub(super) fn colour(&mut self) -> Rgb<u8> {
        Rgb([
            self.below(256) as u8,
            self.below(256) as u8,
            self.below(256) as u8,
        ])
    }

    /// Black, white or any colour.
    pub(super) fn ground(&mut self) -> Rgb<u8> {
        match self.below(3) {
            0 => Rgb([0; 3]),
            1 => Rgb([255; 3]),
            _ => self.colour(),
        }
    }
}
