//! Best-first search over codes: the one hot loop, used by searches and by the builder.

use std::cell::RefCell;

use super::super::distance::{Kernels, prefetch};
use super::super::quantise::QueryCode;

/// A matrix of stored codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Codes<'a> {
    pub(super) bytes: &'a [u8],
    /// Length of one code.
    pub(super) len: usize,
    pub(super) kernels: Kernels,
}

impl<'a> Codes<'a> {
    pub(super) fn code(&self, node: u32) -> &'a [u8] {
        &self.bytes[node as usize * self.len..][..self.len]
    }
}

/// Links of one layer, `degree` for each node; a place without a link holds the node itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<'a> {
    pub(super) targets: &'a [u32],
    pub(super) degree: usize,
}

impl<'a> Links<'a> {
    pub(super) fn of(&self, node: u32) -> &'a [u32] {
        &self.targets[node as usize * self.degree..][..self.degree]
    }
}

/// What a search needs to remember; one for each thread, reused.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) query: QueryCode,
    pub(super) beam: Beam,
    pub(super) seen: Seen,
    /// Where a search starts.
    pub(super) entries: Vec<u32>,
    pub(super) fresh: Vec<u32>,
    pub(super) nodes: Vec<u32>,
    pub(super) scores: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends this thread's scratch; a nested call gets a new one.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => work(&mut scratch),
        Err(_) => work(&mut Scratch::default()),
    })
}

/// The nodes seen by one search: a bit each, and a bit for every word of these, so that forgetting costs only what was
/// touched.
#[derive(Debug, Default)]
pub(super) struct Seen {
    words: Vec<u64>,
    touched: Vec<u64>,
    count: usize,
}

impl Seen {
    /// Forgets everything, and makes room for `nodes` nodes.
    pub(super) fn reset(&mut self, nodes: usize) {
        for (i, touched) in self.touched.iter_mut().enumerate() {
            while *touched != 0 {
                self.words[i * 64 + touched.trailing_zeros() as usize] = 0;
                *touched &= *touched - 1;
            }
        }
        self.count = 0;
        let words = nodes.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
            self.touched.resize(words.div_ceil(64), 0);
        }
    }

    /// Marks a node; answers whether it was new.
    #[inline(always)]
    pub(super) fn insert(&mut self, node: u32) -> bool {
        let (word, bit) = ((node / 64) as usize, 1u64 << (node % 64));
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.touched[word / 64] |= 1 << (word % 64);
        self.count += usize::from(new);
        new
    }

    /// Number of nodes marked.
    pub(super) fn count(&self) -> usize {
        self.count
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
    /// No entry before this position waits.
    next: usize,
}

const FOLLOWED: u64 = 1;

impl Beam {
    pub(super) fn reset(&mut self, width: usize) {
        self.entries.clear();
        self.entries.reserve(width + 1);
        self.width = width.max(1);
        self.next = 0;
    }

    fn entry(score: i32, node: u32) -> u64 {
        let reversed = !(score.cast_unsigned() ^ 0x8000_0000);
        u64::from(reversed) << 32 | u64::from(node) << 1
    }

    #[inline(always)]
    pub(super) fn offer(&mut self, score: i32, node: u32) {
        let entry = Self::entry(score, node);
        if self.entries.len() >= self.width {
            if self.entries.last().is_some_and(|&worst| entry >= worst) {
                return;
            }
            self.entries.pop();
        }
        let at = self.entries.partition_point(|&other| other < entry);
        self.entries.insert(at, entry);
        self.next = self.next.min(at);
    }

    /// The best node whose links were not followed yet; marks it.
    #[inline(always)]
    fn follow(&mut self) -> Option<u32> {
        while let Some(entry) = self.entries.get_mut(self.next) {
            self.next += 1;
            if *entry & FOLLOWED == 0 {
                *entry |= FOLLOWED;
                return Some(Self::node(*entry));
            }
        }
        None
    }

    /// The node that would be followed next, if nothing better comes.
    #[inline(always)]
    fn peek(&self) -> Option<u32> {
        self.entries[self.next..]
            .iter()
            .find(|&&entry| entry & FOLLOWED == 0)
            .map(|&entry| Self::node(entry))
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

/// One layer to search: its links, and the code of each of its positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) links: Links<'a>,
    /// The node at each position; `None` where positions are nodes.
    pub(super) members: Option<&'a [u32]>,
}

impl Layer<'_> {
    #[inline(always)]
    fn node(&self, position: u32) -> u32 {
        self.members
            .map_or(position, |members| members[position as usize])
    }

