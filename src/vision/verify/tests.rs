//! Attacks on images made in code, and pairs that must not be taken for copies.

mod text;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::{Alignment, Features, Verification, verify, verify_under};
use crate::types::Transform;

/// A small generator of numbers: the tests must not change with a library's.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let x = (self.0 >> 33) as u32;
        x ^ x >> 15
    }

    fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }
}

/// Overlapping discs and boxes of many sizes: the statistics of photographs.
fn dead_leaves(seed: u64, width: u32, height: u32) -> RgbImage {
    let mut dice = Dice(seed);
    for _ in 0..8 {
        dice.next();
    }
    let mut image = RgbImage::from_pixel(width, height, Rgb([128, 120, 110]));
    for i in 0..500u32 {
        let radius = (6.0 * (500.0 / f64::from(i + 8)).sqrt()) as i64 + 3;
        let (cx, cy) = (i64::from(dice.below(width)), i64::from(dice.below(height)));
        let colour = [dice.below(256), dice.below(256), dice.below(256)].map(|v| v as i64);
        let round = dice.below(2) == 0;
        let tilt = i64::from(dice.below(40)) - 20;
        for y in (cy - radius).max(0)..(cy + radius).min(i64::from(height)) {
            for x in (cx - radius).max(0)..(cx + radius).min(i64::from(width)) {
                let (dx, dy) = (x - cx, y - cy);
                if !round || dx * dx + dy * dy < radius * radius {
                    let shade = tilt * dx / radius;
                    let pixel = colour.map(|c| (c + shade).clamp(0, 255) as u8);
                    image.put_pixel(x as u32, y as u32, Rgb(pixel));
                }
            }
        }
    }
    imageops::blur(&image, 0.7)
}

fn preview(image: &RgbImage) -> RgbImage {
    let long = image.width().max(image.height());
    if long <= 400 {
        return image.clone();
    }
    let side = |s: u32| (s * 400 / long).max(1);
    imageops::resize(
        image,
        side(image.width()),
        side(image.height()),
        FilterType::Triangle,
    )
}

fn jpeg(image: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(image)
        .expect("a small RGB image encodes");
    image::load_from_memory(&bytes)
        .expect("what was just encoded decodes")
        .to_rgb8()
}

fn compare(a: &RgbImage, b: &RgbImage) -> Verification {
    verify(&Features::extract(&preview(a)), &Features::extract(&preview(b)))
}

fn aligned(name: &str, a: &RgbImage, b: &RgbImage) -> Alignment {
    compare(a, b)
        .alignment
        .unwrap_or_else(|| panic!("{name}: no alignment"))
}

#[test]
fn a_thumbnail_is_seen_as_its_pixels_are() {
    use crate::vision::thumbnail;
    for (width, height) in [(400, 267), (267, 400), (399, 301), (64, 50), (5, 7), (3, 9)] {
        let jpeg = thumbnail::encode(&dead_leaves(7, width, height)).expect("encodes");
        let pixels = thumbnail::decode(&jpeg).expect("decodes");
        let (direct, expected) = (
            Features::of_thumbnail(&jpeg).expect("decodes"),
            Features::extract(&pixels),
        );
        assert_eq!((direct.width, direct.height), (width, height));
        for (plane, same, limit) in [
            (&direct.luma[0], &expected.luma[0], 0.8),
            (&direct.chroma[0], &expected.chroma[0], 2.5),
            (&direct.chroma[1], &expected.chroma[1], 2.5),
        ] {
            assert_eq!((plane.width, plane.height), (same.width, same.height));
            let differ = plane
                .data
                .iter()
                .zip(&same.data)
                .map(|(a, b)| f64::from(a.abs_diff(*b)));
            let mean = differ.sum::<f64>() / plane.data.len() as f64;
            assert!(mean <= limit, "{width} × {height}: {mean} levels on average");
        }
    }
    assert!(Features::of_thumbnail(b"no image").is_err());
}

#[track_caller]
fn assert_copy(name: &str, a: &RgbImage, b: &RgbImage, agreement: f32) -> Alignment {
    let found = aligned(name, a, b);
    assert!(
        found.agreement() >= agreement && found.agreeing >= 20 && found.displacement < 0.6,
        "{name}: {found:#?}"
    );
    found
}

fn source() -> RgbImage {
    dead_leaves(7, 640, 480)
}

