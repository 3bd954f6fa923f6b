//! Builds the layered graph over a set of distinct codes, on all threads, with the same result for any number of them.
//!
//! The layers are those of HNSW (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using
//! Hierarchical Navigable Small World graphs", 2016). Nodes come in random order, and a layer's nodes are the first of
//! that order, so no level is stored. A layer starts with the links of the layer above and takes its other nodes in
//! batches: every node of a batch searches the graph as it was before the batch, then the links back are added, grouped
//! by their target. No locks, no races (the scheme of ParlayANN: Manohar et al., "Scalable and Deterministic Parallel
//! Graph-Based Approximate Nearest Neighbor Search", 2024). Neighbours are chosen to be diverse, with the factor of
//! Vamana (Subramanya et al., "DiskANN", 2019).

use rayon::prelude::*;

use super::super::distance::prefetch;
use super::super::quantise::as_query;
use super::BuildParams;
use super::walk::{self, Codes, Layers, Links, Walk, with_walks};

/// Every layer has this share of the nodes of the layer below.
const LAYER_SHARE: usize = 8;

/// Fewest nodes that make a layer worthwhile, and number of nodes that are linked by comparing all pairs.
const SEED: usize = 64;

/// A batch has at most this share of the layer's nodes: nodes of one batch do not see each other.
const BATCH_SHARE: usize = 50;

/// Links of one layer; see [`Links`].
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) targets: Vec<u32>,
    pub(super) degree: usize,
}

impl Layer {
    fn new(nodes: usize, degree: usize) -> Self {
        let targets = (0..number(nodes))
            .flat_map(|node| std::iter::repeat_n(node, degree))
            .collect();
        Self { targets, degree }
    }

    pub(super) fn links(&self) -> Links<'_> {
        Links {
            targets: &self.targets,
            degree: self.degree,
        }
    }

    /// The layer while the graph is built: positions are nodes.
    fn searched(&self) -> walk::Layer<'_> {
        walk::Layer {
            links: self.links(),
            members: None,
        }
    }

    pub(super) fn nodes(&self) -> usize {
        self.targets.len() / self.degree
    }

    /// The links that a node has.
    fn used(&self, node: u32) -> &[u32] {
        let row = self.links().of(node);
        &row[..row.iter().position(|&target| target == node).unwrap_or(row.len())]
    }

    fn set(&mut self, node: u32, targets: &[u32]) {
        let row = &mut self.targets[node as usize * self.degree..][..self.degree];
        row[..targets.len()].copy_from_slice(targets);
        row[targets.len()..].fill(node);
    }
}

/// A finished graph. Node 0 is where every search starts.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) base: Layer,
    /// Upper layers, lowest first.
    pub(super) upper: Vec<Layer>,
    /// Nodes that no path from node 0 reached before a link was added for them.
    pub(super) repaired: usize,
}

/// Builds the graph. The codes are distinct and in random order. `progress` is told how many are in the lowest layer.
pub(super) fn build(codes: Codes<'_>, params: &BuildParams, progress: &dyn Fn(usize)) -> Graph {
    let nodes = codes.bytes.len() / codes.len;
    let builder = Builder::new(codes, params);
    let mut sizes = vec![nodes];
    while let Some(&size) = sizes.last()
        && size / LAYER_SHARE >= SEED
        && sizes.len() <= super::format::MAX_LEVELS
    {
        sizes.push(size / LAYER_SHARE);
    }
    // From the highest layer down.
    let mut layers: Vec<Layer> = Vec::new();
    let mut repaired = 0;
    for (level, &size) in sizes.iter().enumerate().rev() {
        let degree = if level == 0 {
            params.links * 2
        } else {
            params.links
        };
        let mut layer = Layer::new(size, degree);
        let start = match layers.last() {
            Some(above) => {
                (0..number(above.nodes())).for_each(|node| layer.set(node, above.used(node)));
                above.nodes()
            }
            None => builder.link_all_pairs(&mut layer),
        };
        builder.insert(
            &mut layer,
            &layers,
            start,
            if level == 0 { progress } else { &|_| () },
        );
        repaired += builder.connect(&mut layer);
        layers.push(layer);
    }
    let base = layers.pop().unwrap_or_else(|| Layer::new(0, params.links * 2));
    layers.reverse();
    Graph {
        base,
        upper: layers,
        repaired,
    }
}

