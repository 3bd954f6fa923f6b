use super::*;
use crate::dedup::groups::{Apart, Edge, group};
use crate::dedup::policy::KeepPolicy;
use crate::types::{Similarity, Stage, Transform};
use crate::vision::verify::Traces;

fn found(class: MatchClass, overlap: [f32; 2], scale: f32, traces: Traces) -> Match {
    Match {
        class,
        probability: 0.99,
        similarity: Similarity::clamped(0.9),
        stage: Stage::Verification,
        transform: Some(Transform {
            scale,
            ..Transform::IDENTITY
        }),
        overlap: Some(overlap[0].max(overlap[1])),
        evidence: Evidence {
            overlap_a: Some(overlap[0]),
            overlap_b: Some(overlap[1]),
            traces: Some(traces),
            ..Evidence::default()
        },
    }
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        name: name.to_owned(),
        pixels: 100,
        size: 1,
        ..Candidate::default()
    }
}

const NONE: Trace = Trace {
    plain: false,
    ground: false,
    bordered: false,
    drawn: false,
};
const BORDER: Trace = Trace {
    plain: true,
    ground: true,
    bordered: true,
    ..NONE
};
const GROUND: Trace = Trace {
    plain: true,
    ground: true,
    ..NONE
};
/// Letters on a ground that goes on in the picture.
const WRITTEN: Trace = Trace { ground: true, ..NONE };
const DRAWN: Trace = Trace { drawn: true, ..NONE };

#[test]
fn a_pair_says_which_image_was_altered() {
    let traces = |a, b| Traces { a, b };
    let cases = [
        (
            "a crop of the first",
            [0.8, 1.0],
            1.0,
            traces(NONE, NONE),
            Clue::Second,
        ),
        (
            "the first has a border",
            [0.8, 1.0],
            1.0,
            traces(BORDER, NONE),
            Clue::LikelyFirst,
        ),
        (
            "plain ground was cut off or added",
            [0.8, 1.0],
            1.0,
            traces(GROUND, NONE),
            Clue::Either,
        ),
        (
            "a caption was cut off or added, on the picture's own ground",
            [0.8, 1.0],
            1.0,
            traces(WRITTEN, NONE),
            Clue::Either,
        ),
        (
            "the first is a collage",
            [0.25, 1.0],
            2.0,
            traces(NONE, NONE),
            Clue::First,
        ),
        ("a shrunk crop", [0.6, 1.0], 0.5, traces(NONE, NONE), Clue::Second),
        (
            "the second is written on",
            [1.0, 1.0],
            1.0,
            traces(NONE, DRAWN),
            Clue::LikelySecond,
        ),
        (
            "nothing is known",
            [1.0, 1.0],
            1.0,
            traces(NONE, NONE),
            Clue::Either,
        ),
        (
            "both are written on",
            [1.0, 1.0],
            1.0,
            traces(DRAWN, DRAWN),
            Clue::Either,
        ),
    ];
    for (what, overlap, scale, traces, clue) in cases {
        let forth = found(MatchClass::Edited, overlap, scale, traces);
        assert_eq!(forth.clue(), clue, "{what}");
        let turned = found(
            MatchClass::Edited,
            [overlap[1], overlap[0]],
            1.0 / scale,
            traces.reversed(),
        );
        assert_eq!(turned.clue(), clue.reversed(), "{what}, the other way round");
    }
    let whole = found(MatchClass::NearIdentical, [1.0, 1.0], 0.5, traces(NONE, NONE));
    assert_eq!(whole.clue(), Clue::Alike);
}

#[test]
fn what_shows_more_than_the_kept_image_does_not_go() {
    let traces = |a, b| Traces { a, b };
    let covers = |overlap, traces| found(MatchClass::Edited, overlap, 1.0, traces).covers();
    assert!(covers([0.5, 1.0], traces(NONE, NONE)), "a crop may go");
    assert!(covers([1.0, 0.5], traces(NONE, BORDER)), "a border is no loss");
    assert!(
        !covers([1.0, 0.25], traces(NONE, NONE)),
        "a collage shows other pictures"
    );
}

#[test]
fn the_one_alone_with_its_change_was_altered() {
    let mut images = ["original", "small", "written on"].map(candidate).to_vec();
    let alike = found(MatchClass::NearIdentical, [1.0, 1.0], 0.5, Traces::default());
    let edited = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces::default());
    let pairs = [(0, 1, &alike), (0, 2, &edited), (1, 2, &edited)];
    let similarity = |_, _| Similarity::clamped(0.9);
    mark(&mut images, pairs.into_iter(), similarity);
    assert_eq!(
        images.iter().map(|i| i.altered).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert_eq!(images[0].agreement, 1800);
    // A second file of the original's pixels: it agrees with the original best.
    images
        .iter_mut()
        .for_each(|image| *image = candidate(&image.name));
    images[0].copies = 1;
    mark(&mut images, pairs.into_iter(), similarity);
    assert_eq!(images[0].agreement, 2800);
    assert_eq!(
        images.iter().map(|i| i.turned).collect::<Vec<_>>(),
        [false, true, false],
        "the small one agrees less than the original of two files"
    );
}

