//! What holds a verified pair back.

use super::*;

/// What holds back two images that look like this beside each other.
fn gate(seen: &Verification) -> Option<Gate> {
    let found = judge(&print(1), &print(2), seen).expect("alike");
    found.evidence.held_back
}

#[test]
fn a_shaken_camera_before_a_scene_in_motion_is_another_moment_and_a_crop_is_not() {
    let held_back = |overlap_b: f32, turn: f32, disagreeing: u32| {
        let shifted = Alignment {
            transform: Transform {
                rotation: turn,
                ..Transform::IDENTITY
            },
            overlap_a: 0.88,
            overlap_b,
            agreeing: 300 - disagreeing,
            disagreeing,
            contradicting: disagreeing,
            outstanding: disagreeing,
            ..perfect()
        };
        gate(&verification(shifted))
    };
    assert_eq!(held_back(0.9, 0.3, 80), Some(Gate::Burst));
    assert_eq!(
        held_back(1.0, 0.3, 80),
        None,
        "a crop that was written on shows nothing more"
    );
    assert_eq!(held_back(0.9, 8.0, 80), None, "turned by hand, not in the hand");
    assert_eq!(held_back(0.9, 0.3, 20), None, "two crops of one picture");
}

#[test]
fn a_pattern_in_other_colours_is_another_picture_unless_all_of_it_agrees() {
    let held_back = |text_like, colour_residual, disagreeing| {
        let coloured = Alignment {
            agreeing: 100 - disagreeing,
            disagreeing,
            colour_residual,
            ..perfect()
        };
        let seen = Verification {
            text_like,
            ..verification(coloured)
        };
        gate(&seen)
    };
    assert_eq!(
        held_back(true, 17.0, 10),
        Some(Gate::Colours),
        "a board of red and white"
    );
    assert_eq!(held_back(true, 17.0, 0), None);
    assert_eq!(held_back(false, 26.0, 20), None, "a logo over a crop");
    assert_eq!(
        held_back(false, 77.0, 20),
        Some(Gate::Colours),
        "a chart of one layout"
    );
}

#[test]
fn a_second_exposure_needs_no_more_than_one_mark_beside_its_noise() {
    let held_back = |fine_correlation, displacement, moved, contradicting| {
        let again = Alignment {
            agreeing: 170,
            disagreeing: 30,
            contradicting,
            moved,
            looked_for: 2,
            fine_correlation,
            displacement,
            ..perfect()
        };
        gate(&verification(again))
    };
    assert_eq!(held_back(0.83, 0.13, 1, 2), Some(Gate::Burst), "half of it moved");
    assert_eq!(
        held_back(0.83, 0.32, 0, 40),
        Some(Gate::Burst),
        "it wanders, and the scene went on"
    );
    assert_eq!(held_back(0.83, 0.32, 0, 2), None);
    assert_eq!(
        held_back(0.75, 0.32, 0, 2),
        Some(Gate::Burst),
        "its noise is loud"
    );
    assert_eq!(
        held_back(0.95, 0.13, 1, 40),
        None,
        "a copy has the noise of its original"
    );
}

#[test]
fn of_boards_no_other_drawing_is_believed() {
    let held_back = |repeating, gain, colour_residual, disagreeing| {
        let seen = Verification {
            text_like: true,
            repeating,
            ..verification(Alignment {
                gain,
                colour_residual,
                disagreeing,
                ..perfect()
            })
        };
        gate(&seen)
    };
    assert_eq!(held_back(true, 1.0, 12.0, 0), Some(Gate::Colours));
    assert_eq!(held_back(true, 1.85, 1.0, 0), Some(Gate::Colours));
    assert_eq!(
        held_back(true, 1.0, 1.0, 30),
        Some(Gate::Colours),
        "squares with an edge around them"
    );
    assert_eq!(held_back(true, 1.1, 2.0, 0), None, "recompressed");
    assert_eq!(held_back(false, 1.85, 12.0, 0), None, "a page");
}

#[test]
fn a_board_that_fits_another_moved_by_some_squares_is_no_copy() {
    let held_back = |repeating, overlap_a, overlap_b| {
        let seen = Verification {
            text_like: true,
            repeating,
            ..verification(Alignment {
                overlap_a,
                overlap_b,
                ..perfect()
            })
        };
        gate(&seen)
    };
    assert_eq!(held_back(true, 0.49, 0.68), Some(Gate::Colours));
    assert_eq!(held_back(true, 1.0, 0.46), None, "a part of it");
    assert_eq!(held_back(false, 0.49, 0.68), None, "two parts of a page");
}

#[test]
fn a_blurred_copy_is_told_to_a_share_of_a_pixel_of_what_is_compared() {
    let held_back = |grain, displacement| {
        let blurred = Alignment {
            grain,
            displacement,
            fine_correlation: 0.75,
            ..perfect()
        };
        gate(&verification(blurred))
    };
    assert_eq!(held_back(1.0, 0.4), Some(Gate::Burst));
    assert_eq!(held_back(4.0, 0.4), None);
}

