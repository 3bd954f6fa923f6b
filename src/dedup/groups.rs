//! Groups out of pairs: never a chain. Every member of a group matches its keeper directly.

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

/// Groups the candidates by their matches of at least `level`.
///
/// The image with the most matches among those not yet in a group becomes the hub of the next group (ties: the one
/// that the policy would keep), its matches become the members, and the policy chooses the keeper among those that
/// match all the others, the hub being one of them. The answer does not depend on the order of candidates or
/// edges, only on names, values and matches. Groups come by the keeper's name.
#[must_use]
pub fn group(candidates: &[Candidate], edges: &[Edge], level: MatchClass, policy: &KeepPolicy) -> Vec<Group> {
    let mut neighbours: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for edge in edges.iter().filter(|e| e.class >= level && e.a != e.b) {
        neighbours.entry(edge.a).or_default().insert(edge.b);
        neighbours.entry(edge.b).or_default().insert(edge.a);
    }
    let mut groups = Vec::new();
    for component in components(&neighbours) {
        settle(component, &neighbours, candidates, policy, &mut groups);
    }
    groups.sort_by(|g, h| candidates[g.keeper].name.cmp(&candidates[h.keeper].name));
    groups
}

/// Sets of images connected by matches.
fn components(neighbours: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<BTreeSet<usize>> {
    let mut seen = BTreeSet::new();
    let mut components = Vec::new();
    for &start in neighbours.keys() {
        if !seen.insert(start) {
            continue;
        }
        let mut component = BTreeSet::from([start]);
        let mut waiting = vec![start];
        while let Some(node) = waiting.pop() {
            for &next in &neighbours[&node] {
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
fn settle(
    mut rest: BTreeSet<usize>,
    neighbours: &BTreeMap<usize, BTreeSet<usize>>,
    candidates: &[Candidate],
    policy: &KeepPolicy,
    groups: &mut Vec<Group>,
) {
    let better = |a: usize, b: usize| policy.compare(&candidates[a], &candidates[b]);
    let mut degrees: BTreeMap<usize, usize> = rest.iter().map(|&n| (n, neighbours[&n].len())).collect();
    loop {
        let hub = rest
            .iter()
            .copied()
            .max_by(|&a, &b| degrees[&a].cmp(&degrees[&b]).then_with(|| better(b, a)));
        let Some(hub) = hub.filter(|hub| degrees[hub] > 0) else {
            return;
        };
        let mut group: BTreeSet<usize> = neighbours[&hub].intersection(&rest).copied().collect();
        group.insert(hub);
        let keeper = group
            .iter()
            .copied()
            .filter(|n| group.iter().all(|m| m == n || neighbours[n].contains(m)))
            .min_by(|&a, &b| better(a, b))
            .unwrap_or(hub);
        let mut members: Vec<usize> = group.iter().copied().filter(|&n| n != keeper).collect();
        members.sort_by(|&a, &b| candidates[a].name.cmp(&candidates[b].name));
        for node in &group {
            rest.remove(node);
            for other in &neighbours[node] {
                if let Some(degree) = degrees.get_mut(other) {
                    *degree -= 1;
                }
            }
        }
        groups.push(Group { keeper, members });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, pixels: u64) -> Candidate {
        Candidate {
            name: name.to_owned(),
            pixels,
            size: 1,
            modified: 0,
            reference: false,
        }
    }

    fn edge(a: usize, b: usize, class: MatchClass) -> Edge {
        Edge {
            a,
            b,
            class,
            probability: 0.99,
        }
    }

    fn named(candidates: &[Candidate], groups: &[Group]) -> Vec<(String, Vec<String>)> {
        groups
            .iter()
            .map(|g| {
                let name = |&i: &usize| candidates[i].name.clone();
                (name(&g.keeper), g.members.iter().map(name).collect())
            })
            .collect()
    }

    #[test]
    fn a_chain_falls_apart_around_its_hub() {
        // a–b–c–d: no image matches all; b and c are hubs, the larger wins, the other end is left alone.
        let images = [
            candidate("a", 1),
            candidate("b", 2),
            candidate("c", 3),
            candidate("d", 4),
        ];
        let chain = [(0, 1), (1, 2), (2, 3)].map(|(a, b)| edge(a, b, MatchClass::Edited));
        let groups = group(&images, &chain, MatchClass::Edited, &KeepPolicy::default());
        assert_eq!(
            named(&images, &groups),
            [("c".to_owned(), vec!["b".to_owned(), "d".to_owned()])]
        );
    }

    #[test]
    fn policy_chooses_among_those_that_match_all() {
        let images = [candidate("a", 1), candidate("b", 9), candidate("c", 3)];
        let all = [(0, 1), (1, 2), (0, 2)].map(|(a, b)| edge(a, b, MatchClass::NearIdentical));
        let groups = group(&images, &all, MatchClass::Edited, &KeepPolicy::default());
        assert_eq!(groups[0].keeper, 1);
        let groups = group(
            &images,
            &all[..2],
            MatchClass::Edited,
            &"path".parse().expect("a policy"),
        );
        assert_eq!(groups[0].keeper, 1, "only b matches both others");
        assert!(group(&images, &all, MatchClass::SamePixels, &KeepPolicy::default()).is_empty());
    }

    #[test]
    fn order_of_input_does_not_matter() {
        let images: Vec<Candidate> = (0..12).map(|i| candidate(&format!("{i:02}"), i % 4)).collect();
        let pairs = [
            (0, 1),
            (1, 2),
            (2, 0),
            (2, 3),
            (3, 4),
            (4, 5),
            (5, 3),
            (6, 7),
            (8, 9),
            (9, 10),
            (10, 11),
            (11, 8),
        ];
        let edges: Vec<Edge> = pairs
            .iter()
            .map(|&(a, b)| edge(a, b, MatchClass::Edited))
            .collect();
        let expected = named(
            &images,
            &group(&images, &edges, MatchClass::Edited, &KeepPolicy::default()),
        );
        for shift in 1..12 {
            let turned: Vec<Candidate> = (0..12).map(|i| images[(i + shift) % 12].clone()).collect();
            let mut moved: Vec<Edge> = edges
                .iter()
                .map(|e| edge((e.b + 12 - shift) % 12, (e.a + 12 - shift) % 12, e.class))
                .collect();
            moved.reverse();
            let got = group(&turned, &moved, MatchClass::Edited, &KeepPolicy::default());
            assert_eq!(named(&turned, &got), expected);
        }
    }
}
