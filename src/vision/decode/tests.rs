mod animations;

use image::{DynamicImage, ImageBuffer, ImageFormat as Codec, Luma, Rgb, RgbImage, Rgba, RgbaImage};
use proptest::prelude::*;
use std::io::Cursor;

use super::*;
use crate::error::ErrorKind;
use animations::animated_webp;

/// A picture whose corners differ, so that every orientation can be told: red, green, blue, white clockwise.
pub(super) fn corners(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| match (x * 2 < width, y * 2 < height) {
        (true, true) => Rgb([250, 10, 10]),
        (false, true) => Rgb([10, 250, 10]),
        (false, false) => Rgb([10, 10, 250]),
        (true, false) => Rgb([250, 250, 250]),
    })
}

fn encoded(image: impl Into<DynamicImage>, codec: Codec) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, codec).expect("encodes");
    bytes.into_inner()
}

fn jpeg(image: &RgbImage) -> Vec<u8> {
    crate::vision::thumbnail::encode(image).expect("encodes")
}

/// Puts an EXIF segment with one orientation tag behind the JPEG's start marker.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [
        b"MM\0*\0\0\0\x08".as_slice(),
        b"\0\x01\x01\x12\0\x03\0\0\0\x01\0",
        &[orientation],
        b"\0\0\0\0\0\0",
    ]
    .concat();
    let length = u16::try_from(2 + 6 + tiff.len()).expect("short").to_be_bytes();
    [b"\xff\xd8\xff\xe1", &length[..], b"Exif\0\0", &tiff, &jpeg[2..]].concat()
}

fn read(bytes: &[u8]) -> Decoded {
    decode(bytes, &DecodeLimits::default()).expect("decodes")
}

fn refused(bytes: &[u8]) -> VisionError {
    let error = decode(bytes, &DecodeLimits::default()).expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error
}

pub(super) fn near(a: &RgbImage, b: &RgbImage, tolerance: u8) -> bool {
    a.dimensions() == b.dimensions()
        && a.as_raw()
            .iter()
            .zip(b.as_raw())
            .all(|(a, b)| a.abs_diff(*b) <= tolerance)
}

/// The middles of the four quadrants, as an image of 2 × 2: away from the edges, where JPEG's chroma bleeds.
pub(super) fn quadrants(image: &RgbImage) -> RgbImage {
    let middle = |i: u32, side: u32| (2 * i + 1) * side / 4;
    RgbImage::from_fn(2, 2, |x, y| {
        *image.get_pixel(middle(x, image.width()), middle(y, image.height()))
    })
}

#[test]
fn lossless_formats_keep_every_pixel() {
    let image = corners(37, 21);
    for (codec, format) in [
        (Codec::Png, ImageFormat::Png),
        (Codec::WebP, ImageFormat::WebP),
        (Codec::Bmp, ImageFormat::Bmp),
        (Codec::Tiff, ImageFormat::Tiff),
        (Codec::Pnm, ImageFormat::Pnm),
        (Codec::Qoi, ImageFormat::Qoi),
        (Codec::Ico, ImageFormat::Ico),
    ] {
        // an ICO holds RGBA
        let source = DynamicImage::ImageRgb8(image.clone()).into_rgba8();
        let decoded = match codec {
            Codec::Ico => read(&encoded(source, codec)),
            _ => read(&encoded(image.clone(), codec)),
        };
        assert_eq!((decoded.format, decoded.width, decoded.height), (format, 37, 21));
        assert_eq!(decoded.pixels, image, "{format}");
    }
    let decoded = read(&jpeg(&corners(64, 32)));
    assert_eq!(decoded.format, ImageFormat::Jpeg);
    assert!(near(&quadrants(&decoded.pixels), &corners(2, 2), 12));
}

