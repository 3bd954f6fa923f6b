//! Decisions on made-up measurements.

mod gates;

use chrono::NaiveDate;

use super::Cascade;
use crate::dedup::{Gate, Match};
use crate::types::{
    ContentHash, Embedding, ExifSummary, Fingerprint, MatchClass, PdqHash, PixelHash, Stage, Transform,
};
use crate::vision::verify::{Alignment, Verification};
use crate::vision::{Palette, RgbImage};

fn print(number: u8) -> Fingerprint {
    Fingerprint {
        content_hash: ContentHash::from_bytes([number; 32]),
        pixel_hash: PixelHash::from_bytes([number; 32]),
        pdq: PdqHash::from_bytes([number; 32]),
        pdq_quality: 100,
        embedding: Embedding::normalised(&[1.0, f32::from(number) / 10.0]).expect("a direction"),
        width: 640,
        height: 480,
        exif: ExifSummary::default(),
    }
}

fn perfect() -> Alignment {
    Alignment {
        transform: Transform::IDENTITY,
        distortion: 1.0,
        overlap_a: 1.0,
        overlap_b: 1.0,
        inliers: 150,
        agreeing: 300,
        disagreeing: 0,
        contradicting: 0,
        outstanding: 0,
        laid_over: false,
        written_over: false,
        moved: 0,
        looked_for: 0,
        grain: 1.0,
        neutral: 20,
        correlation: 0.98,
        fine_correlation: 0.95,
        displacement: 0.05,
        displacement_high: 0.1,
        wander: 0.0,
        gain: 1.0,
        offset: 0.0,
        saturation: 1.0,
        colour_residual: 1.0,
        changed: Vec::new(),
    }
}

fn verification(alignment: Alignment) -> Verification {
    Verification {
        alignment: Some(alignment),
        text_like: false,
        featureless: false,
        repeating: false,
        side: 640,
    }
}

fn judge(a: &Fingerprint, b: &Fingerprint, v: &Verification) -> Option<Match> {
    Cascade::default().judge(a, &[a.pdq; 8], b, Some(v))
}

#[test]
fn bytes_and_pixels_settle_it_without_looking() {
    let cascade = Cascade::default();
    let a = print(1);
    let found = cascade.judge(&a, &[a.pdq; 8], &a, None).expect("itself");
    assert_eq!(
        (found.class, found.stage, found.probability),
        (MatchClass::Identical, Stage::Bytes, 1.0)
    );
    let mut tiny = a.clone();
    tiny.content_hash = ContentHash::from_bytes([9; 32]);
    (tiny.width, tiny.height, tiny.pdq_quality) = (2, 2, 0);
    let found = cascade.judge(&a, &[a.pdq; 8], &tiny, None).expect("same pixels");
    assert_eq!(
        (found.class, found.stage),
        (MatchClass::SamePixels, Stage::Pixels)
    );
    assert!(!cascade.wants_verification(&a, &[a.pdq; 8], &a));
}

#[test]
fn classes_follow_from_what_was_measured() {
    let (a, b) = (print(1), print(2));
    let class = |alignment| judge(&a, &b, &verification(alignment)).expect("a match").class;
    assert_eq!(class(perfect()), MatchClass::NearIdentical);
    let turned = Transform {
        rotation: -90.2,
        mirrored: true,
        ..Transform::IDENTITY
    };
    assert_eq!(
        class(Alignment {
            transform: turned,
            ..perfect()
        }),
        MatchClass::NearIdentical
    );
    assert_eq!(
        class(Alignment {
            disagreeing: 25,
            ..perfect()
        }),
        MatchClass::NearIdentical,
        "resized: fine texture is another one and shows nothing else"
    );
    for edited in [
        Alignment {
            overlap_a: 0.6,
            ..perfect()
        },
        Alignment {
            disagreeing: 60,
            ..perfect()
        },
        Alignment {
            disagreeing: 40,
            contradicting: 40,
            ..perfect()
        },
        Alignment {
            transform: Transform {
                rotation: 12.0,
                ..Transform::IDENTITY
            },
            ..perfect()
        },
        Alignment {
            saturation: 0.1,
            ..perfect()
        },
        Alignment {
            gain: 0.4,
            ..perfect()
        },
    ] {
        assert_eq!(class(edited), MatchClass::Edited);
    }
    let poor = Alignment {
        agreeing: 12,
        disagreeing: 60,
        contradicting: 60,
        correlation: 0.82,
        fine_correlation: 0.3,
        displacement: 0.9,
        inliers: 6,
        ..perfect()
    };
    let found = judge(&a, &b, &verification(poor)).expect("still alike");
    assert_eq!(
        (found.class, found.evidence.held_back),
        (MatchClass::Similar, Some(Gate::NoWarp))
    );
    assert!(found.probability < by_looks(&a, &b));
}

