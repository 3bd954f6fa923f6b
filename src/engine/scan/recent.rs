//! Features of images that were used lately, within a bound on their bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::vision::verify::Features;

/// The features used last.
pub(super) struct Recent {
    entries: HashMap<u32, (u64, Arc<Features>)>,
    by_age: BTreeMap<u64, u32>,
    clock: u64,
    bytes: usize,
    most_bytes: usize,
}

impl Recent {
    /// Room for so many bytes, and for one image in any case.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            most_bytes,
        }
    }

    /// The features of an image, where they are still there.
    pub(super) fn get(&mut self, index: u32) -> Option<Arc<Features>> {
        self.clock += 1;
        let (age, features) = self.entries.get_mut(&index)?;
        self.by_age.remove(age);
        *age = self.clock;
        self.by_age.insert(self.clock, index);
        Some(features.clone())
    }

    /// Keeps the features of an image; those used longest ago make room.
    pub(super) fn put(&mut self, index: u32, features: Arc<Features>) {
        self.clock += 1;
        self.bytes += features.bytes();
        if let Some((age, before)) = self.entries.insert(index, (self.clock, features)) {
            self.by_age.remove(&age);
            self.bytes -= before.bytes();
        }
        self.by_age.insert(self.clock, index);
        while self.bytes > self.most_bytes && self.entries.len() > 1 {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            if let Some((_, features)) = self.entries.remove(&oldest) {
                self.bytes -= features.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::RgbImage;

    #[test]
    fn the_features_used_last_stay_within_their_bytes() {
        let features = || Arc::new(Features::extract(&RgbImage::new(64, 48)));
        let one = features().bytes();
        let mut recent = Recent::new(3 * one);
        for index in 0..10 {
            recent.put(index, features());
            recent.put(index, features());
            assert!(
                index == 0 || recent.get(0).is_some(),
                "asked for every time, gone at {index}"
            );
        }
        let held: Vec<u32> = (0..10).filter(|index| recent.get(*index).is_some()).collect();
        assert_eq!(held, [0, 8, 9]);
        let mut small = Recent::new(one - 1);
        small.put(1, features());
        small.put(2, features());
        assert!(
            small.get(1).is_none() && small.get(2).is_some(),
            "one has a place"
        );
    }
}
