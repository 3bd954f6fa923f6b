use proptest::prelude::*;

use super::*;

fn candidate(name: &str, pixels: u64) -> Candidate {
    Candidate {
        name: name.to_owned(),
        pixels,
        size: 1,
        ..Candidate::default()
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
    // a–b–c–d: no image matches all; d shows more than the hub c and is not given up for it.
    let images = [
        candidate("a", 1),
        candidate("b", 2),
        candidate("c", 3),
        candidate("d", 4),
    ];
    let chain = [(0, 1), (1, 2), (2, 3)].map(|(a, b)| edge(a, b, MatchClass::Edited));
    let groups = group(
        &images,
        &chain,
        MatchClass::Edited,
        &KeepPolicy::default(),
        &Apart::new(),
    );
    assert_eq!(
        named(&images, &groups),
        [
            ("b".to_owned(), vec!["a".to_owned()]),
            ("d".to_owned(), vec!["c".to_owned()])
        ]
    );
}

#[test]
fn an_original_is_not_given_up_for_a_hub_that_shows_less() {
    // The small copy matches everything, the original all but one crop.
    let images = [
        candidate("crop", 1),
        candidate("original", 9),
        candidate("small", 3),
        candidate("turned", 9),
    ];
    let pairs = [(2, 0), (2, 1), (2, 3), (1, 3)];
    let edges = pairs.map(|(a, b)| edge(a, b, MatchClass::NearIdentical));
    let groups = group(
        &images,
        &edges,
        MatchClass::Edited,
        &KeepPolicy::default(),
        &Apart::new(),
    );
    assert_eq!(
        named(&images, &groups),
        [(
            "original".to_owned(),
            vec!["small".to_owned(), "turned".to_owned()]
        )]
    );
}

#[test]
fn a_collage_does_not_swallow_the_pictures_it_shows() {
    let mut images = [candidate("collage", 90), candidate("p", 9), candidate("q", 9)];
    images[0].altered = true;
    let edges = [(0, 1), (0, 2)].map(|(a, b)| edge(a, b, MatchClass::Edited));
    let groups = group(
        &images,
        &edges,
        MatchClass::Edited,
        &KeepPolicy::default(),
        &Apart::new(),
    );
    assert_eq!(
        named(&images, &groups),
        [("p".to_owned(), vec!["collage".to_owned()])]
    );
}

#[test]
fn what_people_told_apart_is_in_no_group_together() {
    let images = [
        candidate("a", 9),
        candidate("b", 2),
        candidate("c", 3),
        candidate("d", 1),
    ];
    let mut edges = [(0, 1), (0, 2), (1, 2), (1, 3)].map(|(a, b)| edge(a, b, MatchClass::Edited));
    edges[1].probability = 0.999;
    let apart = Apart::from([(1, 2)]);
    let groups = group(
        &images,
        &edges,
        MatchClass::Edited,
        &KeepPolicy::default(),
        &apart,
    );
    // Both match a; only the stronger match may stand in its group.
    assert_eq!(
        named(&images, &groups),
        [
            ("a".to_owned(), vec!["c".to_owned()]),
            ("b".to_owned(), vec!["d".to_owned()])
        ]
    );
}

#[test]
fn policy_chooses_among_those_that_match_all() {
    let images = [candidate("a", 1), candidate("b", 9), candidate("c", 3)];
    let all = [(0, 1), (1, 2), (0, 2)].map(|(a, b)| edge(a, b, MatchClass::NearIdentical));
    let groups = group(
        &images,
        &all,
        MatchClass::Edited,
        &KeepPolicy::default(),
        &Apart::new(),
    );
    assert_eq!(groups[0].keeper, 1);
    let groups = group(
        &images,
        &all[..2],
        MatchClass::Edited,
        &"path".parse().expect("a policy"),
        &Apart::new(),
    );
    assert_eq!(groups[0].keeper, 1, "only b matches both others");
    assert!(
        group(
            &images,
            &all,
            MatchClass::SamePixels,
            &KeepPolicy::default(),
            &Apart::new()
        )
        .is_empty()
    );
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
        &group(
            &images,
            &edges,
            MatchClass::Edited,
            &KeepPolicy::default(),
            &Apart::new(),
        ),
    );
    for shift in 1..12 {
        let turned: Vec<Candidate> = (0..12).map(|i| images[(i + shift) % 12].clone()).collect();
        let mut moved: Vec<Edge> = edges
            .iter()
            .map(|e| edge((e.b + 12 - shift) % 12, (e.a + 12 - shift) % 12, e.class))
            .collect();
        moved.reverse();
        let got = group(
            &turned,
            &moved,
            MatchClass::Edited,
            &KeepPolicy::default(),
            &Apart::new(),
        );
        assert_eq!(named(&turned, &got), expected);
    }
}