#[test]
fn applies_each_of_the_eight_orientations() {
    use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};
    let stored = corners(64, 32);
    let transposed = flip_horizontal(&rotate90(&stored));
    let shown = [
        stored.clone(),
        flip_horizontal(&stored),
        rotate180(&stored),
        flip_vertical(&stored),
        transposed.clone(),
        rotate90(&stored),
        rotate180(&transposed),
        rotate270(&stored),
    ];
    for (tag, expected) in (1..=8).zip(&shown) {
        let decoded = read(&with_orientation(&jpeg(&stored), tag));
        assert_eq!(
            (decoded.width, decoded.height),
            expected.dimensions(),
            "orientation {tag}"
        );
        assert!(
            near(&quadrants(&decoded.pixels), &quadrants(expected), 12),
            "orientation {tag}"
        );
    }
    for nonsense in [0, 9, 255] {
        assert_eq!(read(&with_orientation(&jpeg(&stored), nonsense)).width, 64);
    }
}

#[test]
fn alpha_is_laid_over_white_and_sixteen_bits_become_eight() {
    let mut glass = RgbaImage::from_pixel(8, 8, Rgba([200, 0, 0, 0]));
    glass.put_pixel(1, 1, Rgba([200, 0, 0, 255]));
    glass.put_pixel(2, 2, Rgba([200, 0, 0, 128]));
    let pixels = read(&encoded(glass, Codec::Png)).pixels;
    assert_eq!(pixels.get_pixel(0, 0).0, [255, 255, 255]);
    assert_eq!(pixels.get_pixel(1, 1).0, [200, 0, 0]);
    assert_eq!(pixels.get_pixel(2, 2).0, [227, 127, 127]);

    let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_fn(4, 4, |x, _| Luma([x as u16 * 21_845]));
    let pixels = read(&encoded(DynamicImage::ImageLuma16(deep), Codec::Png)).pixels;
    assert_eq!(
        [0, 1, 2, 3].map(|x| pixels.get_pixel(x, 0).0[0]),
        [0, 85, 170, 255]
    );
}

#[test]
fn reads_cmyk_and_ycck_jpeg() {
    // half covered with cyan, as Adobe stores it: inverted
    let cmyk: Vec<u8> = [127, 255, 255, 255].repeat(32 * 32);
    let mut compressor = turbojpeg::Compressor::new().expect("a compressor");
    for colorspace in [turbojpeg::Colorspace::CMYK, turbojpeg::Colorspace::YCCK] {
        compressor.set_colorspace(colorspace).expect("a colour space");
        let bytes = compressor
            .compress_to_vec(turbojpeg::Image {
                pixels: cmyk.as_slice(),
                width: 32,
                pitch: 128,
                height: 32,
                format: turbojpeg::PixelFormat::CMYK,
            })
            .expect("encodes");
        let expected = RgbImage::from_pixel(32, 32, Rgb([127, 255, 255]));
        assert!(near(&read(&bytes).pixels, &expected, 3), "{colorspace:?}");
    }
}

#[test]
fn an_icon_may_be_a_png_of_any_kind() {
    let icon = |png: &[u8]| {
        let mut file = b"\0\0\x01\0\x01\0".to_vec();
        file.extend([16, 16, 0, 0, 1, 0, 32, 0]);
        file.extend(u32::try_from(png.len()).expect("short").to_le_bytes());
        file.extend(22_u32.to_le_bytes());
        [&file, png].concat()
    };
    let image = corners(16, 16);
    let found = read(&icon(&encoded(image.clone(), Codec::Png)));
    assert_eq!((found.pixels, found.format), (image, ImageFormat::Ico));
    refused(&icon(b"\x89PNG\r\n\x1a\n"));
}

#[test]
fn huge_headers_are_refused_before_allocation() {
    let mut png = encoded(corners(8, 8), Codec::Png);
    png[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
    png[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
    let checksum = crc32fast::hash(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&checksum);
    assert_eq!(
        refused(&png).to_string(),
        "50000 × 50000 pixels exceed the limit of 100 megapixels"
    );

    let mut jpeg = jpeg(&corners(8, 8));
    let frame = jpeg
        .windows(2)
        .position(|w| w == [0xff, 0xc0])
        .expect("a frame header");
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0, 8]);
    assert!(matches!(
        refused(&jpeg),
        VisionError::SideTooLong { height: 60_000, .. }
    ));

    let small = DecodeLimits {
        max_file_bytes: 10,
        ..DecodeLimits::default()
    };
    assert!(matches!(
        decode(&png, &small),
        Err(VisionError::FileTooLarge { limit: 10, .. })
    ));
}

