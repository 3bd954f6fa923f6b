//! A frozen index as searches see it: the block's parts as slices of numbers, and the check that these make a graph.

use super::format::{self, Section};
use super::originals::Originals;
use super::spread::Spreads;
use super::walk::{Codes, Layer, Layers, Links};
use super::{FrozenError, FrozenIndex};
use crate::vector::distance::Kernels;

/// The block's parts as typed slices.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) dim: usize,
    pub(super) codes: Codes<'a>,
    pub(super) base: Links<'a>,
    pub(super) levels: &'a [usize],
    pub(super) upper_degree: usize,
    pub(super) members: &'a [u32],
    pub(super) upper_links: &'a [u32],
    pub(super) vector_starts: &'a [u32],
    pub(super) row_starts: &'a [u32],
    pub(super) rows: &'a [u32],
    pub(super) norms: &'a [f32],
    pub(super) originals: Originals<'a>,
    pub(super) step: f32,
    pub(super) error: f32,
    pub(super) spreads: &'a Spreads,
}

impl FrozenIndex {
    /// The parts as they lie now.
    pub(super) fn view(&self) -> View<'_> {
        let (block, shape) = (&self.block, &self.block.shape);
        let upper: &[u32] = block.section(Section::Upper);
        let (members, upper_links) = upper.split_at(shape.levels.first().copied().unwrap_or(0));
        View {
            dim: shape.dim,
            codes: Codes {
                bytes: block.section(Section::Codes),
                len: shape.code_len,
                kernels: self.kernels,
            },
            base: Links {
                targets: block.section(Section::Links),
                degree: shape.degree,
            },
            levels: &shape.levels,
            upper_degree: shape.upper_degree,
            members,
            upper_links,
            vector_starts: block.section(Section::VectorStarts),
            row_starts: block.section(Section::RowStarts),
            rows: block.section(Section::Rows),
            norms: block.section(Section::Norms),
            originals: Originals::of(block),
            step: shape.step,
            error: shape.error,
            spreads: &self.spreads,
        }
    }
}

impl<'a> View<'a> {
    pub(super) fn kernels(&self) -> Kernels {
        self.codes.kernels
    }

    /// The layers of the graph. Upper layers share one list of nodes: positions there are places in that list.
    pub(super) fn layers(&self) -> Layers<'a> {
        let mut rest = self.upper_links;
        let mut upper = [Links {
            targets: &[],
            degree: self.upper_degree,
        }; format::MAX_LEVELS];
        // The block has them lowest first, a search wants them highest first.
        for (links, &size) in upper.iter_mut().zip(self.levels) {
            (links.targets, rest) = rest.split_at(size * self.upper_degree);
        }
        let layer = |links, members| Layer { links, members };
        Layers::new(
            self.codes,
            upper[..self.levels.len()]
                .iter()
                .rev()
                .map(|&links| layer(links, Some(self.members))),
            layer(self.base, None),
        )
    }

    /// Checks that every number that is used as a position is one, so that no search can run out of bounds.
    pub(super) fn check(&self) -> Result<(), FrozenError> {
        let expect = |good: bool, what: &'static str| {
            if good {
                Ok(())
            } else {
                Err(FrozenError::Malformed { what })
            }
        };
        let nodes = self.vector_starts.len() - 1;
        expect(
            self.codes.len == crate::vector::quantise::code_len(self.dim),
            "length of a code",
        )?;
        expect(
            self.codes.len > 0 && self.base.degree > 0 && self.upper_degree > 0,
            "sizes",
        )?;
        expect(self.step.is_finite() && self.step > 0.0, "step")?;
        expect(self.error.is_finite() && self.error >= 0.0, "error")?;
        let below = |numbers: &[u32], end: usize| numbers.iter().all(|&n| (n as usize) < end);
        expect(below(self.base.targets, nodes), "links")?;
        expect(below(self.members, nodes), "upper layers")?;
        let mut rest = self.upper_links;
        let mut size_below = nodes;
        for &size in self.levels {
            expect(0 < size && size <= size_below, "sizes of upper layers")?;
            let (layer, others) = rest.split_at(size * self.upper_degree);
            expect(below(layer, size), "links of an upper layer")?;
            (rest, size_below) = (others, size);
        }
        let partition = |starts: &[u32], end: usize| {
            starts.first() == Some(&0)
                && starts.last().is_some_and(|&last| last as usize == end)
                && starts.windows(2).all(|pair| pair[0] < pair[1])
        };
        expect(
            partition(self.vector_starts, self.norms.len()),
            "vectors of nodes",
        )?;
        expect(partition(self.row_starts, self.rows.len()), "rows of vectors")?;
        let mut seen = vec![false; self.rows.len()];
        let distinct = self.rows.iter().all(|&row| {
            seen.get_mut(row as usize)
                .is_some_and(|seen| !std::mem::replace(seen, true))
        });
        expect(distinct, "rows")?;
        expect(self.norms.iter().all(|norm| norm.is_finite()), "norms")
    }
}
