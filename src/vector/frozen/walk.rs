//! Best-first search over codes: the one hot loop, used by searches and by the builder.
//!
//! A search waits for memory most of the time. It is therefore cut into steps that each end by asking for memory:
//! [`Walk::choose`] asks for the links of the nodes to follow, [`Walk::gather`] for the codes that these links lead to.
//! Several searches that take their steps in turns work while the others wait.

use std::cell::RefCell;

use super::super::distance::{Kernels, prefetch};
use super::super::quantise::QueryCode;
use super::beam::{Beam, Seen};
use super::format::MAX_LEVELS;

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

    /// Products of the codes of `nodes` with a query's, into as many places of `out`.
    #[inline(always)]
    pub(super) fn products(&self, nodes: &[u32], query: &[i8], out: &mut [i32]) {
        self.kernels.dot_code_rows(self.bytes, nodes, query, out);
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

/// One layer to search: its links, and the code of each of its positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) links: Links<'a>,
    /// The node at each position; `None` where positions are nodes.
    pub(super) members: Option<&'a [u32]>,
}

impl Layer<'_> {
    fn positions(&self) -> usize {
        self.links.targets.len() / self.links.degree
    }
}

/// The layers of one graph, highest first. The positions of a layer are the first of those of the layer below; a search
/// starts at position 0 of the highest one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) codes: Codes<'a>,
    layers: [Layer<'a>; MAX_LAYERS],
    count: usize,
}

/// Most layers of a graph.
const MAX_LAYERS: usize = MAX_LEVELS + 1;

impl<'a> Layers<'a> {
    /// `upper` layers, highest first, above the `lowest`.
    pub(super) fn new(
        codes: Codes<'a>,
        upper: impl ExactSizeIterator<Item = Layer<'a>>,
        lowest: Layer<'a>,
    ) -> Self {
        let mut layers = [lowest; MAX_LAYERS];
        let count = upper.len() + 1;
        layers
            .iter_mut()
            .zip(upper)
            .for_each(|(place, layer)| *place = layer);
        Self { codes, layers, count }
    }

    fn is_lowest(&self, layer: usize) -> bool {
        layer + 1 == self.count
    }

    /// Width of the beam in a layer.
    fn width(&self, layer: usize, lowest: usize) -> usize {
        match self.count - layer {
            1 => lowest,
            2 => UPPER_WIDTH,
            _ => TOP_WIDTH,
        }
    }
}

/// Beam width in the lowest upper layer; all that it holds are starting points in the layer below. In sets of many
/// tight clusters that are equally far from each other, the single best one is often in the wrong cluster.
const UPPER_WIDTH: usize = 8;

/// Beam width in the layers above that one.
const TOP_WIDTH: usize = 2;

/// Nodes whose links are followed at once.
const FOLLOW: usize = 2;

/// Searches that one thread takes steps of in turns.
pub(super) const TURNS: usize = 4;

/// One search from the highest layer to the lowest, and its memory, which is reused.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// The query's code; set by the caller before a search.
    pub(super) query: QueryCode,
    /// The best positions met in the layer.
    pub(super) beam: Beam,
    /// The positions met in the layer.
    pub(super) seen: Seen,
    layer: usize,
    /// Beam width in the lowest layer.
    width: usize,
    /// Positions whose links are followed next.
    following: Vec<u32>,
    /// How many of the positions in `seen` have a score.
    scored: usize,
    nodes: Vec<u32>,
    scores: Vec<i32>,
    entries: Vec<(i32, u32)>,
    /// The nodes whose originals are compared, with the highest similarity that each may have; for the caller's use.
    pub(super) chosen: Vec<(f32, u32)>,
}

thread_local! {
    static WALKS: RefCell<[Walk; TURNS]> = RefCell::default();
}