/// Probability of a pair that nobody verified.
fn by_looks(a: &Fingerprint, b: &Fingerprint) -> f32 {
    let found = Cascade::default().judge(a, &[a.pdq; 8], b, None);
    found.expect("they look alike").probability
}

#[test]
fn colours_that_the_other_lacks_take_a_promise_back() {
    let cascade = Cascade::default();
    let plain =
        |rgb: [u8; 3]| Palette::of(&RgbImage::from_raw(40, 40, rgb.repeat(1600)).expect("as many pixels"));
    let (red, blue) = (plain([200, 30, 40]), plain([30, 60, 200]));
    let promise = |numbers: [u8; 2], palettes: [Option<&Palette>; 2]| {
        let [a, b] = numbers.map(print);
        let [x, y] = [(&a, palettes[0]), (&b, palettes[1])].map(|(print, palette)| super::Prospect {
            palette,
            ..cascade.prospect(print)
        });
        cascade.promise(x, &[a.pdq; 8], y)
    };
    // Far apart by PDQ, and not near by their embeddings.
    let far = [1, 30];
    let unheard = promise(far, [None, Some(&blue)]);
    assert!((0.001..0.3).contains(&unheard), "{unheard}");
    assert!(promise(far, [Some(&red), Some(&blue)]) < unheard / 20.0);
    let held = promise(far, [Some(&red), Some(&red)]);
    assert!(
        (held - unheard).abs() < 1e-6,
        "one colour is held by many: {held}"
    );
    // A tone changes all colours and leaves the picture.
    let (original, mut copy) = (print(2), print(2));
    copy.content_hash = ContentHash::from_bytes([99; 32]);
    copy.pixel_hash = PixelHash::from_bytes([99; 32]);
    let [x, y] = [(&original, &red), (&copy, &blue)].map(|(print, palette)| super::Prospect {
        palette: Some(palette),
        ..cascade.prospect(print)
    });
    assert!(cascade.promise(x, &[original.pdq; 8], y) > 0.5);
}

#[test]
fn featureless_and_tiny_images_pass_by_bytes_and_pixels_only() {
    let (a, b) = (print(1), print(2));
    let flat = Verification {
        featureless: true,
        ..verification(perfect())
    };
    assert_eq!(judge(&a, &b, &flat), None);
    let tiny = Fingerprint {
        height: 31,
        ..print(2)
    };
    assert_eq!(judge(&a, &tiny, &verification(perfect())), None);
    assert!(!Cascade::default().is_verifiable(&a, &tiny));
}

#[test]
fn two_fillings_of_one_form_are_similar() {
    let (a, b) = (print(1), print(2));
    let form = |disagreeing, outstanding| Verification {
        text_like: true,
        ..verification(Alignment {
            disagreeing,
            contradicting: disagreeing,
            outstanding,
            ..perfect()
        })
    };
    assert_eq!(
        judge(&a, &b, &form(0, 0)).map(|m| m.class),
        Some(MatchClass::NearIdentical)
    );
    let found = judge(&a, &b, &form(12, 12)).expect("alike");
    assert_eq!(
        (found.class, found.evidence.held_back),
        (MatchClass::Similar, Some(Gate::TextLike))
    );
    let recompressed = judge(&a, &b, &form(12, 0)).expect("alike");
    assert_eq!(recompressed.evidence.held_back, None);
}