#[test]
fn the_one_that_its_family_resembles_less_was_altered() {
    let mut images = ["original", "small", "written on"].map(candidate).to_vec();
    let edited = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces::default());
    // The one that was written on was compared with both, and they not with each other.
    let pairs = [(0, 2, &edited), (1, 2, &edited)];
    let similarity = |a, b| Similarity::clamped(if a == 2 || b == 2 { 0.85 } else { 0.97 });
    mark(&mut images, pairs.into_iter(), similarity);
    let altered = |images: &[Candidate]| images.iter().map(|i| i.altered).collect::<Vec<_>>();
    assert_eq!(altered(&images), [false, false, true]);
    // What looks drawn is not, say many copies; a few may all have been written on.
    let drawn = found(MatchClass::Edited, [1.0, 1.0], 1.0, Traces { a: DRAWN, b: NONE });
    for (others, expected) in [(1, 0), (6, 1)] {
        let names = ["original", "written on"]
            .into_iter()
            .chain(["copy"; 6])
            .take(2 + others);
        let mut images: Vec<Candidate> = names.map(candidate).collect();
        let copies = (2..images.len()).map(|copy| (0, copy, &edited));
        let similarity = |a, b| Similarity::clamped(if a == 1 || b == 1 { 0.85 } else { 0.97 });
        mark(&mut images, copies.chain([(0, 1, &drawn)]), similarity);
        let altered = [images[0].altered, images[1].altered];
        assert!(altered[expected], "{others} others: {altered:?}");
        assert_eq!(altered.iter().filter(|a| **a).count(), 1);
    }
    let mut two = ["original", "written on"].map(candidate).to_vec();
    mark(&mut two, [(0, 1, &edited)].into_iter(), similarity);
    assert_eq!(altered(&two), [false, false], "two cannot outvote each other");
}

#[test]
fn a_family_keeps_the_picture_and_not_a_copy_with_ground_around_it() {
    // An object on white: its small copy matches the picture, and not the larger copy with a border. The caption
    // stands on the picture's own white, and the crop ends in another tone like a bordered picture does.
    let names = [
        "picture",
        "bordered",
        "captioned",
        "crop",
        "small",
        "jpeg",
        "webp",
    ];
    let mut images = names.map(candidate).to_vec();
    images[1].pixels = 200;
    images[2].pixels = 120;
    let traces = |a, b| Traces { a, b };
    let written_border = Trace {
        bordered: true,
        ..WRITTEN
    };
    let bordered = found(MatchClass::Edited, [1.0, 0.7], 1.0, traces(NONE, BORDER));
    let captioned = found(MatchClass::Edited, [1.0, 0.8], 1.0, traces(NONE, WRITTEN));
    let crop = found(MatchClass::Edited, [0.6, 1.0], 1.0, traces(written_border, NONE));
    let edited = found(MatchClass::Edited, [1.0, 1.0], 1.0, traces(NONE, NONE));
    let whole = found(MatchClass::NearIdentical, [1.0, 1.0], 0.5, Traces::default());
    let pairs = [
        (0, 1, &bordered),
        (0, 2, &captioned),
        (0, 3, &crop),
        (0, 4, &whole),
        (0, 5, &whole),
        (0, 6, &whole),
        (1, 2, &edited),
        (1, 3, &edited),
        (1, 5, &bordered.reversed()),
        (1, 6, &bordered.reversed()),
        (2, 4, &captioned.reversed()),
    ];
    let similarity = |a: usize, b: usize| {
        let altered = |image: usize| (1..4).contains(&image);
        Similarity::clamped(if altered(a) || altered(b) { 0.8 } else { 0.97 })
    };
    mark(&mut images, pairs.into_iter(), similarity);
    let altered: Vec<bool> = images.iter().map(|i| i.altered).collect();
    assert_eq!(altered, [false, true, true, true, false, false, false]);
    let edges: Vec<Edge> = pairs
        .iter()
        .map(|&(a, b, found)| Edge {
            a,
            b,
            class: found.class,
            probability: found.probability,
        })
        .collect();
    let policy = KeepPolicy::default();
    let groups = group(&images, &edges, MatchClass::Edited, &policy, &Apart::new());
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert_eq!((groups[0].keeper, groups[0].members.len()), (0, 6));
}

#[test]
fn whoever_has_a_shape_of_its_own_is_expected_to_be_cropped_or_framed() {
    let mut images: Vec<Candidate> = ["a", "b", "c", "d", "e", "f"].map(candidate).to_vec();
    // A small copy rounds its sides, d is framed, and of e and f nobody knows which was.
    let aspects = [1.5, 1.5, 1.495, 1.4, 1.5, 1.3];
    let likely = [(0, 1), (0, 2), (0, 3), (1, 3), (4, 5)];
    let close = |_, _| Similarity::clamped(0.9);
    expect(&mut images, likely.into_iter(), close, |image| aspects[image]);
    let altered: Vec<bool> = images.iter().map(|image| image.altered).collect();
    assert_eq!(altered, [false, false, false, true, false, false]);
}
