//! What of images was used lately, within a bound on its bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::vision::verify::{Features, Keypoints};

/// What is kept of an image; cheap to clone.
pub(super) trait Held: Clone {
    /// Memory that it takes.
    fn held(&self) -> usize;
}

impl Held for Arc<Features> {
    fn held(&self) -> usize {
        self.bytes()
    }
}

impl Held for Keypoints {
    fn held(&self) -> usize {
        self.bytes()
    }
}

/// What was used last.
pub(super) struct Recent<T> {
    entries: HashMap<u32, (u64, T)>,
    by_age: BTreeMap<u64, u32>,
    clock: u64,
    bytes: usize,
    most_bytes: usize,
}

impl<T: Held> Recent<T> {
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

    /// What is kept of an image, where it is still there.
    pub(super) fn get(&mut self, index: u32) -> Option<T> {
        self.clock += 1;
        let (age, held) = self.entries.get_mut(&index)?;
        self.by_age.remove(age);
        *age = self.clock;
        self.by_age.insert(self.clock, index);
        Some(held.clone())
    }

    /// Keeps something of an image; what was used longest ago makes room.
    pub(super) fn put(&mut self, index: u32, held: T) {
        self.clock += 1;
        self.bytes += held.held();
        if let Some((age, before)) = self.entries.insert(index, (self.clock, held)) {
            self.by_age.remove(&age);
            self.bytes -= before.held();
        }
        self.by_age.insert(self.clock, index);
        while self.bytes > self.most_bytes && self.entries.len() > 1 {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                return;
            };
            if let Some((_, before)) = self.entries.remove(&oldest) {
                self.bytes -= before.held();
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
