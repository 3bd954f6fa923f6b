//! Formats that no library here can write: the files in `samples` hold the quadrants of the other tests, 96 × 64, or what
//! their names say.

use image::{Rgb, RgbImage, imageops};

use super::tests::{corners, near, quadrants};
use super::{DecodeLimits, decode};
use crate::types::ImageFormat;
use crate::vision::VisionError;

macro_rules! sample {
    ($name:literal) => {
        ($name, include_bytes!(concat!("samples/", $name)).as_slice())
    };
}

fn check((name, bytes): (&str, &[u8]), format: ImageFormat, wanted: &RgbImage, tolerance: u8) {
    let image = decode(bytes, &DecodeLimits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(
        (image.format, (image.width, image.height)),
        (format, wanted.dimensions()),
        "{name}"
    );
    assert_eq!(image.pixels.dimensions(), wanted.dimensions(), "{name}");
    let seen = quadrants(&image.pixels);
    assert!(near(&seen, &quadrants(wanted), tolerance), "{name}: {seen:?}");
}

#[test]
fn pixels_are_those_that_were_stored() {
    let whole = corners(96, 64);
    check(sample!("corners.jxl"), ImageFormat::Jxl, &whole, 0);
    check(sample!("lossy.jxl"), ImageFormat::Jxl, &whole, 6);
    check(sample!("corners.heic"), ImageFormat::Heic, &whole, 6);
    check(sample!("deep.heic"), ImageFormat::Heic, &whole, 6);
    check(sample!("corners.avif"), ImageFormat::Avif, &whole, 6);
    check(sample!("deep.avif"), ImageFormat::Avif, &whole, 6);
    check(sample!("deep422.avif"), ImageFormat::Avif, &whole, 6);
    check(sample!("lossless.avif"), ImageFormat::Avif, &whole, 0);
    let mut grey = whole;
    for Rgb(pixel) in grey.pixels_mut() {
        let [r, g, b] = pixel.map(f32::from);
        *pixel = [(0.299 * r + 0.587 * g + 0.114 * b) as u8; 3];
    }
    check(sample!("grey.avif"), ImageFormat::Avif, &grey, 6);
}

#[test]
fn a_turn_of_the_container_is_done_once_though_exif_repeats_it() {
    let turned = imageops::rotate90(&corners(96, 64));
    check(sample!("turned.heic"), ImageFormat::Heic, &turned, 6);
    check(sample!("turned.avif"), ImageFormat::Avif, &turned, 6);
}

#[test]
fn what_is_transparent_is_white() {
    let mut cleared = corners(96, 64);
    imageops::replace(&mut cleared, &RgbImage::from_pixel(48, 32, Rgb([255; 3])), 0, 0);
    check(sample!("opacity.heic"), ImageFormat::Heic, &cleared, 6);
    check(sample!("opacity.avif"), ImageFormat::Avif, &cleared, 6);
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