#[test]
fn whole_frames_align_under_resize_and_recompression() {
    let a = source();
    let cases = [
        ("same", a.clone()),
        ("half", imageops::resize(&a, 320, 240, FilterType::Lanczos3)),
        ("odd size", imageops::resize(&a, 501, 377, FilterType::CatmullRom)),
        ("squeezed", imageops::resize(&a, 480, 400, FilterType::Triangle)),
        ("jpeg 30", jpeg(&a, 30)),
        ("brighter", imageops::colorops::brighten(&a, 30)),
        ("blurred", imageops::blur(&a, 1.5)),
    ];
    for (name, b) in cases {
        let found = assert_copy(name, &a, &b, 0.97);
        assert!(
            found.overlap_a > 0.98 && found.overlap_b > 0.98,
            "{name}: {found:#?}"
        );
        assert!(
            !found.transform.mirrored && found.transform.rotation.abs() < 0.5,
            "{name}: {found:#?}"
        );
    }
}

#[test]
fn the_eight_ways_are_told_apart() {
    let a = source();
    for (name, b, rotation, mirrored) in [
        ("rot 90 clockwise", imageops::rotate90(&a), -90.0, false),
        ("rot 180", imageops::rotate180(&a), 180.0, false),
        ("rot 270 clockwise", imageops::rotate270(&a), 90.0, false),
        ("mirror", imageops::flip_horizontal(&a), 0.0, true),
        ("upside down mirror", imageops::flip_vertical(&a), 180.0, true),
        (
            "transpose",
            imageops::rotate90(&imageops::flip_horizontal(&a)),
            -90.0,
            true,
        ),
    ] {
        let found = assert_copy(name, &a, &b, 0.97);
        let turn = (found.transform.rotation - rotation).rem_euclid(360.0);
        assert!(turn.min(360.0 - turn) < 1.0, "{name}: {found:#?}");
        assert_eq!(found.transform.mirrored, mirrored, "{name}");
    }
}

#[test]
fn crops_are_found_with_their_share() {
    let a = source();
    for (name, x, y, w, h) in [
        ("crop 81 %", 30, 20, 576, 432),
        ("crop 50 %", 120, 100, 453, 339),
        ("crop 30 %", 200, 60, 350, 263),
    ] {
        let b = imageops::crop_imm(&a, x, y, w, h).to_image();
        let found = assert_copy(name, &a, &b, 0.9);
        let share = (w * h) as f32 / (640.0 * 480.0);
        assert!(
            (found.overlap_a - share).abs() < 0.03 && found.overlap_b > 0.95,
            "{name}: {found:#?}"
        );
        let back = assert_copy(name, &b, &a, 0.9);
        assert!((back.overlap_b - share).abs() < 0.03, "{name}: {back:#?}");
        let mirrored = imageops::flip_horizontal(&b);
        assert!(assert_copy(name, &a, &mirrored, 0.9).transform.mirrored);
    }
}

#[test]
fn pastes_are_found_within_another_picture() {
    let a = source();
    for (name, side) in [("paste 64 %", 512), ("paste 36 %", 384), ("paste 20 %", 288)] {
        let mut b = dead_leaves(99, 640, 480);
        let small = imageops::resize(&a, side, side * 3 / 4, FilterType::Triangle);
        imageops::replace(&mut b, &small, 40, 30);
        let found = assert_copy(name, &a, &b, 0.85);
        let share = (side * side * 3 / 4) as f32 / (640.0 * 480.0);
        assert!(
            (found.overlap_b - share).abs() < 0.03 && found.overlap_a > 0.95,
            "{name}: {found:#?}"
        );
    }
}

#[test]
fn borders_and_overlays_leave_the_rest_in_agreement() {
    let a = source();
    let mut padded = RgbImage::from_pixel(900, 700, Rgb([255, 255, 255]));
    imageops::replace(&mut padded, &a, 130, 110);
    assert_copy("padding", &a, &padded, 0.9);

    let mut overlaid = a.clone();
    for y in 150..330 {
        for x in 200..440 {
            overlaid.put_pixel(
                x,
                y,
                Rgb([if (x / 9 + y / 13) % 2 == 0 { 255 } else { 0 }, 40, 90]),
            );
        }
    }
    let found = assert_copy("overlay", &a, &overlaid, 0.75);
    let region = found.changed.first().expect("the overlay is a changed region");
    let centre = [region.x + region.width / 2.0, region.y + region.height / 2.0];
    assert!(
        (centre[0] - 0.5).abs() < 0.05 && (centre[1] - 0.5).abs() < 0.05,
        "{found:#?}"
    );
}

