//! What a search remembers: the nodes it has seen, and the best of them.

/// The nodes seen by one search: a bit each, and their list, so that forgetting costs only what was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    words: Vec<u64>,
    list: Vec<u32>,
}

impl Seen {
    /// Forgets everything, and makes room for `nodes` nodes.
    pub(super) fn reset(&mut self, nodes: usize) {
        for node in self.list.drain(..) {
            self.words[node as usize / 64] = 0;
        }
        let words = nodes.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Marks nodes; those that are new are added to the list in their order.
    #[inline(always)]
    pub(super) fn insert(&mut self, nodes: &[u32]) {
        let mut len = self.list.len();
        self.list.resize(len + nodes.len(), 0);
        for &node in nodes {
            // Without a branch: which nodes are new cannot be foreseen.
            let (word, bit) = (&mut self.words[node as usize / 64], 1u64 << (node % 64));
            self.list[len] = node;
            len += usize::from(*word & bit == 0);
            *word |= bit;
        }
        self.list.truncate(len);
    }

    /// The nodes marked, in the order in which they were.
    pub(super) fn list(&self) -> &[u32] {
        &self.list
    }
}

/// The best nodes met so far, best first, at most as many as the beam is wide.
///
/// An entry is one number: the score, reversed so that better is less, above the node and a bit that says whether
/// its links were followed.
#[derive(Debug, Default)]
pub(super) struct Beam {
    entries: Vec<u64>,
    width: usize,
    /// Only what is less than this is among the best.
    limit: u64,
    /// No entry before this position waits.
    next: usize,
}

const FOLLOWED: u64 = 1;

impl Beam {
    pub(super) fn reset(&mut self, width: usize) {
        self.entries.clear();
        self.entries.reserve(width + 1);
        self.width = width.max(1);
        self.limit = u64::MAX;
        self.next = 0;
    }

    fn entry(score: i32, node: u32) -> u64 {
        let reversed = !(score.cast_unsigned() ^ 0x8000_0000);
        u64::from(reversed) << 32 | u64::from(node) << 1
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, score: i32, node: u32) {
        let entry = Self::entry(score, node);
        if entry >= self.limit {
            return;
        }
        let at = self.entries.partition_point(|&other| other < entry);
        self.entries.truncate(self.width - 1);
        self.entries.insert(at, entry);
        if self.entries.len() == self.width {
            self.limit = self.entries[self.width - 1];
        }
        self.next = self.next.min(at);
    }

    /// The best node whose links were not followed yet; marks it.
    #[inline(always)]
    pub(super) fn follow(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.next) {
            self.next += 1;
            if *entry & FOLLOWED == 0 {
                *entry |= FOLLOWED;
                return Some(Self::node(*entry));
            }
        }
        None
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half holds the node")]
    fn node(entry: u64) -> u32 {
        (entry as u32) >> 1
    }

    fn score(entry: u64) -> i32 {
        (!((entry >> 32) as u32) ^ 0x8000_0000).cast_signed()
    }

    /// Score and node of every entry, best first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (i32, u32)> + '_ {
        self.entries
            .iter()
            .map(|&entry| (Self::score(entry), Self::node(entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beam_keeps_the_best_in_order_and_hands_each_out_once() {
        let mut beam = Beam::default();
        beam.reset(3);
        for (score, node) in [(5, 1), (-7, 2), (9, 3), (i32::MIN, 4), (5, 0)] {
            beam.offer(score, node);
        }
        assert_eq!(beam.iter().collect::<Vec<_>>(), [(9, 3), (5, 0), (5, 1)]);
        assert_eq!((beam.follow(), beam.follow()), (Some(3), Some(0)));
        beam.offer(i32::MAX, 7);
        assert_eq!(
            (beam.follow(), beam.follow()),
            (Some(7), None),
            "a better node comes before those that wait"
        );
    }

    #[test]
    fn seen_nodes_are_listed_once_and_forgotten_at_reset() {
        let mut seen = Seen::default();
        seen.reset(10_000);
        seen.insert(&[9_999, 5, 9_999]);
        seen.insert(&[0, 5]);
        assert_eq!(seen.list(), [9_999, 5, 0]);
        seen.reset(20_000);
        seen.insert(&[19_999, 5, 9_999]);
        assert_eq!(seen.list(), [19_999, 5, 9_999]);
    }
}
