//! Search for the nearest rows of a block.

use super::super::distance::prefetch;
use super::super::quantise::product_error;
use super::super::ranking::Best;
use super::super::{Hit, RowFilter};
use super::walk::{Layers, TURNS, Walk, with_walks};
use super::{SearchParams, View};
use crate::types::{Embedding, Similarity};

/// Once a search would look at more than one in this many nodes, all codes are scanned instead: reading them in order
/// is that much faster.
pub(super) const SCAN_SHARE: usize = 6;

/// A filtered search is wide enough when it has this share, in percent, of `ef` in nodes that the filter allows.
const ENOUGH_ALLOWED: usize = 70;

/// What is allowed for, of the largest error that a code can cause, where the graph has already decided what is looked
/// at: the errors of the components are independent, so that a sum of them is hardly ever a third of its bound.
const LIKELY_ERROR: f32 = 1.0 / 3.0;

/// Originals beyond `k` that are asked for before the first is compared.
const AHEAD: usize = 4;

/// What is wanted of a search.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) k: usize,
    pub(super) params: SearchParams,
    pub(super) filter: Option<RowFilter<'a>>,
}

/// One of the searches that take turns.
struct Turn<'a> {
    query: &'a Embedding,
    hits: &'a mut Vec<Hit>,
    /// Of the beam.
    width: usize,
    /// The walk is over, and the first originals are on their way.
    ranking: bool,
}

