//! Top-k and range search over a block.

use std::cell::RefCell;
use std::collections::HashMap;

use super::super::distance::prefetch;
use super::super::quantise::product_error;
use super::super::ranking::Best;
use super::super::{Hit, RowFilter};
use super::View;
use super::beam::{Layer, Links, Scratch, descend, with_scratch};
use super::{SearchParams, format};
use crate::types::{Embedding, Similarity};

/// Once a search would look at more than one in this many nodes, all codes are scanned instead: reading them in order
/// is that much faster.
const SCAN_SHARE: usize = 6;

/// A filtered search is wide enough when it has this share, in percent, of `ef` in nodes that the filter allows.
const ENOUGH_ALLOWED: usize = 70;

/// A range search follows nodes this far below its end: neighbours may be linked through them.
const RANGE_MARGIN: f32 = 0.08;

impl View<'_> {
    fn nodes(&self) -> usize {
        self.vector_starts.len() - 1
    }

    /// The `k` best rows, into `hits`.
    pub(super) fn search(
        &self,
        query: &Embedding,
        k: usize,
        params: SearchParams,
        filter: Option<RowFilter<'_>>,
        hits: &mut Vec<Hit>,
    ) {
        hits.clear();
        if k == 0 || self.rows.is_empty() {
            return;
        }
        with_scratch(|scratch| {
            scratch.query.set(query);
            let least = params.ef.max(k);
            let wanted = k.saturating_add(params.rerank).min(least);
            let enough = (least * ENOUGH_ALLOWED / 100).max(wanted);
            let mut width = least;
            while width <= self.nodes() / SCAN_SHARE || width <= params.ef.max(64) {
                self.walk(scratch, width, |_, _| ());
                let allowed = match filter {
                    Some(_) => scratch
                        .beam
                        .iter()
                        .filter(|&(_, node)| self.allows(node, filter))
                        .count(),
                    None => scratch.beam.iter().len(),
                };
                let whole = scratch.beam.iter().len() < width && scratch.seen.count() == self.nodes();
                if allowed >= enough || whole {
                    let most = if whole { usize::MAX } else { wanted };
                    self.rerank(query, k, most, filter, scratch, hits);
                    return;
                }
                if filter.is_none() && scratch.beam.iter().len() < width {
                    // Parts of the graph cannot be reached from here.
                    break;
                }
                // As wide as needed if the filter goes on to allow the same share.
                width = (width * enough / allowed.max(1)).max(width * 2).saturating_mul(5) / 4;
            }
            self.scan(query, k, filter, scratch, hits);
        });
    }

    /// Fills the scratch's beam with the `width` best nodes.
    fn walk(&self, scratch: &mut Scratch, width: usize, scored: impl FnMut(u32, i32)) {
        let code = std::mem::take(&mut scratch.query.code);
        let base = Layer {
            links: self.base,
            members: None,
        };
        let mut layers = [base; format::MAX_LEVELS + 1];
        let mut rest = self.upper_links;
        // The block has them lowest first, the search wants them highest first.
        let (upper, _) = layers.split_at_mut(self.levels.len());
        for (layer, &size) in upper.iter_mut().rev().zip(self.levels) {
            let (targets, others) = rest.split_at(size * self.upper_degree);
            *layer = Layer {
                links: Links {
                    targets,
                    degree: self.upper_degree,
                },
                members: Some(self.members),
            };
            rest = others;
        }
        descend(
            self.codes,
            &layers[..=self.levels.len()],
            &code,
            width,
            scratch,
            scored,
        );
        scratch.query.code = code;
    }

    pub(super) fn vectors_of(&self, node: u32) -> std::ops::Range<usize> {
        self.vector_starts[node as usize] as usize..self.vector_starts[node as usize + 1] as usize
    }

    fn rows_of(&self, vector: usize) -> &[u32] {
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

    /// Similarity of an original with the query.
    fn similarity(&self, vector: usize, query: &Embedding) -> Similarity {
        let original = &self.originals[vector * self.dim..][..self.dim];
        Similarity::clamped(self.codes.kernels.dot_f16(original, query.as_slice()) * self.norms[vector])
    }

    /// Compares the originals behind the best `most` allowed nodes of the beam with the query.
    fn rerank(
        &self,
        query: &Embedding,
        k: usize,
        most: usize,
        filter: Option<RowFilter<'_>>,
        scratch: &mut Scratch,
        hits: &mut Vec<Hit>,
    ) {
        let chosen = &mut scratch.fresh;
        chosen.clear();
        chosen.extend(
            scratch
                .beam
                .iter()
                .map(|(_, node)| node)
                .filter(|&node| self.allows(node, filter))
                .take(most),
        );
        for &node in chosen.iter() {
            let first = self.vectors_of(node).start;
            prefetch(&self.originals[first * self.dim..][..self.dim]);
            prefetch(&self.norms[first..=first]);
        }
        let unit = self.step * scratch.query.step;
        let score_of = |node: u32| scratch.beam.iter().find(|&(_, other)| other == node);
        let limit = |node: u32| {
            score_of(node).map_or(f32::INFINITY, |(score, _)| {
                score as f32 * unit + self.error_of(node, scratch.query.error)
            })
        };
        self.offer(&scratch.fresh, limit, query, k, filter, hits);
    }

    /// Puts the `k` best of the allowed rows behind `nodes` into `hits`; `limits` are the highest similarities that
    /// nodes with several vectors can have, where they are known.
    fn offer(
        &self,
        nodes: &[u32],
        limit: impl Fn(u32) -> f32,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
        hits: &mut Vec<Hit>,
    ) {
        let mut best = Best::new(k);
        // Crowds last: by then most of them are out of question.
        let crowded = |node: &u32| self.vectors_of(*node).len() > 1;
        let single = nodes.iter().filter(|node| !crowded(node));
        for &node in single.chain(nodes.iter().filter(|node| crowded(node))) {
            let vectors = self.vectors_of(node);
            if vectors.len() > 1
                && best
                    .worst()
                    .is_some_and(|worst| limit(node) < worst.similarity.get())
            {
                continue;
            }
            for vector in vectors {
                let similarity = self.similarity(vector, query);
                for &row in self.rows_of(vector) {
                    if filter.is_none_or(|allows| allows(row)) {
                        best.offer(Hit { row, similarity });
                    }
                }
            }
        }
        hits.extend(best.into_sorted());
    }

    /// Largest difference between the product of a node's code with the query's and the similarity of a vector of it.
    fn error_of(&self, node: u32, query_error: f32) -> f32 {
        let single = self.vectors_of(node).len() == 1;
        let spread = if single { None } else { self.spreads.of(node) };
        product_error(query_error, spread.unwrap_or(self.error))
    }

    /// Exact search: all codes in order, then the originals of every node that the codes' error leaves in question.
    fn scan(
        &self,
        query: &Embedding,
        k: usize,
        filter: Option<RowFilter<'_>>,
        scratch: &mut Scratch,
        hits: &mut Vec<Hit>,
    ) {
        let unit = self.step * scratch.query.step;
        let query_error = scratch.query.error;
        let mut scored: Vec<(f32, u32)> = Vec::new();
        self.score_all(scratch, filter, |node, score| {
            scored.push((score as f32 * unit, node))
        });
        if scored.len() > k {
            // A node has a row that is at least so similar, so the k-th best row is at least as good as the k-th of these.
            let mut least: Vec<f32> = scored
                .iter()
                .map(|&(score, node)| score - self.error_of(node, query_error))
                .collect();
            let (_, least, _) = least.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            let least = *least;
            scored.retain(|&(score, node)| score + self.error_of(node, query_error) >= least);
        }
        let limits: HashMap<u32, f32> = scored
            .iter()
            .map(|&(score, node)| (node, score + self.error_of(node, query_error)))
            .collect();
        let nodes: Vec<u32> = scored.into_iter().map(|(_, node)| node).collect();
        self.offer(&nodes, |node| limits[&node], query, k, filter, hits);
    }

    /// Scores every node that the filter allows.
    fn score_all(
        &self,
        scratch: &mut Scratch,
        filter: Option<RowFilter<'_>>,
        mut scored: impl FnMut(u32, i32),
    ) {
        const CHUNK: usize = 256;
        let Scratch {
            query, fresh, scores, ..
        } = scratch;
        scores.resize(CHUNK.max(scores.len()), 0);
        let nodes = u32::try_from(self.nodes()).unwrap_or(u32::MAX);
        let mut allowed = (0..nodes).filter(|&node| self.allows(node, filter));
        loop {
            fresh.clear();
            fresh.extend(allowed.by_ref().take(CHUNK));
            if fresh.is_empty() {
                return;
            }
            self.codes
                .kernels
                .dot_code_rows(self.codes.bytes, fresh, &query.code, scores);
            fresh
                .iter()
                .zip(scores.iter())
                .for_each(|(&node, &score)| scored(node, score));
        }
    }

    /// All allowed rows with a similarity of at least `min`.
    pub(super) fn range(
        &self,
        query: &Embedding,
        min: Similarity,
        ef: usize,
        filter: Option<RowFilter<'_>>,
    ) -> Vec<Hit> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let mut found = with_scratch(|scratch| {
            scratch.query.set(query);
            let unit = f64::from(self.step) * f64::from(scratch.query.step);
            // Nodes that may belong to the answer, and nodes whose links are followed.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded down on purpose, and within i32 after it"
            )]
            let least = |below: f32| (f64::from(min.get() - below) / unit).floor() as i32;
            let query_error = scratch.query.error;
            let error = product_error(query_error, self.error);
            let (report, follow) = (least(error), least(error + RANGE_MARGIN));
            // Below `report`, only nodes with several vectors can belong to the answer.
            let crowded = least(product_error(query_error, self.spreads.widest)).min(report);
            let reported = |node: u32, score: i32| {
                score >= report
                    || score >= crowded
                        && self
                            .spreads
                            .of(node)
                            .is_some_and(|spread| score >= least(product_error(query_error, spread)))
            };
            self.flood(scratch, reported, follow, ef).unwrap_or_else(|| {
                let mut found = Vec::new();
                self.score_all(scratch, filter, |node, score| {
                    if reported(node, score) {
                        found.push(node);
                    }
                });
                found
            })
        });
        // In order of memory.
        found.sort_unstable();
        let mut hits = Vec::new();
        for (i, &node) in found.iter().enumerate() {
            if let Some(&ahead) = found.get(i + 4) {
                prefetch(&self.originals[self.vectors_of(ahead).start * self.dim..][..self.dim]);
            }
            for vector in self.vectors_of(node) {
                let similarity = self.similarity(vector, query);
                if similarity >= min {
                    let rows = self.rows_of(vector).iter().copied();
                    let allowed = rows.filter(|&row| filter.is_none_or(|allows| allows(row)));
                    hits.extend(allowed.map(|row| Hit { row, similarity }));
                }
            }
        }
        hits.sort_unstable();
        hits
    }

    /// The nodes met that are to be `reported`: a search of width `ef`, then every link of every node met with a
    /// score of at least `follow`. `None` when scanning all codes is cheaper.
    fn flood(
        &self,
        scratch: &mut Scratch,
        reported: impl Fn(u32, i32) -> bool,
        follow: i32,
        ef: usize,
    ) -> Option<Vec<u32>> {
        let budget = self.nodes() / SCAN_SHARE;
        let found = RefCell::new(Vec::new());
        let waiting = RefCell::new(Vec::new());
        let note = |node: u32, score: i32| {
            if reported(node, score) {
                found.borrow_mut().push(node);
            }
            if score >= follow {
                waiting.borrow_mut().push(node);
            }
        };
        self.walk(scratch, ef, note);
        let Scratch {
            query,
            seen,
            fresh,
            scores,
            ..
        } = scratch;
        loop {
            if seen.count() > budget.max(ef * self.base.degree) {
                return None;
            }
            let Some(node) = waiting.borrow_mut().pop() else {
                return Some(found.into_inner());
            };
            fresh.clear();
            for &target in self.base.of(node) {
                if seen.insert(target) {
                    prefetch(self.codes.code(target));
                    fresh.push(target);
                }
            }
            if let Some(&next) = waiting.borrow().last() {
                prefetch(self.base.of(next));
            }
            self.codes
                .kernels
                .dot_code_rows(self.codes.bytes, fresh, &query.code, scores);
            fresh
                .iter()
                .zip(scores.iter())
                .for_each(|(&node, &score)| note(node, score));
        }
    }
}
