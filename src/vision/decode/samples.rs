//! Formats that no library here can write: the files in `samples` hold the quadrants of the other tests, 96 × 64, or what
//! their names say.

use image::{Rgb, RgbImage};

use super::{DecodeLimits, decode};
use crate::types::ImageFormat;
use crate::vision::VisionError;

const RED: [u8; 3] = [250, 10, 10];
const GREEN: [u8; 3] = [10, 250, 10];
const BLUE: [u8; 3] = [10, 10, 250];
const WHITE: [u8; 3] = [250, 250, 250];

macro_rules! sample {
    ($name:literal) => {
        ($name, include_bytes!(concat!("samples/", $name)).as_slice())
    };
}

/// The middles of the quadrants: above left, above right, below left, below right.
fn quadrants(image: &RgbImage) -> [[u8; 3]; 4] {
    let (width, height) = image.dimensions();
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| {
        let &Rgb(colour) = image.get_pixel(x * width / 4, y * height / 4);
        colour
    })
}

fn check(
    (name, bytes): (&str, &[u8]),
    format: ImageFormat,
    sides: (u32, u32),
    wanted: [[u8; 3]; 4],
    tolerance: u8,
) {
    let image = decode(bytes, &DecodeLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(
        (image.format, image.width, image.height),
        (format, sides.0, sides.1),
        "{name}"
    );
    assert_eq!(image.pixels.dimensions(), sides, "{name}");
    let seen = quadrants(&image.pixels);
    let off = seen
        .iter()
        .flatten()
        .zip(wanted.iter().flatten())
        .map(|(a, b)| a.abs_diff(*b));
    assert!(off.max() <= Some(tolerance), "{name}: {seen:?}");
}

#[test]
fn pixels_are_those_that_were_stored() {
    let whole = [RED, GREEN, WHITE, BLUE];
    check(sample!("corners.jxl"), ImageFormat::Jxl, (96, 64), whole, 0);
    check(sample!("lossy.jxl"), ImageFormat::Jxl, (96, 64), whole, 6);
    check(sample!("corners.heic"), ImageFormat::Heic, (96, 64), whole, 6);
    check(sample!("deep.heic"), ImageFormat::Heic, (96, 64), whole, 6);
    check(sample!("corners.avif"), ImageFormat::Avif, (96, 64), whole, 6);
    check(sample!("deep.avif"), ImageFormat::Avif, (96, 64), whole, 6);
    check(sample!("deep422.avif"), ImageFormat::Avif, (96, 64), whole, 6);
    check(sample!("lossless.avif"), ImageFormat::Avif, (96, 64), whole, 0);
    let grey = [82, 154, 250, 37].map(|luma| [luma; 3]);
    check(sample!("grey.avif"), ImageFormat::Avif, (96, 64), grey, 6);
}

#[test]
fn a_turn_of_the_container_is_done_once_though_exif_repeats_it() {
    let turned = [WHITE, RED, BLUE, GREEN];
    check(sample!("turned.heic"), ImageFormat::Heic, (64, 96), turned, 6);
    check(sample!("turned.avif"), ImageFormat::Avif, (64, 96), turned, 6);
}

#[test]
fn what_is_transparent_is_white() {
    let cleared = [[255; 3], GREEN, WHITE, BLUE];
    check(sample!("opacity.heic"), ImageFormat::Heic, (96, 64), cleared, 6);
    check(sample!("opacity.avif"), ImageFormat::Avif, (96, 64), cleared, 6);
}

const ALL: [(&str, &[u8]); 12] = [
    sample!("corners.jxl"),
    sample!("lossy.jxl"),
    sample!("corners.heic"),
    sample!("deep.heic"),
    sample!("opacity.heic"),
    sample!("turned.heic"),
    sample!("corners.avif"),
    sample!("deep.avif"),
    sample!("deep422.avif"),
    sample!("grey.avif"),
    sample!("opacity.avif"),
    sample!("turned.avif"),
];

#[test]
fn limits_are_checked_against_the_header() {
    let limits = DecodeLimits {
        max_pixels: 96 * 64 - 1,
        ..DecodeLimits::default()
    };
    for (name, bytes) in ALL {
        let error = decode(bytes, &limits).expect_err(name);
        assert!(
            matches!(error, VisionError::TooManyPixels { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_file_that_ends_early_is_refused() {
    for (name, bytes) in ALL {
        // the last bytes of a file may be padding
        for end in (16..bytes.len() * 9 / 10).step_by(7) {
            let error = decode(&bytes[..end], &DecodeLimits::default()).map(|_| ());
            assert!(error.is_err(), "{name}, {end} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_damaged_file_never_takes_the_process_with_it() {
    let limits = DecodeLimits {
        max_pixels: 96 * 64 * 2,
        ..DecodeLimits::default()
    };
    for (name, bytes) in ALL {
        for at in (0..bytes.len()).step_by(5) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= [0xff, 0x01, 0x80][at % 3];
            if let Ok(image) = decode(&damaged, &limits) {
                assert_eq!(
                    image.pixels.dimensions(),
                    (image.width, image.height),
                    "{name}, byte {at}"
                );
            }
        }
    }
}