#[test]
fn free_rotation_is_found() {
    let a = source();
    let (sin, cos) = 20f32.to_radians().sin_cos();
    let b = RgbImage::from_fn(640, 480, |x, y| {
        let (dx, dy) = (x as f32 - 320.0, y as f32 - 240.0);
        let (sx, sy) = (cos * dx - sin * dy + 320.0, sin * dx + cos * dy + 240.0);
        imageops::interpolate_bilinear(&a, sx, sy).unwrap_or(Rgb([0, 0, 0]))
    });
    let found = assert_copy("turned by 20°", &a, &b, 0.85);
    assert!((found.transform.rotation.abs() - 20.0).abs() < 0.5, "{found:#?}");
}

#[test]
fn different_pictures_of_one_kind_do_not_agree() {
    for seed in 0..6 {
        let (a, b) = (
            dead_leaves(100 + seed, 400, 300),
            dead_leaves(200 + seed, 400, 300),
        );
        if let Some(found) = compare(&a, &b).alignment {
            assert!(found.agreement() < 0.35, "seed {seed}: {found:#?}");
        }
    }
}

#[test]
fn a_second_exposure_moves_locally() {
    // Objects of the second frame have moved by a few pixels each, in different directions.
    let ground = dead_leaves(5, 400, 300);
    let objects: Vec<RgbImage> = (0..24).map(|i| dead_leaves(300 + i, 56, 56)).collect();
    let frame = |seed: u64| {
        let mut dice = Dice(seed);
        let mut image = ground.clone();
        for (i, object) in objects.iter().enumerate() {
            let (x, y) = (i as i64 % 6 * 66 + 4, i as i64 / 6 * 74 + 4);
            let shift = |dice: &mut Dice| {
                if seed == 0 {
                    0
                } else {
                    i64::from(dice.below(13)) - 6
                }
            };
            imageops::replace(&mut image, object, x + shift(&mut dice), y + shift(&mut dice));
        }
        image
    };
    if let Some(found) = compare(&frame(0), &frame(3)).alignment {
        assert!(found.agreement() < 0.6, "{found:#?}");
    }
}

#[test]
fn a_frame_that_was_seen_from_another_place_wanders_and_a_noisy_copy_does_not() {
    let a = dead_leaves(21, 400, 300);
    let exposure = |bend: f64| {
        let mut dice = Dice(77);
        RgbImage::from_fn(400, 300, |x, y| {
            let (u, v) = (
                f64::from(x) + bend * (f64::from(y) / 40.0).sin(),
                f64::from(y) + bend * (f64::from(x) / 50.0).sin(),
            );
            let seen =
                imageops::interpolate_bilinear(&a, u.clamp(0.0, 399.0) as f32, v.clamp(0.0, 299.0) as f32);
            let noise = dice.below(41) as i16 - 20;
            let seen = seen.expect("within the picture");
            Rgb(seen.0.map(|c| (i16::from(c) + noise).clamp(0, 255) as u8))
        })
    };
    let bent = aligned("bent", &a, &exposure(0.6));
    assert!(bent.agreement() > 0.8, "{bent:#?}");
    assert!(bent.wander > 0.2 && bent.is_another_moment(), "{bent:#?}");
    let noisy = aligned("noisy", &a, &exposure(0.0));
    assert!(noisy.wander < 0.03 && !noisy.is_another_moment(), "{noisy:#?}");
}

#[test]
fn a_pattern_under_a_sticker_has_not_moved() {
    // A net: each mesh is found again beside it.
    let net = |x: u32, y: u32| {
        if (x + 2 * y) % 14 < 6 || (2 * x + 300 - y) % 22 < 8 {
            190u8
        } else {
            60
        }
    };
    let a = RgbImage::from_fn(400, 300, |x, y| Rgb([net(x, y); 3]));
    let b = RgbImage::from_fn(400, 300, |x, y| {
        let inside = x.abs_diff(200) < 60 && y.abs_diff(150) < 50;
        let letters = inside && (x / 9 + y / 7).is_multiple_of(2);
        Rgb([if letters { 240 } else { net(x, y) }; 3])
    });
    let found = aligned("letters on a net", &a, &b);
    assert!(found.disagreeing > 8 && found.moved == 0, "{found:#?}");
}