#[test]
fn truncated_files_are_refused_with_a_reason() {
    let image = RgbImage::from_fn(90, 70, |x, y| {
        let noise = (x * 7919 + y * 104_729 + x * y * 31) % 251;
        Rgb([noise as u8, (noise / 2) as u8, (x + y) as u8])
    });
    let files = [
        jpeg(&image),
        encoded(image.clone(), Codec::Png),
        encoded(image.clone(), Codec::Gif),
        encoded(image.clone(), Codec::WebP),
        encoded(image.clone(), Codec::Bmp),
        encoded(image.clone(), Codec::Tiff),
        encoded(image.clone(), Codec::Pnm),
        encoded(image, Codec::Qoi),
    ];
    for file in &files {
        for share in [10, 50, 90] {
            let cut = &file[..file.len() * share / 100];
            let text = refused(cut).to_string();
            assert!(
                text.starts_with("truncated") || text.starts_with("damaged"),
                "{share} %: {text}"
            );
        }
    }
    assert!(
        refused(&files[0][..files[0].len() / 2])
            .to_string()
            .starts_with("truncated JPEG: ")
    );
    assert!(
        refused(&files[1][..files[1].len() / 2])
            .to_string()
            .starts_with("truncated PNG: ")
    );
    assert!(matches!(refused(b""), VisionError::Empty));
    assert!(matches!(
        refused(b"holiday.jpg is a text"),
        VisionError::NotAnImage { .. }
    ));
}

#[test]
fn exif_tells_camera_and_time() {
    let entry = |tag: u16, text: &str, offset: u32| {
        let count = u32::try_from(text.len()).expect("short");
        [
            &tag.to_be_bytes()[..],
            &[0, 2],
            &count.to_be_bytes(),
            &offset.to_be_bytes(),
        ]
        .concat()
    };
    let (make, model, time) = ("Acme Works\0", "Acme Works Z9\0", "2021:06:07 08:09:10\0");
    let texts = 8 + 2 + 3 * 12 + 4 + 2 + 2 * 12 + 4;
    let offset = |before: usize| u32::try_from(texts + before).expect("short");
    let tiff = [
        b"MM\0*\0\0\0\x08\0\x03".as_slice(),
        &entry(0x010f, make, offset(0)),
        &entry(0x0110, model, offset(make.len())),
        b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x32\0\0\0\0\0\x02",
        &entry(0x9003, time, offset(make.len() + model.len())),
        b"\x92\x91\0\x02\0\0\0\x0342\0\0\0\0\0\0",
        make.as_bytes(),
        model.as_bytes(),
        time.as_bytes(),
    ]
    .concat();
    let length = u16::try_from(2 + 6 + tiff.len()).expect("short").to_be_bytes();
    let plain = jpeg(&corners(16, 16));
    let file = [b"\xff\xd8\xff\xe1", &length[..], b"Exif\0\0", &tiff, &plain[2..]].concat();
    let exif = read(&file).exif;
    assert_eq!(exif.camera.as_deref(), Some("Acme Works Z9"));
    assert_eq!(
        exif.taken.map(|t| t.to_string()).as_deref(),
        Some("2021-06-07 08:09:10")
    );
    assert_eq!(exif.taken_centis, 42);
    assert_eq!(read(&plain).exif, ExifSummary::default());
}

/// A JPEG large enough to be shrunk while it is decoded.
fn large() -> Vec<u8> {
    jpeg(&RgbImage::from_fn(2000, 1200, |x, y| {
        let wave = |f: f32| ((x as f32 * f).sin() * 50.0 + (y as f32 * f * 0.7).cos() * 60.0 + 128.0) as u8;
        Rgb([wave(0.004), wave(0.009), wave(0.02)])
    }))
}

fn sampled(bytes: &[u8]) -> Sampled {
    let demand = Demand::AtLeast {
        long: 400,
        short: 160,
    };
    sample(bytes, &DecodeLimits::default(), demand, &PixelBudget::new(1_000)).expect("decodes")
}