#[test]
fn a_few_keypoints_and_a_few_tiles_are_no_evidence() {
    let held_back = |inliers, agreeing, displacement, grain, overlap| {
        let slight = Alignment {
            inliers,
            agreeing,
            displacement,
            grain,
            overlap_a: overlap,
            overlap_b: 0.5,
            ..perfect()
        };
        gate(&verification(slight))
    };
    let none = Some(Gate::NoWarp);
    assert_eq!(held_back(8, 65, 0.4, 1.0, 1.0), none, "corners of another board");
    assert_eq!(held_back(8, 10, 0.1, 1.0, 1.0), none, "two squares");
    assert_eq!(held_back(4, 14, 0.19, 2.0, 1.0), none, "trousers of one cut");
    assert_eq!(held_back(4, 24, 0.12, 1.0, 1.0), None, "a crop of little detail");
    assert_eq!(held_back(9, 24, 0.4, 1.0, 1.0), None);
    assert_eq!(held_back(0, 24, 0.4, 1.0, 1.0), None, "found as whole frames");
    assert_eq!(held_back(26, 4, 0.1, 1.0, 0.7), none, "one emblem on two pages");
    assert_eq!(
        held_back(26, 4, 0.1, 1.0, 1.0),
        None,
        "a small copy of little detail"
    );
}

#[test]
fn colours_and_brightness_do_not_both_change_in_a_copy() {
    let held_back = |gain, colour_residual| {
        let chart = Alignment {
            agreeing: 90,
            disagreeing: 15,
            gain,
            colour_residual,
            ..perfect()
        };
        gate(&verification(chart))
    };
    assert_eq!(held_back(0.69, 25.0), Some(Gate::Colours));
    assert_eq!(held_back(0.69, 8.0), None, "made darker");
    assert_eq!(held_back(1.0, 25.0), None, "a logo over a crop");
}

#[test]
fn pictures_of_one_size_beside_each_other_were_taken_by_a_camera_that_moved() {
    let nudged = Alignment {
        overlap_a: 0.984,
        overlap_b: 0.991,
        fine_correlation: 0.7,
        ..perfect()
    };
    let held_back = |found: &Alignment, width: u32| {
        let mut other = print(2);
        other.width = width;
        let found = judge(&print(1), &other, &verification(found.clone())).expect("alike");
        found.evidence.held_back
    };
    assert_eq!(held_back(&nudged, 640), Some(Gate::Burst));
    assert_eq!(held_back(&nudged, 600), None, "cut to another size");
    for (why, copy) in [
        (
            "a crop shows nothing more",
            Alignment {
                overlap_b: 1.0,
                ..nudged.clone()
            },
        ),
        (
            "one noise: two crops of one picture",
            Alignment {
                fine_correlation: 0.95,
                ..nudged.clone()
            },
        ),
        (
            "a whole frame, as well as it can be told",
            Alignment {
                overlap_a: 0.998,
                overlap_b: 0.999,
                ..nudged.clone()
            },
        ),
        (
            "a sticker draws the warp to itself",
            Alignment {
                laid_over: true,
                ..nudged.clone()
            },
        ),
    ] {
        assert_eq!(held_back(&copy, 640), None, "{why}");
    }
}

#[test]
fn text_that_agrees_where_it_cannot_be_read_is_no_copy() {
    let held_back = |grain, agreeing, contradicting| {
        let blurred = Alignment {
            grain,
            agreeing,
            disagreeing: contradicting,
            contradicting,
            ..perfect()
        };
        let seen = Verification {
            text_like: true,
            ..verification(blurred)
        };
        gate(&seen)
    };
    assert_eq!(
        held_back(4.0, 12, 0),
        Some(Gate::TextLike),
        "windows of one program"
    );
    assert_eq!(held_back(2.0, 60, 3), Some(Gate::TextLike));
    assert_eq!(held_back(2.0, 60, 1), None, "a blurred screen");
    assert_eq!(held_back(1.0, 12, 0), None, "a small one");
}

#[test]
fn screens_saved_without_a_loss_agree_in_every_tile() {
    let held_back = |fine_correlation, disagreeing| {
        let screens = Alignment {
            agreeing: 1600,
            disagreeing,
            contradicting: 1,
            outstanding: 1,
            fine_correlation,
            ..perfect()
        };
        let seen = Verification {
            text_like: true,
            side: 1600,
            ..verification(screens)
        };
        gate(&seen)
    };
    assert_eq!(held_back(1.0, 1), Some(Gate::TextLike), "a box was ticked");
    assert_eq!(held_back(1.0, 0), None);
    assert_eq!(held_back(0.9, 2), None, "a low quality leaves more");
}
