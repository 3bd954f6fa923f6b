//! All rows of a block that are at least so similar.

use std::cell::RefCell;

use super::super::distance::prefetch;
use super::super::quantise::product_error;
use super::super::{Hit, RowFilter};
use super::View;
use super::search::SCAN_SHARE;
use super::walk::{Walk, with_walks};
use crate::types::{Embedding, Similarity};

/// A range search follows nodes this far below its end: neighbours may be linked through them.
const RANGE_MARGIN: f32 = 0.08;

impl View<'_> {
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
        let mut found = with_walks(|[walk, ..]| {
            walk.query.set(query);
            let unit = f64::from(self.step) * f64::from(walk.query.step);
            // Nodes that may belong to the answer, and nodes whose links are followed.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded down on purpose, and within i32 after it"
            )]
            let least = |below: f32| (f64::from(min.get() - below) / unit).floor() as i32;
            let query_error = walk.query.error;
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
            self.flood(walk, reported, follow, ef).unwrap_or_else(|| {
                let mut found = Vec::new();
                self.score_all(walk, filter, |node, score| {
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
                self.originals
                    .prefetch(self.components(self.vectors_of(ahead).start));
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
        walk: &mut Walk,
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
        walk.run(&self.layers(), ef, note);
        let mut scores = vec![0; self.base.degree];
        let seen = &mut walk.seen;
        loop {
            if seen.list().len() > budget.max(ef * self.base.degree) {
                return None;
            }
            let Some(node) = waiting.borrow_mut().pop() else {
                return Some(found.into_inner());
            };
            let before = seen.list().len();
            seen.insert(self.base.of(node));
            let fresh = &seen.list()[before..];
            fresh.iter().for_each(|&target| prefetch(self.codes.code(target)));
            if let Some(&next) = waiting.borrow().last() {
                prefetch(self.base.of(next));
            }
            self.codes.products(fresh, &walk.query.code, &mut scores);
            fresh
                .iter()
                .zip(scores.iter())
                .for_each(|(&node, &score)| note(node, score));
        }
    }
}
