//! Pairs of images that are close by PDQ, in any of the eight rotations and mirrors.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use parking_lot::Mutex;
use rayon::prelude::*;

use crate::types::{PdqHash, Similarity};
use crate::vector::distance::Kernels;

/// The hashes of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PdqSet {
    /// The eight variants, the original first.
    pub variants: [PdqHash; 8],
    /// Quality of the hash, 0 to 100.
    pub quality: u8,
}

/// Hashes that are compared with all variants of one image in turn: 16 kB.
const BLOCK: usize = 512;

/// All pairs `(a, b, distance)` with `a < b` whose least distance is at most `radius`, handed out in no defined
/// order; images of a quality below `min_quality` have none. Compares every pair, on the threads of the current
/// rayon pool.
pub fn pdq_join(images: &[PdqSet], radius: u32, min_quality: u8, take: impl Fn(u32, u32, u32) + Sync) {
    let usable: Vec<(u32, &PdqSet)> = (0u32..)
        .zip(images)
        .filter(|(_, set)| set.quality >= min_quality)
        .collect();
    let originals: Vec<[u8; 32]> = usable
        .iter()
        .map(|(_, set)| *set.variants[0].as_bytes())
        .collect();
    let kernels = Kernels::active();
    usable.par_iter().enumerate().for_each(|(i, (a, set))| {
        let others = originals[i + 1..]
            .chunks(BLOCK)
            .zip(usable[i + 1..].chunks(BLOCK));
        let (mut least, mut distances) = ([0u16; BLOCK], [0u16; BLOCK]);
        for (hashes, rows) in others {
            least.fill(u16::MAX);
            for variant in &set.variants {
                kernels.hamming_each(variant.as_bytes(), hashes, &mut distances);
                for (least, &distance) in least.iter_mut().zip(&distances[..hashes.len()]) {
                    *least = distance.min(*least);
                }
            }
            for ((b, _), &distance) in rows.iter().zip(&least) {
                if u32::from(distance) <= radius {
                    take(*a, *b, u32::from(distance));
                }
            }
        }
    });
}

/// Candidate pairs of a set of images: of each image the nearest few by either measure, so that their number grows
/// with the images and not with its square.
///
/// A crop or a border can move an embedding far away, but its nearest neighbours are still its family: they count at any
/// similarity.
pub struct Candidates {
    rows: Vec<Mutex<Row>>,
    /// Nearest images that count, by either measure.
    neighbours: usize,
}

#[derive(Default)]
struct Row {
    by_similarity: BTreeSet<(Similarity, u32)>,
    by_distance: BTreeSet<(Reverse<u32>, u32)>,
}

impl Candidates {
    /// For `images` images, the nearest `neighbours` of each.
    #[must_use]
    pub fn new(images: usize, neighbours: usize) -> Self {
        Self {
            rows: (0..images).map(|_| Mutex::default()).collect(),
            neighbours,
        }
    }

    /// Takes a pair found by its embeddings.
    pub fn similar(&self, a: u32, b: u32, similarity: Similarity) {
        for (row, other) in [(a, b), (b, a)] {
            let row = &mut self.rows[row as usize].lock().by_similarity;
            row.insert((similarity, other));
            if row.len() > self.neighbours {
                row.pop_first();
            }
        }
    }

    /// Takes a pair found by PDQ.
    pub fn near(&self, a: u32, b: u32, distance: u32) {
        for (row, other) in [(a, b), (b, a)] {
            let row = &mut self.rows[row as usize].lock().by_distance;
            row.insert((Reverse(distance), other));
            if row.len() > self.neighbours {
                row.pop_first();
            }
        }
    }

    /// The pairs `(a, b)`, `a < b`, that are among the nearest of either, in order.
    #[must_use]
    pub fn pairs(self) -> Vec<(u32, u32)> {
        let mut pairs: Vec<(u32, u32)> = (0u32..)
            .zip(self.rows)
            .flat_map(|(a, row)| {
                let row = row.into_inner();
                let similar = row.by_similarity.into_iter().map(|(_, b)| b);
                let near = row.by_distance.into_iter().map(|(_, b)| b);
                similar
                    .chain(near)
                    .map(move |b| (a.min(b), a.max(b)))
                    .collect::<Vec<_>>()
            })
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }
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
        let join = |radius, quality| {
            let found = Mutex::new(Vec::new());
            pdq_join(&images, radius, quality, |a, b, d| found.lock().push((a, b, d)));
            let mut found = found.into_inner();
            found.sort_unstable();
            found
        };
        // 0 and 1 differ in one bit a byte; 0 turned is 2; image 3 is of poor quality.
        assert_eq!(join(32, 50), [(0, 1, 32), (0, 2, 0)]);
        assert_eq!(join(31, 50), [(0, 2, 0)]);
        assert_eq!(
            join(0, 0),
            [(0, 2, 0), (0, 3, 0)],
            "variants of the first, base of the second"
        );
    }

    #[test]
    fn joins_over_many_blocks_as_pair_by_pair() {
        let hash = |seed: usize| {
            let byte = |i: usize| (seed * 32 + i).wrapping_mul(2_654_435_761) >> 13;
            // Few bits of each byte differ, so that some pairs are near.
            PdqHash::from_bytes(std::array::from_fn(|i| (byte(i) & 0x15) as u8))
        };
        let images: Vec<PdqSet> = (0..2 * BLOCK + 77)
            .map(|i| PdqSet {
                variants: std::array::from_fn(|way| hash(8 * i + way)),
                quality: if i % 50 == 7 { 10 } else { 90 },
            })
            .collect();
        let found = Mutex::new(Vec::new());
        pdq_join(&images, 30, 50, |a, b, distance| {
            found.lock().push((a, b, distance))
        });
        let mut found = found.into_inner();
        found.sort_unstable();
        let mut expected = Vec::new();
        for (a, one) in (0u32..).zip(&images).filter(|(_, set)| set.quality >= 50) {
            let later = (0u32..).zip(&images).skip(a as usize + 1);
            for (b, other) in later.filter(|(_, set)| set.quality >= 50) {
                let distances = one.variants.iter().map(|hash| hash.hamming(&other.variants[0]));
                let least = distances.min().expect("eight variants");
                expected.extend((least <= 30).then_some((a, b, least)));
            }
        }
        assert!(
            expected.len() > 100 && expected.len() < 500_000,
            "{}",
            expected.len()
        );
        assert!(
            found == expected,
            "{} pairs, expected {}",
            found.len(),
            expected.len()
        );
    }

    #[test]
    fn candidates_are_the_nearest_few_of_either_image() {
        let pairs = [(0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.7), (3, 4, 0.1)];
        let candidates = Candidates::new(5, 1);
        for (a, b, similarity) in pairs {
            candidates.similar(a, b, Similarity::clamped(similarity));
        }
        candidates.near(2, 4, 9);
        candidates.near(0, 4, 7);
        assert_eq!(candidates.pairs(), [(0, 1), (0, 2), (0, 4), (2, 4), (3, 4)]);
    }
}
