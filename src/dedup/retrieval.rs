//! Pairs of images that are close by PDQ, in any of the eight rotations and mirrors.

use rayon::prelude::*;

use crate::types::PdqHash;

/// The hashes of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PdqSet {
    /// The eight variants, the original first.
    pub variants: [PdqHash; 8],
    /// Quality of the hash, 0 to 100.
    pub quality: u8,
}

/// All pairs `(a, b)` with `a < b` whose least distance is at most `radius`, in order; images of a quality below
/// `min_quality` have none. Compares every pair, on the threads of the current rayon pool.
#[must_use]
pub fn pdq_join(images: &[PdqSet], radius: u32, min_quality: u8) -> Vec<(u32, u32)> {
    let usable: Vec<(u32, [[u64; 4]; 8])> = (0u32..)
        .zip(images)
        .filter(|(_, set)| set.quality >= min_quality)
        .map(|(row, set)| (row, set.variants.map(|hash| words(&hash))))
        .collect();
    usable
        .par_iter()
        .enumerate()
        .flat_map_iter(|(i, (a, variants))| {
            usable[i + 1..].iter().filter_map(move |(b, others)| {
                variants
                    .iter()
                    .any(|variant| within(variant, &others[0], radius))
                    .then_some((*a, *b))
            })
        })
        .collect()
}

fn words(hash: &PdqHash) -> [u64; 4] {
    let (chunks, _) = hash.as_bytes().as_chunks::<8>();
    [0, 1, 2, 3].map(|i| u64::from_le_bytes(chunks[i]))
}

fn within(a: &[u64; 4], b: &[u64; 4], radius: u32) -> bool {
    let part = |i: usize| (a[i] ^ b[i]).count_ones();
    let half = part(0) + part(1);
    half <= radius && half + part(2) + part(3) <= radius
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_over_the_variants_and_leaves_out_poor_hashes() {
        let hash = |byte: u8| PdqHash::from_bytes([byte; 32]);
        let set = |base: u8, turned: u8, quality| {
            let mut variants = [hash(turned); 8];
            variants[0] = hash(base);
            PdqSet { variants, quality }
        };
        let images = [
            set(0x00, 0x0f, 90),
            set(0x01, 0xf0, 90),
            set(0x0f, 0xff, 90),
            set(0x00, 0x0f, 10),
        ];
        // 0 and 1 differ in one bit a byte; 0 turned is 2; image 3 is of poor quality.
        assert_eq!(pdq_join(&images, 32, 50), [(0, 1), (0, 2)]);
        assert_eq!(pdq_join(&images, 31, 50), [(0, 2)]);
        assert_eq!(
            pdq_join(&images, 0, 0),
            [(0, 2), (0, 3)],
            "variants of the first, base of the second"
        );
    }
}
