use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};

use super::*;
use crate::vision::{DecodeLimits, coded, decode};

/// A picture with detail of all sizes, in colours that reach neither end of the scale.
fn picture(seed: u64) -> RgbImage {
    grained(seed, 10)
}

/// The same with grain so faint that compression leaves most of the details.
fn clear_picture(seed: u64) -> RgbImage {
    grained(seed, 80)
}

fn grained(seed: u64, fineness: u32) -> RgbImage {
    let noise = |x: u32, y: u32, c: u64| {
        let mut v = seed ^ (u64::from(x) << 32 | u64::from(y)) ^ c << 60;
        v = (v ^ v >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        v = (v ^ v >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (v >> 56) as u32
    };
    // Between the corners of a grid, so that nothing but the finest noise has edges.
    let smooth = |x: u32, y: u32, c: u64, side: u32| {
        let (i, j, u, v) = (x / side, y / side, x % side, y % side);
        let across = |j: u32| noise(i, j, c) * (side - u) + noise(i + 1, j, c) * u;
        (across(j) * (side - v) + across(j + 1) * v) / (side * side)
    };
    RgbImage::from_fn(320, 240, |x, y| {
        let common = smooth(x, y, 9, 12) / 3 + noise(x, y, 8) / fineness;
        Rgb([0, 1, 2].map(|c| (24 + smooth(x, y, c, 64) / 3 + common) as u8))
    })
}

fn jpeg(image: &RgbImage, quality: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode_image(image)
        .expect("encodes");
    bytes
}

fn png(image: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).expect("encodes");
    bytes.into_inner()
}

fn pixels(bytes: &[u8]) -> RgbImage {
    decode(bytes, &DecodeLimits::default()).expect("decodes").pixels
}

fn grid(bytes: &[u8]) -> Coded {
    coded(bytes, &DecodeLimits::default())
        .expect("reads")
        .expect("a grid or no loss")
}

/// Filled at a place, opaque or as a veil.
fn filled(image: &RgbImage, [left, top, width, height]: [u32; 4], colour: [u8; 3], share: f32) -> RgbImage {
    let mut image = image.clone();
    for y in top..top + height {
        for x in left..left + width {
            let pixel = image.get_pixel_mut(x, y);
            for (v, c) in pixel.0.iter_mut().zip(colour) {
                *v = (f32::from(*v) * (1.0 - share) + f32::from(c) * share).round() as u8;
            }
        }
    }
    image
}

/// Strokes without a ground of their own.
fn lettered(image: &RgbImage, colour: [u8; 3]) -> RgbImage {
    (0..14).fold(image.clone(), |image, stroke| {
        let left = 30 + 18 * stroke;
        let upright = filled(&image, [left, 90, 5, 40], colour, 1.0);
        filled(&upright, [left, 90 + 12 * (stroke % 3), 14, 5], colour, 1.0)
    })
}

fn toned(image: &RgbImage, contrast: f32, brightness: f32) -> RgbImage {
    let mut image = image.clone();
    for v in image.iter_mut() {
        *v = ((f32::from(*v) - 110.0) * contrast + 110.0 + brightness)
            .round()
            .clamp(0.0, 255.0) as u8;
    }
    image
}

/// The answer for a pair, which has to be the same in the other order.
fn either_order<T>(a: &T, b: &T, ask: impl Fn(&T, &T) -> Option<Later>) -> Option<(Side, Sign)> {
    let found = ask(a, b);
    assert_eq!(
        ask(b, a).map(Later::reversed),
        found,
        "the order of the images decides"
    );
    found.map(|later| (later.side, later.sign))
}

fn later_compression(a: &Coded, b: &Coded) -> Option<Later> {
    by_compression(a, b).map(|found| found.later)
}

#[test]
fn a_compression_of_the_same_picture_proves_nothing() {
    let source = clear_picture(9);
    let (unedited, edited) = (jpeg(&source, 75), jpeg(&lettered(&source, [255; 3]), 92));
    let found = by_compression(&grid(&unedited), &grid(&edited));
    assert!(
        found.is_some_and(|found| found.later.side == Side::First && !found.is_proof),
        "the coarser one, though not from the finer one: {found:?}"
    );
    let proof = by_compression(
        &grid(&unedited),
        &grid(&jpeg(&lettered(&pixels(&unedited), [255; 3]), 92)),
    );
    assert!(proof.is_some_and(|found| found.is_proof), "{proof:?}");
}

#[test]
fn the_later_compression_is_told_whichever_is_finer() {
    let later = Some((Side::Second, Sign::Recompressed));
    // Three quarters of the steps of quality 80 are those of quality 85: nothing to tell them by.
    for (first, second, of_toned) in [(80, 90, later), (80, 85, None), (92, 75, later), (70, 93, later)] {
        // A coarse compression takes fine grain away, and with it what the images have in common.
        let source = if second < first {
            clear_picture(1)
        } else {
            picture(1)
        };
        let original = jpeg(&source, first);
        let edits = [
            ("letters", lettered(&pixels(&original), [255, 255, 255]), later),
            ("a tone", toned(&pixels(&original), 0.75, 0.0), of_toned),
        ];
        for (what, edit, expected) in edits {
            let edited = jpeg(&edit, second);
            let found = either_order(&grid(&original), &grid(&edited), later_compression);
            assert_eq!(found, expected, "{what}, {first} then {second}");
        }
    }
}

#[test]
fn equal_compressions_tell_nothing() {
    let original = jpeg(&picture(2), 85);
    let edited = jpeg(&lettered(&pixels(&original), [0, 0, 0]), 85);
    assert_eq!(
        either_order(&grid(&original), &grid(&edited), later_compression),
        None
    );
    let other = jpeg(&picture(3), 92);
    assert_eq!(
        either_order(&grid(&original), &grid(&other), later_compression),
        None,
        "nothing in common"
    );
}

#[test]
fn a_lossless_file_that_carries_a_lattice_is_the_later_one() {
    let source = clear_picture(4);
    let compressed = jpeg(&source, 80);
    let edited = png(&lettered(&pixels(&compressed), [255, 0, 0]));
    assert_eq!(
        either_order(&grid(&compressed), &grid(&edited), later_compression),
        Some((Side::Second, Sign::Recompressed))
    );
    let exported = jpeg(&lettered(&source, [255, 0, 0]), 80);
    assert_eq!(
        either_order(&grid(&png(&source)), &grid(&exported), later_compression),
        Some((Side::Second, Sign::Recompressed))
    );
}

#[test]
fn what_was_drawn_over_a_picture_is_seen_on_it() {
    let original = picture(5);
    let edits = [
        ("white letters", lettered(&original, [255; 3])),
        ("black letters", lettered(&original, [0; 3])),
        ("red letters", lettered(&original, [230, 20, 30])),
        ("a box", filled(&original, [60, 60, 110, 50], [20, 60, 220], 1.0)),
        (
            "a veil",
            filled(&original, [60, 60, 130, 60], [250, 240, 20], 0.7),
        ),
    ];
    for (what, edited) in edits {
        assert_eq!(
            either_order(&original, &edited, by_looks),
            Some((Side::Second, Sign::LaidOver)),
            "{what}"
        );
    }
    // A thing of the picture's own kind may have been put in, or be what was taken away.
    let mut patched = original.clone();
    let other = picture(6);
    for y in 60..120 {
        for x in 80..170 {
            patched.put_pixel(x, y, *other.get_pixel(x, y));
        }
    }
    assert_eq!(
        either_order(&original, &patched, by_looks),
        None,
        "a part of another picture"
    );
    assert_eq!(
        either_order(
            &original,
            &filled(&original, [0, 200, 320, 40], [255; 3], 1.0),
            by_looks
        ),
        None,
        "a plain white area: a page has such"
    );
    let page = filled(&original, [20, 70, 280, 80], [250; 3], 1.0);
    assert_eq!(
        either_order(&lettered(&page, [60, 40, 20]), &page, by_looks),
        None,
        "letters on a plain ground may have been wiped out"
    );
    assert_eq!(either_order(&original, &original.clone(), by_looks), None);
}

#[test]
fn cut_off_tones_are_told_from_those_that_were_dulled() {
    let original = picture(7);
    let hard = toned(&original, 2.2, 20.0);
    assert_eq!(
        either_order(&original, &hard, by_looks),
        Some((Side::Second, Sign::Clipped)),
        "more contrast than the scale has room for"
    );
    // The same the other way round: the picture has its cut-off tones from the start.
    let dull = toned(&hard, 0.7, 0.0);
    assert_eq!(
        either_order(&hard, &dull, by_looks),
        Some((Side::Second, Sign::Dulled)),
        "less contrast, and the cut-off tones with it"
    );
    let soft = toned(&original, 0.8, 10.0);
    assert_eq!(
        either_order(&original, &soft, by_looks),
        None,
        "nothing was lost at the ends of the scale"
    );
}

#[test]
fn the_steps_of_a_jpeg_are_read_row_by_row() {
    // Quality 50 has the tables of ITU-T T.81, annex K, as they stand there.
    let steps = grid(&jpeg(&picture(8), 50)).steps.expect("a JPEG has steps");
    assert_eq!(steps[..10], [16, 11, 10, 16, 24, 40, 51, 61, 12, 12]);
    assert_eq!(steps[56..], [72, 92, 95, 98, 112, 100, 103, 99]);
    let limits = DecodeLimits::default();
    let mut webp = Cursor::new(Vec::new());
    picture(8)
        .write_to(&mut webp, ImageFormat::WebP)
        .expect("encodes");
    assert!(
        coded(&webp.into_inner(), &limits).expect("reads").is_none(),
        "no grid to go by"
    );
}