struct Builder<'a> {
    codes: Codes<'a>,
    /// Squared length of each code.
    squares: Vec<i32>,
    width: usize,
    diversity: f32,
}

/// A node to link to and its squared distance.
type Candidate = (f32, u32);

impl<'a> Builder<'a> {
    fn new(codes: Codes<'a>, params: &BuildParams) -> Self {
        let squares = codes
            .bytes
            .par_chunks(codes.len)
            .map_init(
                || vec![0; codes.len],
                |query, code| {
                    as_query(code, query);
                    codes.kernels.dot_code(code, query)
                },
            )
            .collect();
        Self {
            codes,
            squares,
            width: params.ef_construction,
            diversity: params.diversity,
        }
    }

    /// Squared distance of two codes with this product.
    fn distance(&self, a: u32, b: u32, product: i32) -> f32 {
        (i64::from(self.squares[a as usize]) + i64::from(self.squares[b as usize]) - 2 * i64::from(product))
            as f32
    }

    /// Links the first nodes by comparing all of their pairs; answers their number.
    fn link_all_pairs(&self, layer: &mut Layer) -> usize {
        let seed = layer.nodes().min(SEED);
        let others: Vec<u32> = (0..number(seed)).collect();
        for node in 0..number(seed) {
            let mut candidates = self.distances(node, &others);
            let chosen = self.choose(node, &mut candidates, layer.degree);
            layer.set(node, &chosen);
        }
        self.link_back(layer, 0..number(seed));
        seed
    }

    /// Squared distances from a node to others; the node itself is left out.
    fn distances(&self, node: u32, others: &[u32]) -> Vec<Candidate> {
        let mut query = vec![0; self.codes.len];
        as_query(self.codes.code(node), &mut query);
        let mut products = vec![0; others.len()];
        self.codes
            .kernels
            .dot_code_rows(self.codes.bytes, others, &query, &mut products);
        others
            .iter()
            .zip(products)
            .filter(|&(&other, _)| other != node)
            .map(|(&other, product)| (self.distance(node, other, product), other))
            .collect()
    }

    /// Inserts the nodes from `start` on into a layer that has those before.
    fn insert(&self, layer: &mut Layer, above: &[Layer], start: usize, progress: &dyn Fn(usize)) {
        let nodes = layer.nodes();
        let most = (nodes / BATCH_SHARE).max(SEED);
        let mut start = start;
        while start < nodes {
            let end = (start + start.clamp(1, most)).min(nodes);
            let batch = number(start)..number(end);
            let layers = Layers::new(self.codes, above.iter().map(Layer::searched), layer.searched());
            let chosen: Vec<Vec<u32>> = batch
                .clone()
                .into_par_iter()
                .map(|node| with_walks(|[walk, ..]| self.neighbours(&layers, layer.degree, node, walk)))
                .collect();
            batch
                .clone()
                .zip(&chosen)
                .for_each(|(node, targets)| layer.set(node, targets));
            self.link_back(layer, batch);
            start = end;
            progress(end);
        }
    }

    /// Finds at most `degree` neighbours of a node in the lowest of `layers`, which does not have it yet.
    fn neighbours(&self, layers: &Layers<'_>, degree: usize, node: u32, walk: &mut Walk) -> Vec<u32> {
        walk.query.code.resize(self.codes.len, 0);
        as_query(self.codes.code(node), &mut walk.query.code);
        walk.run(layers, self.width, |_, _| ());
        let mut candidates: Vec<Candidate> = walk
            .beam
            .iter()
            .filter(|&(_, other)| other != node)
            .map(|(product, other)| (self.distance(node, other, product), other))
            .collect();
        self.choose(node, &mut candidates, degree)
    }

