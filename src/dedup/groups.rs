//! Groups out of pairs: never a chain. Every member of a group matches its keeper directly.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::policy::{Candidate, KeepPolicy};
use crate::types::MatchClass;

/// A pair that matches; `a` and `b` are positions in the list of candidates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    /// One image.
    pub a: usize,
    /// The other.
    pub b: usize,
    /// Class of the match.
    pub class: MatchClass,
    /// Its probability.
    pub probability: f32,
}

/// Images that are copies of one keeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The image to keep.
    pub keeper: usize,
    /// The others, each with a direct match to the keeper; by name.
    pub members: Vec<usize>,
}

/// Pairs that people told apart, or want both of; positions in the list of candidates, the lower first.
pub type Apart = BTreeSet<(usize, usize)>;

/// Groups the candidates by their matches of at least `level`, and never puts two images into one group that stand in
/// `apart`.
///
/// The image with the most matches among those not yet in a group becomes the hub of the next group (altered images come
/// last; ties: the one that the policy would keep), and its matches become the members. The policy chooses the keeper
/// among those that match all the others. An image that shows more than the hub (unedited, or more pixels) and matches
/// only some of them is not given up for it: the group is then formed around that image, and the rest is grouped anew.
/// The answer does not depend on the order of candidates or edges, only on names, values and matches. Groups come by
/// the keeper's name.
#[must_use]
pub fn group(
    candidates: &[Candidate],
    edges: &[Edge],
    level: MatchClass,
    policy: &KeepPolicy,
    apart: &Apart,
) -> Vec<Group> {
    let mut matches: Matches = BTreeMap::new();
    let wanted = |e: &&Edge| e.class >= level && e.a != e.b && !apart.contains(&(e.a.min(e.b), e.a.max(e.b)));
    for edge in edges.iter().filter(wanted) {
        // Probabilities are 0 to 1: their bits order like the numbers.
        let strength = (edge.class, edge.probability.max(0.0).to_bits());
        for (one, other) in [(edge.a, edge.b), (edge.b, edge.a)] {
            let known = matches.entry(one).or_default().entry(other).or_insert(strength);
            *known = strength.max(*known);
        }
    }
    let grouping = Grouping {
        candidates,
        policy,
        apart,
        matches,
    };
    let mut groups = Vec::new();
    for component in grouping.components() {
        grouping.settle(component, &mut groups);
    }
    groups.sort_by(|g, h| candidates[g.keeper].name.cmp(&candidates[h.keeper].name));
    groups
}

/// Class and probability of a match.
type Strength = (MatchClass, u32);
type Matches = BTreeMap<usize, BTreeMap<usize, Strength>>;

struct Grouping<'a> {
    candidates: &'a [Candidate],
    policy: &'a KeepPolicy,
    apart: &'a Apart,
    matches: Matches,
}

impl Grouping<'_> {
    /// Sets of images connected by matches.
    fn components(&self) -> Vec<BTreeSet<usize>> {
        let mut seen = BTreeSet::new();
        let mut components = Vec::new();
        for &start in self.matches.keys() {
            if !seen.insert(start) {
                continue;
            }
            let mut component = BTreeSet::from([start]);
            let mut waiting = vec![start];
            while let Some(node) = waiting.pop() {
                for &next in self.matches[&node].keys() {
                    if seen.insert(next) {
                        component.insert(next);
                        waiting.push(next);
                    }
                }
            }
            components.push(component);
        }
        components
    }

    /// Takes groups out of one component until no two of the rest match.
    fn settle(&self, mut rest: BTreeSet<usize>, groups: &mut Vec<Group>) {
        let mut degrees: BTreeMap<usize, usize> = rest.iter().map(|&n| (n, self.matches[&n].len())).collect();
        loop {
            let connected = rest.iter().copied().filter(|n| degrees[n] > 0);
            let Some(hub) = connected.max_by(|&a, &b| {
                let altered = |n: usize| self.candidates[n].altered;
                altered(b)
                    .cmp(&altered(a))
                    .then(degrees[&a].cmp(&degrees[&b]))
                    .then_with(|| self.better(b, a))
            }) else {
                return;
            };
            let group = self.around(hub, &rest);
            for node in group.members.iter().chain([&group.keeper]) {
                rest.remove(node);
                for other in self.matches[node].keys() {
                    if let Some(degree) = degrees.get_mut(other) {
                        *degree -= 1;
                    }
                }
            }
            groups.push(group);
        }
    }

    /// The group of `hub` among `rest`, around the best image that can be its keeper.
    fn around(&self, mut hub: usize, rest: &BTreeSet<usize>) -> Group {
        loop {
            let group = self.members(hub, rest);
            let all = || group.iter().copied().chain([hub]);
            let matches_all = |n: usize| all().all(|m| m == n || self.matches[&n].contains_key(&m));
            let best = all().min_by(|&a, &b| self.better(a, b)).unwrap_or(hub);
            if best != hub && !matches_all(best) && self.shows_more(best, hub) {
                // Every turn leads to an image that shows more, so this ends.
                hub = best;
                continue;
            }
            let keeper = all()
                .filter(|&n| matches_all(n))
                .min_by(|&a, &b| self.better(a, b))
                .unwrap_or(hub);
            let mut members: Vec<usize> = all().filter(|&n| n != keeper).collect();
            members.sort_by(|&a, &b| self.candidates[a].name.cmp(&self.candidates[b].name));
            return Group { keeper, members };
        }
    }

    /// The matches of `hub` in `rest`, strongest first; of two that people told apart, only the stronger.
    fn members(&self, hub: usize, rest: &BTreeSet<usize>) -> Vec<usize> {
        let mut matches: Vec<(usize, Strength)> = self.matches[&hub]
            .iter()
            .map(|(&node, &strength)| (node, strength))
            .filter(|(node, _)| rest.contains(node))
            .collect();
        matches.sort_by(|(a, s), (b, t)| t.cmp(s).then_with(|| self.better(*a, *b)));
        let mut members: Vec<usize> = Vec::with_capacity(matches.len());
        for (node, _) in matches {
            let is_apart = |other: &usize| self.apart.contains(&(node.min(*other), node.max(*other)));
            if !members.iter().any(is_apart) {
                members.push(node);
            }
        }
        members
    }

    fn better(&self, a: usize, b: usize) -> Ordering {
        self.policy.compare(&self.candidates[a], &self.candidates[b])
    }

    fn shows_more(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.candidates[a], &self.candidates[b]);
        (!a.altered, a.pixels) > (!b.altered, b.pixels)
    }
}
