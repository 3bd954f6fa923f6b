//! ICC profiles: pixels of another colour space become sRGB, where that can be seen.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use image::RgbImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, Transform8BitExecutor, TransformOptions};
use parking_lot::Mutex;

/// Gaps of this many levels (of 255) between a colour and its sRGB are rounding, not another colour space.
const TOLERANCE: u8 = 3;
/// Steps of each channel over which a profile is compared with sRGB.
const STEPS: [u8; 5] = [0, 64, 128, 192, 255];
/// Profiles remembered; beyond them all are forgotten. Photographs of a folder share a few.
const REMEMBERED: usize = 64;

/// The way of a profile's colours to sRGB.
#[derive(Clone)]
pub(super) struct Conversion {
    transform: Arc<Transform8BitExecutor>,
}

/// By the BLAKE3 of a profile: its conversion, or nothing where none is needed. Preparing one costs more than using it.
static KNOWN: LazyLock<Mutex<HashMap<blake3::Hash, Option<Conversion>>>> = LazyLock::new(Mutex::default);

impl Conversion {
    /// The conversion that a profile asks for. `None` when the profile is sRGB as far as eyes can tell, is not one of RGB
    /// (inks and greys are converted without it), or cannot be read: then viewers too show the pixels as they are.
    pub(super) fn of(icc: &[u8]) -> Option<Self> {
        let key = blake3::hash(icc);
        if let Some(known) = KNOWN.lock().get(&key) {
            return known.clone();
        }
        let conversion = Self::prepare(icc);
        let mut known = KNOWN.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, conversion.clone());
        conversion
    }

    fn prepare(icc: &[u8]) -> Option<Self> {
        let profile = ColorProfile::new_from_slice(icc).ok()?;
        if profile.color_space != DataColorSpace::Rgb {
            return None;
        }
        let transform = profile
            .create_transform_8bit(
                Layout::Rgb,
                &ColorProfile::new_srgb(),
                Layout::Rgb,
                TransformOptions::default(),
            )
            .ok()?;
        let colours: Vec<u8> = STEPS
            .iter()
            .flat_map(|&r| STEPS.iter().map(move |&g| (r, g)))
            .flat_map(|(r, g)| STEPS.iter().flat_map(move |&b| [r, g, b]))
            .collect();
        let mut seen = vec![0; colours.len()];
        transform.transform(&colours, &mut seen).ok()?;
        let same = colours
            .iter()
            .zip(&seen)
            .all(|(a, b)| a.abs_diff(*b) <= TOLERANCE);
        (!same).then_some(Self { transform })
    }

    /// Converts every pixel.
    pub(super) fn apply(&self, image: &mut RgbImage) {
        let stride = image.width() as usize * 3;
        let mut stored = vec![0; stride];
        for line in image.as_flat_samples_mut().samples.chunks_exact_mut(stride) {
            stored.copy_from_slice(line);
            if self.transform.transform(&stored, line).is_err() {
                // lengths are the only thing it can object to, and they are equal
                line.copy_from_slice(&stored);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder as _, Rgb};

    use super::super::{DecodeLimits, Decoded, Demand, PixelBudget, Sampled, decode, sample};
    use super::*;
    use crate::vision::thumbnail;

    /// Fields of one colour each, inside sRGB in all of the colour spaces below.
    fn fields(width: u32, height: u32) -> RgbImage {
        const COLOURS: [Rgb<u8>; 4] = [
            Rgb([190, 90, 80]),
            Rgb([130, 165, 110]),
            Rgb([90, 100, 200]),
            Rgb([128, 128, 128]),
        ];
        RgbImage::from_fn(width, height, |x, _| COLOURS[(x * 4 / width) as usize])
    }

    fn jpeg(image: &RgbImage, icc: &[u8]) -> Vec<u8> {
        let file = thumbnail::encode(image).expect("encodes");
        let mut with_profile = file[..2].to_vec();
        let parts: Vec<&[u8]> = icc.chunks(300).collect();
        // the parts are numbered, and need not come in order
        for (i, part) in parts.iter().enumerate().rev() {
            let payload = [
                b"ICC_PROFILE\0".as_slice(),
                &[i as u8 + 1, parts.len() as u8],
                part,
            ]
            .concat();
            let length = u16::try_from(payload.len() + 2).expect("short").to_be_bytes();
            with_profile.extend([b"\xff\xe2".as_slice(), &length, &payload].concat());
        }
        with_profile.extend(&file[2..]);
        with_profile
    }

    fn png(image: &RgbImage, icc: &[u8]) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = PngEncoder::new(&mut bytes);
        encoder.set_icc_profile(icc.to_vec()).expect("PNG takes profiles");
        let (width, height) = image.dimensions();
        encoder
            .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
            .expect("encodes");
        bytes.into_inner()
    }

    fn read(file: &[u8]) -> Decoded {
        decode(file, &DecodeLimits::default()).expect("decodes")
    }

    fn sampled(file: &[u8]) -> Sampled {
        let demand = Demand::AtLeast {
            long: 400,
            short: 160,
        };
        sample(
            file,
            &DecodeLimits::default(),
            demand,
            &PixelBudget::new(u64::MAX),
        )
        .expect("decodes")
    }

    /// What a colour is in sRGB, from the primaries of its space and the curves of both: `to_linear` and the rows of a
    /// matrix from its linear light to that of sRGB.
    fn expected(colour: Rgb<u8>, to_linear: fn(f64) -> f64, matrix: [[f64; 3]; 3]) -> [f64; 3] {
        let linear = colour.0.map(|c| to_linear(f64::from(c) / 255.0));
        matrix.map(|row| {
            let light: f64 = row.iter().zip(linear).map(|(m, l)| m * l).sum();
            let curved = if light <= 0.003_130_8 {
                12.92 * light
            } else {
                1.055 * light.powf(1.0 / 2.4) - 0.055
            };
            255.0 * curved
        })
    }

    fn srgb_curve(x: f64) -> f64 {
        if x <= 0.040_45 {
            x / 12.92
        } else {
            ((x + 0.055) / 1.055).powf(2.4)
        }
    }

    const P3_TO_SRGB: [[f64; 3]; 3] = [
        [1.224_94, -0.224_94, 0.0],
        [-0.042_06, 1.042_06, 0.0],
        [-0.019_64, -0.078_64, 1.098_28],
    ];
    const ADOBE_TO_SRGB: [[f64; 3]; 3] = [
        [1.398_36, -0.398_36, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, -0.042_93, 1.042_93],
    ];

    #[test]
    fn wide_colours_become_srgb_in_jpeg_and_png() {
        let image = fields(64, 32);
        let spaces = [
            (
                ColorProfile::new_display_p3(),
                srgb_curve as fn(f64) -> f64,
                P3_TO_SRGB,
            ),
            (
                ColorProfile::new_adobe_rgb(),
                |x| x.powf(563.0 / 256.0),
                ADOBE_TO_SRGB,
            ),
        ];
        for (profile, curve, matrix) in spaces {
            let icc = profile.encode().expect("encodes");
            for (file, tolerance) in [(jpeg(&image, &icc), 6.0), (png(&image, &icc), 2.0)] {
                let seen = read(&file).pixels;
                for x in [8, 24, 40, 56] {
                    let wanted = expected(*image.get_pixel(x, 16), curve, matrix);
                    for (got, wanted) in seen.get_pixel(x, 16).0.into_iter().zip(wanted) {
                        assert!(
                            (f64::from(got) - wanted).abs() <= tolerance,
                            "{got} for {wanted} at {x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn srgb_and_unreadable_profiles_leave_the_pixels_alone() {
        let image = fields(64, 32);
        let srgb = ColorProfile::new_srgb().encode().expect("encodes");
        for icc in [srgb.as_slice(), b"no profile at all"] {
            assert_eq!(read(&png(&image, icc)).pixels, image);
            assert_eq!(
                read(&jpeg(&image, icc)).pixels,
                read(&thumbnail::encode(&image).expect("encodes")).pixels
            );
        }
    }

    #[test]
    fn a_profile_that_matters_is_part_of_a_large_jpegs_identity() {
        let image = fields(2000, 1500);
        let identity = |icc: &[u8]| sampled(&jpeg(&image, icc)).pixel_hash;
        let plain = sampled(&thumbnail::encode(&image).expect("encodes")).pixel_hash;
        assert_eq!(
            identity(&ColorProfile::new_srgb().encode().expect("encodes")),
            plain
        );
        let p3 = identity(&ColorProfile::new_display_p3().encode().expect("encodes"));
        let adobe = identity(&ColorProfile::new_adobe_rgb().encode().expect("encodes"));
        assert!(p3 != plain && adobe != plain && p3 != adobe);
    }
}