#[test]
fn a_sticker_on_a_screen_is_an_edit_unless_it_moved_between_two_exposures() {
    let (a, b) = (print(1), print(2));
    let held_back = |laid_over, moved, fine_correlation| {
        let stickered = Alignment {
            disagreeing: 60,
            contradicting: 60,
            outstanding: 60,
            laid_over,
            moved,
            looked_for: 20,
            fine_correlation,
            ..perfect()
        };
        let seen = Verification {
            text_like: true,
            ..verification(stickered)
        };
        let found = judge(&a, &b, &seen).expect("alike");
        found.evidence.held_back
    };
    assert_eq!(held_back(true, 0, 0.85), None);
    assert_eq!(held_back(true, 1, 0.98), None);
    assert_eq!(held_back(true, 1, 0.85), Some(Gate::TextLike));
    assert_eq!(held_back(false, 0, 0.98), Some(Gate::TextLike));
}

#[test]
fn text_that_is_too_small_to_read_proves_nothing() {
    let (a, b) = (print(1), print(2));
    let seen = |text_like, side| Verification {
        text_like,
        side,
        ..verification(perfect())
    };
    let found = judge(&a, &b, &seen(true, 400)).expect("alike");
    assert_eq!(
        (found.class, found.evidence.held_back),
        (MatchClass::Similar, Some(Gate::TooSmall))
    );
    assert_eq!(
        judge(&a, &b, &seen(false, 400)).map(|m| m.class),
        Some(MatchClass::NearIdentical)
    );
    let large = |number| Fingerprint {
        width: 9000,
        ..print(number)
    };
    let found = judge(&large(1), &large(2), &seen(true, 1600));
    assert_eq!(
        found.map(|m| m.class),
        Some(MatchClass::NearIdentical),
        "a close-up is enough"
    );
}

#[test]
fn another_moment_of_one_camera_is_a_burst_unless_one_warp_explains_it() {
    let at = |number, second| Fingerprint {
        exif: ExifSummary {
            camera: Some("Camera 1".to_owned()),
            taken: NaiveDate::from_ymd_opt(2024, 5, 1).and_then(|d| d.and_hms_opt(12, 0, second)),
            taken_centis: 0,
        },
        ..print(number)
    };
    let moving = Alignment {
        displacement: 0.3,
        displacement_high: 0.6,
        fine_correlation: 0.7,
        ..perfect()
    };
    let (a, same, later) = (at(1, 0), at(2, 0), at(2, 2));
    let class = |b, alignment| judge(&a, b, &verification(alignment)).map(|m| m.class);
    assert_eq!(class(&same, moving.clone()), Some(MatchClass::NearIdentical));
    assert_eq!(class(&later, moving), Some(MatchClass::Similar));
    assert_eq!(class(&later, perfect()), Some(MatchClass::NearIdentical));
}

#[test]
fn one_tile_that_moved_tells_a_second_exposure_and_no_copy() {
    let (a, b) = (print(1), print(2));
    let shot = Alignment {
        agreeing: 180,
        disagreeing: 80,
        contradicting: 70,
        fine_correlation: 0.65,
        displacement: 0.22,
        moved: 1,
        looked_for: 20,
        ..perfect()
    };
    let burst = judge(&a, &b, &verification(shot.clone())).expect("alike");
    assert_eq!(burst.class, MatchClass::Similar);
    assert_eq!(burst.evidence.held_back, Some(Gate::Burst));
    let pasted_over = Alignment {
        fine_correlation: 0.93,
        displacement: 0.06,
        ..shot.clone()
    };
    let resampled_twice = Alignment {
        moved: 0,
        ..shot.clone()
    };
    let noisy = Alignment {
        contradicting: 20,
        ..shot.clone()
    };
    let cropped = Alignment {
        overlap_a: 0.5,
        ..shot
    };
    for copy in [pasted_over, resampled_twice, noisy, cropped] {
        let found = judge(&a, &b, &verification(copy)).expect("a copy");
        assert_eq!(found.class, MatchClass::Edited);
    }
}