impl View<'_> {
    pub(super) fn nodes(&self) -> usize {
        self.vector_starts.len() - 1
    }

    /// The best rows for each query, into the answer at the same place, whose memory is reused.
    pub(super) fn search(&self, queries: &[Embedding], answers: &mut [Vec<Hit>], wanted: &Wanted<'_>) {
        answers.iter_mut().for_each(Vec::clear);
        if wanted.k == 0 || self.rows.is_empty() {
            return;
        }
        let layers = self.layers();
        let mut waiting = queries.iter().zip(answers);
        with_walks(|walks| {
            let mut turns: [Option<Turn<'_>>; TURNS] = Default::default();
            loop {
                for (turn, walk) in turns.iter_mut().zip(walks.iter_mut()) {
                    if turn
                        .as_mut()
                        .is_some_and(|turn| self.step(&layers, walk, turn, wanted))
                    {
                        *turn = None;
                    }
                    if turn.is_none() {
                        *turn = waiting
                            .next()
                            .map(|(query, hits)| self.begin(&layers, walk, query, hits, wanted));
                    }
                }
                if turns.iter().all(Option::is_none) {
                    return;
                }
                for (turn, walk) in turns.iter().zip(walks.iter_mut()) {
                    if turn.as_ref().is_some_and(|turn| !turn.ranking) {
                        walk.gather(&layers);
                    }
                }
            }
        });
    }

    fn begin<'a>(
        &self,
        layers: &Layers<'_>,
        walk: &mut Walk,
        query: &'a Embedding,
        hits: &'a mut Vec<Hit>,
        wanted: &Wanted<'_>,
    ) -> Turn<'a> {
        let width = wanted.params.ef.max(wanted.k);
        walk.query.set(query);
        walk.start(layers, width);
        Turn {
            query,
            hits,
            width,
            ranking: false,
        }
    }

    /// Takes a search one step on; answers whether that was its last.
    fn step(&self, layers: &Layers<'_>, walk: &mut Walk, turn: &mut Turn<'_>, wanted: &Wanted<'_>) -> bool {
        if turn.ranking {
            self.offer(&walk.chosen, turn.query, wanted, turn.hits);
            return true;
        }
        let Wanted { k, params, filter } = *wanted;
        if turn.width > self.nodes() / SCAN_SHARE && turn.width > params.ef.max(64) {
            self.scan(walk, turn.query, wanted, turn.hits);
            return true;
        }
        if walk.choose(layers, |_, _| ()) {
            return false;
        }
        let (least, met) = (params.ef.max(k), walk.beam.iter().len());
        let most = k.saturating_add(params.rerank).min(least);
        let enough = (least * ENOUGH_ALLOWED / 100).max(most);
        let allowed = match filter {
            Some(_) => walk
                .beam
                .iter()
                .filter(|&(_, node)| self.allows(node, filter))
                .count(),
            None => met,
        };
        let whole = met < turn.width && walk.seen.list().len() == self.nodes();
        if whole {
            self.choose(walk, filter, usize::MAX, 1.0);
            turn.ranking = true;
        } else if allowed >= enough {
            self.choose(walk, filter, most, LIKELY_ERROR);
            turn.ranking = true;
        } else if filter.is_none() && met < turn.width {
            // Parts of the graph cannot be reached from here.
            self.scan(walk, turn.query, wanted, turn.hits);
            return true;
        } else {
            // As wide as needed if the filter goes on to allow the same share.
            let wider = (turn.width * enough / allowed.max(1)).max(turn.width * 2);
            turn.width = wider.saturating_mul(5) / 4;
            walk.start(layers, turn.width);
        }
        if turn.ranking {
            let first = &walk.chosen[..walk.chosen.len().min(k.saturating_add(AHEAD))];
            first.iter().for_each(|&(_, node)| self.ask(node));
        }
        false
    }

    /// Chooses the best `most` allowed nodes of the beam, with the highest similarity that each may have: what its code
    /// says and a `share` of the largest error.
    fn choose(&self, walk: &mut Walk, filter: Option<RowFilter<'_>>, most: usize, share: f32) {
        let unit = self.step * walk.query.step;
        let error = walk.query.error;
        let allowed = walk.beam.iter().filter(|&(_, node)| self.allows(node, filter));
        walk.chosen.clear();
        walk.chosen.extend(allowed.take(most).map(|(score, node)| {
            let share = if self.vectors_of(node).len() > 1 {
                1.0
            } else {
                share
            };
            (score as f32 * unit + share * self.error_of(node, error), node)
        }));
    }

    /// Asks for what [`Self::offer`] reads of a node.
    fn ask(&self, node: u32) {
        let first = self.vectors_of(node).start;
        self.originals.prefetch(self.components(first));
        prefetch(&self.norms[first..=first]);
        prefetch(self.rows_of(first));
    }

    pub(super) fn vectors_of(&self, node: u32) -> std::ops::Range<usize> {
        let node = node as usize;
        if self.nodes() == self.norms.len() {
            // Every node has one vector.
            return node..node + 1;
        }
        self.vector_starts[node] as usize..self.vector_starts[node + 1] as usize
    }

    pub(super) fn rows_of(&self, vector: usize) -> &[u32] {
        if self.norms.len() == self.rows.len() {
            // Every vector has one row.
            return &self.rows[vector..=vector];
        }
        &self.rows[self.row_starts[vector] as usize..self.row_starts[vector + 1] as usize]
    }

    /// Whether the filter allows any row behind a node.
    fn allows(&self, node: u32, filter: Option<RowFilter<'_>>) -> bool {
        filter.is_none_or(|allows| {
            self.vectors_of(node)
                .flat_map(|vector| self.rows_of(vector))
                .any(|&row| allows(row))
        })
    }

    /// Where the components of an original stand.
    pub(super) fn components(&self, vector: usize) -> std::ops::Range<usize> {
        vector * self.dim..(vector + 1) * self.dim
    }

    /// Similarity of an original with the query.
    pub(super) fn similarity(&self, vector: usize, query: &Embedding) -> Similarity {
        let dot = self
            .originals
            .dot(self.components(vector), query.as_slice(), self.kernels());
        Similarity::clamped(dot * self.norms[vector])
    }

    /// Puts the best of the allowed rows behind `nodes` into `hits`. With each node stands the highest similarity that it
    /// may have: what cannot be among the best is not compared.
    fn offer(&self, nodes: &[(f32, u32)], query: &Embedding, wanted: &Wanted<'_>, hits: &mut Vec<Hit>) {
        let mut best = Best::reusing(wanted.k, std::mem::take(hits));
        let mut offer = |limit: f32, node: u32| {
            if best.worst().is_some_and(|worst| limit < worst.similarity.get()) {
                return;
            }
            for vector in self.vectors_of(node) {
                let similarity = self.similarity(vector, query);
                for &row in self.rows_of(vector) {
                    if wanted.filter.is_none_or(|allows| allows(row)) {
                        best.offer(Hit { row, similarity });
                    }
                }
            }
        };
        // Crowds last: by then most of them are out of question.
        let crowded = |node: u32| self.vectors_of(node).len() > 1;
        for &(limit, node) in nodes.iter().filter(|&&(_, node)| !crowded(node)) {
            offer(limit, node);
        }
        for &(limit, node) in nodes.iter().filter(|&&(_, node)| crowded(node)) {
            offer(limit, node);
        }
        *hits = best.into_sorted();
    }

    /// Largest difference between the product of a node's code with the query's and the similarity of a vector of it.
    pub(super) fn error_of(&self, node: u32, query_error: f32) -> f32 {
        let single = self.vectors_of(node).len() == 1;
        let spread = if single { None } else { self.spreads.of(node) };
        product_error(query_error, spread.unwrap_or(self.error))
    }

    /// Exact search: all codes in order, then the originals of every node that the codes' error leaves in question.
    fn scan(&self, walk: &mut Walk, query: &Embedding, wanted: &Wanted<'_>, hits: &mut Vec<Hit>) {
        let unit = self.step * walk.query.step;
        let query_error = walk.query.error;
        let mut scored: Vec<(f32, u32)> = Vec::new();
        self.score_all(walk, wanted.filter, |node, score| {
            scored.push((score as f32 * unit, node))
        });
        let mut least = f32::NEG_INFINITY;
        if scored.len() > wanted.k {
            // A node has a row that is at least so similar, so the k-th best row is at least as good as the k-th of these.
            let mut surely: Vec<f32> = scored
                .iter()
                .map(|&(score, node)| score - self.error_of(node, query_error))
                .collect();
            least = *surely
                .select_nth_unstable_by(wanted.k - 1, |a, b| b.total_cmp(a))
                .1;
        }
        for (score, node) in &mut scored {
            *score += self.error_of(*node, query_error);
        }
        scored.retain(|&(limit, _)| limit >= least);
        self.offer(&scored, query, wanted, hits);
    }

    /// Scores every node that the filter allows.
    pub(super) fn score_all(
        &self,
        walk: &mut Walk,
        filter: Option<RowFilter<'_>>,
        mut scored: impl FnMut(u32, i32),
    ) {
        const CHUNK: usize = 256;
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut scores = [0; CHUNK];
        let nodes = u32::try_from(self.nodes()).unwrap_or(u32::MAX);
        let mut allowed = (0..nodes).filter(|&node| self.allows(node, filter));
        loop {
            chunk.clear();
            chunk.extend(allowed.by_ref().take(CHUNK));
            if chunk.is_empty() {
                return;
            }
            self.codes.products(&chunk, &walk.query.code, &mut scores);
            chunk
                .iter()
                .zip(scores)
                .for_each(|(&node, score)| scored(node, score));
        }
    }
}