    fn positions(&self) -> usize {
        self.links.targets.len() / self.links.degree
    }
}

/// Beam width in the lowest upper layer; all that it holds are starting points in the layer below. In sets of many
/// tight clusters that are equally far from each other, the single best one is often in the wrong cluster.
const UPPER_WIDTH: usize = 8;

/// Beam width in the layers above that one.
const TOP_WIDTH: usize = 4;

/// Fills `scratch.beam` with the `width` best positions of the lowest layer that best-first search meets, starting in
/// the highest one. `layers` are highest first; a layer's positions are the first of those of the layer below, and
/// position 0 is where the search starts.
pub(super) fn descend(
    codes: Codes<'_>,
    layers: &[Layer<'_>],
    query: &[i8],
    width: usize,
    scratch: &mut Scratch,
    scored: impl FnMut(u32, i32),
) {
    let Some((lowest, upper)) = layers.split_last() else {
        return;
    };
    scratch.entries.clear();
    scratch.entries.push(0);
    for (i, &layer) in upper.iter().enumerate() {
        let width = if i + 1 == upper.len() {
            UPPER_WIDTH
        } else {
            TOP_WIDTH
        };
        search(codes, layer, query, width, scratch, |_, _| ());
        let Scratch { beam, entries, .. } = scratch;
        entries.clear();
        entries.extend(beam.iter().map(|(_, position)| position));
    }
    if let (None, Some(members)) = (lowest.members, upper.last().and_then(|layer| layer.members)) {
        scratch
            .entries
            .iter_mut()
            .for_each(|entry| *entry = members[*entry as usize]);
    }
    search(codes, *lowest, query, width, scratch, scored);
}

/// Fills `scratch.beam` with the `width` best positions that best-first search from `scratch.entries` meets. `scored`
/// is told of every position whose score was computed.
///
/// The links of two positions are followed at once: a search waits for memory most of the time, and twice as many codes
/// are on their way while it waits.
pub(super) fn search(
    codes: Codes<'_>,
    layer: Layer<'_>,
    query: &[i8],
    width: usize,
    scratch: &mut Scratch,
    mut scored: impl FnMut(u32, i32),
) {
    let Scratch {
        beam,
        seen,
        fresh,
        nodes,
        scores,
        entries,
        ..
    } = scratch;
    seen.reset(layer.positions());
    beam.reset(width);
    scores.resize((2 * layer.links.degree).max(entries.len()).max(scores.len()), 0);
    let mut targets = entries.as_slice();
    let mut more: &[u32] = &[];
    loop {
        fresh.clear();
        nodes.clear();
        for &target in targets.iter().chain(more) {
            if seen.insert(target) {
                let node = layer.node(target);
                prefetch(codes.code(node));
                fresh.push(target);
                nodes.push(node);
            }
        }
        if let Some(next) = beam.peek() {
            prefetch(layer.links.of(next));
        }
        codes.kernels.dot_code_rows(codes.bytes, nodes, query, scores);
        for (&target, &score) in fresh.iter().zip(scores.iter()) {
            scored(target, score);
            beam.offer(score, target);
        }
        let Some(position) = beam.follow() else { return };
        targets = layer.links.of(position);
        more = beam.follow().map_or(&[], |position| layer.links.of(position));
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
        assert_eq!(
            (beam.follow(), beam.peek(), beam.follow()),
            (Some(3), Some(0), Some(0))
        );
        beam.offer(i32::MAX, 7);
        assert_eq!(
            (beam.follow(), beam.follow()),
            (Some(7), None),
            "a better node comes before those that wait"
        );
    }

    #[test]
    fn seen_nodes_are_forgotten_at_reset() {
        let mut seen = Seen::default();
        seen.reset(10_000);
        assert!(seen.insert(9_999) && !seen.insert(9_999) && seen.insert(0));
        assert_eq!(seen.count(), 2);
        seen.reset(20_000);
        assert_eq!(seen.count(), 0);
        assert!(seen.insert(9_999) && seen.insert(0) && seen.insert(19_999));
    }
}