/// Twelve images of few sizes, some altered, some of a reference folder, with the matches and verdicts of a draw.
fn album() -> impl Strategy<Value = (Vec<Candidate>, Vec<Edge>, Vec<(usize, usize)>)> {
    let image = (0u64..4, any::<bool>(), prop::bool::weighted(0.1), 0u64..3);
    let images = prop::collection::vec(image, 12).prop_map(|drawn| {
        let images = drawn.into_iter().enumerate();
        images
            .map(|(i, (pixels, altered, reference, agreement))| Candidate {
                altered,
                reference,
                agreement,
                ..candidate(&format!("{i:02}"), pixels)
            })
            .collect::<Vec<_>>()
    });
    let matched = (0usize..12, 0usize..12, 0usize..3, 0u8..4);
    let edges = prop::collection::vec(matched, 0..40).prop_map(|drawn| {
        let drawn = drawn.into_iter().filter(|(a, b, ..)| a != b);
        drawn
            .map(|(a, b, class, chance)| Edge {
                probability: 0.9 + f32::from(chance) / 100.0,
                ..edge(a, b, MatchClass::ALL[class])
            })
            .collect::<Vec<_>>()
    });
    let apart = prop::collection::vec((0usize..12, 0usize..12), 0..4);
    (images, edges, apart)
}

fn pairs(apart: &[(usize, usize)], place: &[usize]) -> Apart {
    let places = apart.iter().map(|&(a, b)| (place[a], place[b]));
    places.map(|(a, b)| (a.min(b), a.max(b))).collect()
}

proptest! {
    #[test]
    fn groups_hold_together_and_depend_on_no_order(
        (images, edges, apart) in album(),
        order in Just((0..12).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let here: Vec<usize> = (0..12).collect();
        let policy = KeepPolicy::default();
        let told_apart = pairs(&apart, &here);
        let groups = group(&images, &edges, MatchClass::Edited, &policy, &told_apart);
        let mut seen = BTreeSet::new();
        for group in &groups {
            prop_assert!(!group.members.is_empty());
            for &image in group.members.iter().chain([&group.keeper]) {
                prop_assert!(seen.insert(image), "an image stands in one group");
            }
            for &member in &group.members {
                let matches = |e: &Edge| {
                    e.class >= MatchClass::Edited && [(e.a, e.b), (e.b, e.a)].contains(&(group.keeper, member))
                };
                prop_assert!(edges.iter().any(matches), "every member matches the keeper");
            }
            let all: Vec<usize> = group.members.iter().copied().chain([group.keeper]).collect();
            for &a in &all {
                for &b in &all {
                    prop_assert!(a == b || !told_apart.contains(&(a.min(b), a.max(b))));
                }
            }
        }
        // The same images in another order.
        let mut place = vec![0; 12];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        let moved: Vec<Candidate> = order.iter().map(|&old| images[old].clone()).collect();
        let mut turned: Vec<Edge> = edges
            .iter()
            .map(|e| Edge { a: place[e.b], b: place[e.a], ..*e })
            .collect();
        turned.reverse();
        let again = group(&moved, &turned, MatchClass::Edited, &policy, &pairs(&apart, &place));
        prop_assert_eq!(named(&moved, &again), named(&images, &groups));
    }
}