    /// Chooses at most `most` candidates, closest first, so that none is much closer to another one chosen than to
    /// `node`.
    fn choose(&self, node: u32, candidates: &mut [Candidate], most: usize) -> Vec<u32> {
        candidates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        candidates
            .iter()
            .for_each(|&(_, other)| prefetch(self.codes.code(other)));
        let mut chosen: Vec<u32> = Vec::with_capacity(most);
        let mut query = vec![0; self.codes.len];
        let mut products = [0; 4];
        for &(distance, candidate) in candidates.iter() {
            debug_assert_ne!(candidate, node);
            as_query(self.codes.code(candidate), &mut query);
            let hidden = chosen.chunks(products.len()).any(|some| {
                self.codes
                    .kernels
                    .dot_code_rows(self.codes.bytes, some, &query, &mut products);
                some.iter().zip(products).any(|(&other, product)| {
                    self.distance(candidate, other, product) * self.diversity < distance
                })
            });
            if !hidden {
                chosen.push(candidate);
                if chosen.len() == most {
                    break;
                }
            }
        }
        chosen
    }

    /// Adds the links back to the nodes of `batch` from the nodes that they link to.
    fn link_back(&self, layer: &mut Layer, batch: std::ops::Range<u32>) {
        let mut back: Vec<(u32, u32)> = batch
            .flat_map(|node| layer.used(node).iter().map(move |&target| (target, node)))
            .collect();
        back.par_sort_unstable();
        let groups: Vec<&[(u32, u32)]> = back.chunk_by(|a, b| a.0 == b.0).collect();
        let rows: Vec<(u32, Vec<u32>)> = groups
            .into_par_iter()
            .map(|group| (group[0].0, self.with_links_back(layer, group)))
            .collect();
        rows.iter().for_each(|(target, row)| layer.set(*target, row));
    }

    /// The links of one target with some sources added; chosen anew when they are too many.
    fn with_links_back(&self, layer: &Layer, group: &[(u32, u32)]) -> Vec<u32> {
        let target = group[0].0;
        let mut all = layer.used(target).to_vec();
        all.extend(
            group
                .iter()
                .map(|&(_, source)| source)
                .filter(|source| !layer.used(target).contains(source)),
        );
        if all.len() <= layer.degree {
            return all;
        }
        let mut candidates = self.distances(target, &all);
        self.choose(target, &mut candidates, layer.degree)
    }

    /// Makes every node reachable from node 0; answers how many were not.
    fn connect(&self, layer: &mut Layer) -> usize {
        let nodes = layer.nodes();
        let mut reached = vec![false; nodes];
        let mut waiting = Vec::new();
        let mut repaired = 0;
        for node in 0..number(nodes) {
            if !reached[node as usize] {
                if node > 0 {
                    self.attach(layer, node);
                    repaired += 1;
                }
                reached[node as usize] = true;
                waiting.push(node);
            }
            while let Some(from) = waiting.pop() {
                for &target in layer.used(from) {
                    if !std::mem::replace(&mut reached[target as usize], true) {
                        waiting.push(target);
                    }
                }
            }
        }
        repaired
    }

    /// Adds a link to a node that cannot be reached, from the closest reachable node that has room for one; where
    /// none has, the closest one's last link moves to the new node, so that nothing is cut off.
    fn attach(&self, layer: &mut Layer, node: u32) {
        // The search starts at node 0, so it meets reachable nodes only.
        let close: Vec<u32> = with_walks(|[walk, ..]| {
            walk.query.code.resize(self.codes.len, 0);
            as_query(self.codes.code(node), &mut walk.query.code);
            let alone = Layers::new(self.codes, std::iter::empty(), layer.searched());
            walk.run(&alone, self.width, |_, _| ());
            walk.beam.iter().map(|(_, other)| other).collect()
        });
        if let Some(&with_room) = close
            .iter()
            .find(|&&other| layer.used(other).len() < layer.degree)
        {
            let mut row = layer.used(with_room).to_vec();
            row.push(node);
            layer.set(with_room, &row);
        } else if let Some(&closest) = close.first() {
            let mut row = layer.used(closest).to_vec();
            let moved = row.pop();
            row.push(node);
            layer.set(closest, &row);
            let mut own = layer.used(node).to_vec();
            own.truncate(layer.degree - 1);
            own.extend(moved.filter(|&moved| moved != node));
            layer.set(node, &own);
        }
    }
}

/// A node's number; there are fewer than 2³¹.
fn number(node: usize) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX)
}
