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
