//! Which images a segment may have: an upload asks every segment, and nearly all say no.

use crate::types::ImageId;

/// Bits for each image: one question in sixteen is answered by looking.
const BITS: usize = 16;

/// A Bloom filter with a single hash, for one access to memory a question. Ids are hashes: any bits of theirs will do.
#[derive(Debug)]
pub(super) struct IdFilter(Vec<u64>);

impl IdFilter {
    /// A filter of `len` images, two bytes for each.
    pub(super) fn new(len: usize, ids: impl Iterator<Item = ImageId>) -> Self {
        let words = (len * BITS).div_ceil(64).max(1);
        let mut filter = Self(vec![0; words]);
        for id in ids {
            let (word, bit) = filter.place(&id);
            filter.0[word] |= bit;
        }
        filter
    }

    /// Whether an image may be there; `false` is certain.
    pub(super) fn may_have(&self, id: &ImageId) -> bool {
        let (word, bit) = self.place(id);
        self.0[word] & bit != 0
    }

    /// The bits of an id that its order among others depends on least.
    fn place(&self, id: &ImageId) -> (usize, u64) {
        let bytes = id.as_bytes();
        let (_, last) = bytes.split_last_chunk::<8>().expect("ids have sixteen bytes");
        let number = u64::from_le_bytes(*last);
        // Lemire's reduction of 58 bits, <https://arxiv.org/abs/1805.10941>; the other six are the bit.
        let word = (u128::from(number >> 6) * self.0.len() as u128) >> 58;
        (word as usize, 1 << (number & 63))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::fixtures::record;

    #[test]
    fn no_image_is_missed_and_few_others_are_taken_for_one() {
        for len in [0, 1, 3, 1000, 20_000] {
            let filter = IdFilter::new(len, (0..len as u64).map(|n| record(n).id));
            assert!((0..len as u64).all(|n| filter.may_have(&record(n).id)), "{len}");
            let wrong = (100_000..110_000)
                .filter(|&n| filter.may_have(&record(n).id))
                .count();
            assert!(wrong < 1000, "{len}: {wrong} of 10,000");
        }
    }
}