/// Lends this thread's memory for searches; a nested call gets a new one.
pub(super) fn with_walks<T>(work: impl FnOnce(&mut [Walk; TURNS]) -> T) -> T {
    WALKS.with(|walks| match walks.try_borrow_mut() {
        Ok(mut walks) => work(&mut walks),
        Err(_) => work(&mut Default::default()),
    })
}

impl Walk {
    /// Fills the beam with the `width` best positions of the lowest layer that best-first search meets. `met` is told of
    /// every position of that layer and its score.
    pub(super) fn run(&mut self, layers: &Layers<'_>, width: usize, mut met: impl FnMut(u32, i32)) {
        self.start(layers, width);
        while self.choose(layers, &mut met) {
            self.gather(layers);
        }
    }

    /// Begins what [`Self::run`] does.
    pub(super) fn start(&mut self, layers: &Layers<'_>, width: usize) {
        self.width = width;
        self.following.clear();
        self.enter(layers, 0);
        self.seen.insert(&[0]);
        self.ask(layers);
    }

    /// Scores the codes that were asked for, chooses what to follow next and asks for its links; `false` at the end.
    pub(super) fn choose(&mut self, layers: &Layers<'_>, mut met: impl FnMut(u32, i32)) -> bool {
        let fresh = &self.seen.list()[self.scored..];
        let nodes = match layers.layers[self.layer].members {
            Some(_) => &self.nodes,
            None => fresh,
        };
        if self.scores.len() < nodes.len() {
            self.scores.resize(nodes.len(), 0);
        }
        layers.codes.products(nodes, &self.query.code, &mut self.scores);
        for (&position, &score) in fresh.iter().zip(&self.scores) {
            if layers.is_lowest(self.layer) {
                met(position, score);
            }
            self.beam.offer(score, position);
        }
        self.scored = self.seen.list().len();
        self.following.clear();
        loop {
            while self.following.len() < FOLLOW
                && let Some(position) = self.beam.follow()
            {
                prefetch(layers.layers[self.layer].links.of(position));
                self.following.push(position);
            }
            if !self.following.is_empty() {
                return true;
            }
            if layers.is_lowest(self.layer) {
                return false;
            }
            self.descend(layers, &mut met);
        }
    }

    /// Reads the links of what was chosen, and asks for the codes of what was not seen before.
    pub(super) fn gather(&mut self, layers: &Layers<'_>) {
        for &position in &self.following {
            self.seen.insert(layers.layers[self.layer].links.of(position));
        }
        self.ask(layers);
    }

    /// Asks for the codes of the positions that have no score yet.
    fn ask(&mut self, layers: &Layers<'_>) {
        let fresh = &self.seen.list()[self.scored..];
        let nodes = match layers.layers[self.layer].members {
            Some(members) => {
                self.nodes.clear();
                self.nodes
                    .extend(fresh.iter().map(|&position| members[position as usize]));
                &self.nodes
            }
            None => fresh,
        };
        nodes.iter().for_each(|&node| prefetch(layers.codes.code(node)));
    }

    /// Goes on in the layer below, from what the beam holds.
    fn descend(&mut self, layers: &Layers<'_>, mut met: impl FnMut(u32, i32)) {
        self.entries.clear();
        self.entries.extend(self.beam.iter());
        let above = layers.layers[self.layer].members;
        self.enter(layers, self.layer + 1);
        for &(score, position) in &self.entries {
            let position = match (above, layers.layers[self.layer].members) {
                // From a place in the list of upper nodes to the node.
                (Some(members), None) => members[position as usize],
                _ => position,
            };
            self.seen.insert(&[position]);
            self.beam.offer(score, position);
            if layers.is_lowest(self.layer) {
                met(position, score);
            }
        }
        self.scored = self.seen.list().len();
    }

    fn enter(&mut self, layers: &Layers<'_>, layer: usize) {
        self.layer = layer;
        self.scored = 0;
        self.seen.reset(layers.layers[layer].positions());
        self.beam.reset(layers.width(layer, self.width));
    }
}