#[test]
fn a_blurred_copy_aligns_as_a_whole_and_mostly_agrees() {
    let a = source();
    let found = aligned("blurred", &a, &imageops::blur(&a, 5.0));
    assert!(found.agreement() > 0.8 && found.overlap_a > 0.97, "{found:#?}");
}

#[test]
fn low_texture_aligns_as_a_whole_and_flat_proves_nothing() {
    let sky = RgbImage::from_fn(400, 300, |x, y| {
        let (x, y) = (x as f32 / 400.0, y as f32 / 300.0);
        let v = 120.0 + 70.0 * y + 40.0 * (5.0 * x + 3.0 * y * y).sin();
        Rgb([v as u8, (v * 0.9) as u8, 200])
    });
    let found = aligned(
        "sky",
        &sky,
        &jpeg(&imageops::resize(&sky, 300, 225, FilterType::Triangle), 50),
    );
    assert!(found.agreement() > 0.9, "{found:#?}");

    let flat = RgbImage::from_pixel(400, 300, Rgb([90, 90, 90]));
    let other = RgbImage::from_pixel(400, 300, Rgb([92, 90, 90]));
    let found = compare(&flat, &other);
    assert!(found.featureless && found.alignment.is_none());
    for size in [1, 2, 15, 33] {
        let tiny = RgbImage::from_fn(size, size, |x, y| Rgb([(x * 37 + y * 91) as u8; 3]));
        compare(&tiny, &source());
        compare(&source(), &tiny);
        compare(&tiny, &tiny);
    }
}

#[test]
fn the_answer_repeats_and_turns_round() {
    let a = source();
    let b = imageops::crop_imm(&a, 100, 80, 400, 300).to_image();
    let first = compare(&a, &b);
    assert_eq!(first, compare(&a, &b));
    let there = first.alignment.expect("aligned").transform;
    let back = aligned("back", &b, &a).transform;
    for p in [[0.3, 0.4], [0.6, 0.5]] {
        let q = back.apply(there.apply(p));
        assert!(
            (q[0] - p[0]).abs() < 0.01 && (q[1] - p[1]).abs() < 0.01,
            "{p:?} {q:?}"
        );
    }
}

#[test]
fn a_known_warp_is_looked_under_from_the_other_side() {
    let image = source();
    let crop = imageops::crop_imm(&image, 60, 40, 220, 160).to_image();
    let [a, b] = [&image, &crop].map(|image| Features::extract(&preview(image)));
    let there = verify(&a, &b).alignment.expect("a crop is found");
    let back = there.transform.inverse().expect("a crop has a size");
    // A pixel beside it: the rest is found.
    let mut nearly = back;
    nearly.matrix[2] += 1.0 / f64::from(image.width());
    for warp in [back, nearly] {
        let found = verify_under(&warp, there.inliers, &b, &a)
            .alignment
            .expect("it lies there");
        assert!(
            found.agreement() > 0.95 && found.inliers == there.inliers,
            "{found:#?}"
        );
        for (one, other) in found.transform.matrix.iter().zip(back.matrix) {
            assert!((one - other).abs() < 2e-3, "{found:#?} is not {back:?}");
        }
    }
    let elsewhere = Transform {
        matrix: [0.5, 0.0, 0.5, 0.0, 0.5, 0.5],
        ..back
    };
    let found = verify_under(&elsewhere, 0, &b, &a).alignment;
    assert!(
        found.is_none_or(|found| found.agreement() < 0.35),
        "another part is no copy"
    );
}

#[test]
fn images_of_any_shape_are_looked_at() {
    let whole = source();
    for (w, h) in [
        (1, 1),
        (1, 300),
        (300, 2),
        (4, 4),
        (16, 16),
        (17, 40),
        (29, 31),
        (36, 400),
        (400, 33),
    ] {
        let part = imageops::crop_imm(
            &whole,
            20,
            20,
            w.min(whole.width() - 20),
            h.min(whole.height() - 20),
        );
        let v = compare(&part.to_image(), &whole);
        let agreement = v.alignment.map_or(0.0, |alignment| alignment.agreement());
        assert!((0.0..=1.0).contains(&agreement), "{w} × {h}");
    }
}