#[test]
fn a_large_jpeg_is_shrunk_but_keeps_its_dimensions_and_its_looks() {
    let file = large();
    let small = sampled(&file).decoded;
    assert_eq!((small.width, small.height), (2000, 1200));
    assert_eq!(small.pixels.dimensions(), (500, 300));
    let whole = resize::squash(&read(&file).pixels, 500, 300);
    assert!(near(&small.pixels, &whole, 6));

    let turned = sampled(&with_orientation(&file, 6)).decoded;
    assert_eq!((turned.width, turned.height), (1200, 2000));
    assert_eq!(turned.pixels, image::imageops::rotate90(&small.pixels));

    let strip = Demand::AtLeast {
        long: 400,
        short: 700,
    };
    let taller = decode_to(&file, &DecodeLimits::default(), strip).expect("decodes");
    assert_eq!(taller.pixels.dimensions(), (2000, 1200));
}

#[test]
fn metadata_does_not_change_the_identity_of_a_large_jpeg_and_pixels_do() {
    let file = large();
    let hash = |bytes: &[u8]| sampled(bytes).pixel_hash;
    let comment = [b"\xff\xd8\xff\xfe\0\x07hello", &file[2..]].concat();
    assert_eq!(hash(&comment), hash(&file));
    assert_eq!(hash(&with_orientation(&file, 1)), hash(&file));
    assert_ne!(hash(&with_orientation(&file, 3)), hash(&file));

    // another value in the quantisation table: other pixels from the same coefficients
    let mut other = file.clone();
    let table = other
        .windows(2)
        .position(|w| w == [0xff, 0xdb])
        .expect("a quantisation table");
    other[table + 5] ^= 1;
    assert_ne!(hash(&other), hash(&file));
    let mut other = file.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    let changed = sample(
        &other,
        &DecodeLimits::default(),
        Demand::Full,
        &PixelBudget::new(1),
    );
    assert!(changed.is_err() || changed.is_ok_and(|s| s.pixel_hash != hash(&file)));
}

#[test]
fn a_small_image_has_one_identity_in_every_container() {
    let image = corners(40, 30);
    let hash = |codec| sampled(&encoded(image.clone(), codec)).pixel_hash;
    assert_eq!(hash(Codec::Png), fingerprint::pixel_hash(&image));
    assert_eq!(hash(Codec::Png), hash(Codec::Bmp));
    let from_jpeg = read(&jpeg(&image)).pixels;
    assert_eq!(
        sampled(&jpeg(&image)).pixel_hash,
        sampled(&encoded(from_jpeg, Codec::Png)).pixel_hash
    );
}

fn samples() -> Vec<Vec<u8>> {
    let image = corners(24, 20);
    let mut files: Vec<Vec<u8>> = [
        Codec::Png,
        Codec::WebP,
        Codec::Gif,
        Codec::Bmp,
        Codec::Tiff,
        Codec::Ico,
        Codec::Pnm,
        Codec::Qoi,
        Codec::Tga,
    ]
    .map(|codec| match codec {
        Codec::Ico => encoded(DynamicImage::ImageRgb8(image.clone()).into_rgba8(), codec),
        _ => encoded(image.clone(), codec),
    })
    .into();
    if let Some(tga) = files.last_mut() {
        tga.extend(b"\0\0\0\0\0\0\0\0TRUEVISION-XFILE.\0");
    }
    files.push(with_orientation(&jpeg(&image), 6));
    files.push(animated_webp(&[&corners(16, 16), &corners(16, 16)]));
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 600 } else { 2_000 }))]

    /// Whatever is flipped or cut, the answer is an image or a reason, never a panic and never a huge allocation.
    #[test]
    fn hostile_bytes_give_an_image_or_a_reason(
        which in 0_usize..11,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        keep in 0.0_f64..=1.2,
    ) {
        let mut file = samples().swap_remove(which);
        for (at, byte) in &flips {
            let at = at.index(file.len());
            file[at] = *byte;
        }
        if keep < 1.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a short length")]
            file.truncate((file.len() as f64 * keep) as usize);
        }
        let limits = DecodeLimits { max_pixels: 1_000_000, max_side: 5_000, max_file_bytes: 1 << 20 };
        match decode(&file, &limits) {
            Ok(decoded) => prop_assert!(decoded.width > 0 && u64::from(decoded.width) * u64::from(decoded.height) <= 1_000_000),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