#[test]
fn a_frame_that_obeys_no_one_warp_is_another_moment_unless_its_noise_is_the_same() {
    let (a, b) = (print(1), print(2));
    let wandering = Alignment {
        displacement: 0.5,
        fine_correlation: 0.7,
        ..perfect()
    };
    let class = |alignment| judge(&a, &b, &verification(alignment)).map(|m| (m.class, m.evidence.held_back));
    let burst = Some((MatchClass::Similar, Some(Gate::Burst)));
    assert_eq!(class(wandering.clone()), burst);
    let same_noise = Alignment {
        fine_correlation: 0.9,
        ..wandering
    };
    assert_ne!(class(same_noise), burst);
}

#[test]
fn what_verification_finds_without_one_warp_counts() {
    let (a, b) = (print(1), print(2));
    let bent = Alignment {
        agreeing: 140,
        disagreeing: 40,
        contradicting: 10,
        displacement: 0.6,
        correlation: 0.95,
        ..perfect()
    };
    let probability = |alignment: Alignment| {
        let found = judge(&a, &b, &verification(alignment)).expect("alike");
        assert_eq!(found.evidence.held_back, Some(Gate::NoWarp));
        found.probability
    };
    let contained = probability(Alignment {
        overlap_a: 0.4,
        ..bent.clone()
    });
    let side_by_side = probability(Alignment {
        overlap_a: 0.5,
        overlap_b: 0.6,
        ..bent.clone()
    });
    let stretched = probability(Alignment {
        distortion: 1.6,
        ..bent.clone()
    });
    assert!(contained > 2.0 * side_by_side, "{contained} {side_by_side}");
    assert!(probability(bent) > stretched);
}

#[test]
fn descriptors_alone_never_say_more_than_similar() {
    let cascade = Cascade::default();
    let (a, b) = (print(1), print(1));
    let b = Fingerprint {
        content_hash: ContentHash::from_bytes([7; 32]),
        pixel_hash: PixelHash::from_bytes([7; 32]),
        ..b
    };
    let found = cascade.judge(&a, &[a.pdq; 8], &b, None).expect("close");
    assert_eq!((found.class, found.stage), (MatchClass::Similar, Stage::Pdq));
    assert_eq!(found.evidence.held_back, Some(Gate::Unverified));
    let far = Fingerprint {
        embedding: Embedding::normalised(&[-1.0, 0.2]).expect("a direction"),
        pdq: PdqHash::from_bytes([0xfe; 32]),
        ..b
    };
    assert_eq!(cascade.judge(&a, &[a.pdq; 8], &far, None), None);
    assert!(!cascade.wants_verification(&a, &[a.pdq; 8], &far));
}

#[test]
fn a_match_turns_round_with_its_transform() {
    let half = Transform {
        matrix: [0.5, 0.0, 0.25, 0.0, 0.5, 0.25],
        rotation: 0.0,
        scale: 0.5,
        mirrored: false,
    };
    let found = judge(
        &print(1),
        &print(2),
        &verification(Alignment {
            transform: half,
            overlap_b: 0.25,
            ..perfect()
        }),
    )
    .expect("a match");
    let back = found.reversed();
    assert_eq!(back.transform.map(|t| t.scale), Some(2.0));
    assert_eq!(back.evidence.overlap_a, Some(0.25));
    assert_eq!(back.overlap, found.overlap);
}

/// Two pictures in equal white frames: the frames align to the pixel, the pictures do not.
#[test]
fn a_shared_frame_is_no_copy() {
    let framed = Alignment {
        agreeing: 66,
        disagreeing: 228,
        contradicting: 228,
        correlation: 0.979,
        displacement: 0.38,
        inliers: 0,
        ..perfect()
    };
    let (a, b) = (print(1), print(2));
    let found = judge(&a, &b, &verification(framed)).expect("a look-alike");
    assert_eq!(
        (found.class, found.evidence.held_back),
        (MatchClass::Similar, Some(Gate::NoWarp))
    );
    assert!(found.probability < by_looks(&a, &b), "{}", found.probability);
}
