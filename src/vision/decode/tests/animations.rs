//! Files of several frames, made in code.

use image::codecs::gif::GifEncoder;
use image::{DynamicImage, Frame, ImageFormat as Codec, RgbImage};

use super::*;

#[test]
fn animations_give_their_first_frame() {
    let frame = |image: RgbImage| Frame::new(DynamicImage::ImageRgb8(image).into_rgba8());
    let (first, second) = (corners(16, 16), RgbImage::new(16, 16));
    let mut gif = Vec::new();
    GifEncoder::new(&mut gif)
        .encode_frames([frame(first.clone()), frame(second.clone())])
        .expect("encodes");
    assert!(near(&read(&gif).pixels, &first, 8), "GIF");
    // composing the frame on its canvas rounds
    assert!(
        near(&read(&animated_webp(&[&first, &second])).pixels, &first, 1),
        "WebP"
    );
    assert_eq!(read(&animated_png(&first, &second)).pixels, first, "PNG");
}

#[test]
fn animations_with_one_first_frame_are_different_pictures() {
    let frame = |image: &RgbImage| Frame::new(DynamicImage::ImageRgb8(image.clone()).into_rgba8());
    let gif = |frames: &[&RgbImage]| {
        let mut gif = Vec::new();
        GifEncoder::new(&mut gif)
            .encode_frames(frames.iter().copied().map(frame))
            .expect("encodes");
        gif
    };
    let sampled = |bytes: &[u8]| {
        let budget = PixelBudget::new(1_000_000);
        sample(bytes, &DecodeLimits::default(), Demand::Full, &budget).expect("decodes")
    };
    let (first, second, third) = (corners(16, 16), RgbImage::new(16, 16), corners(16, 16));
    let third = orient(third.into(), Orientation::Rotate180).into_rgb8();
    let pairs = [
        (gif(&[&first, &second]), gif(&[&first, &third])),
        (
            animated_webp(&[&first, &second]),
            animated_webp(&[&first, &third]),
        ),
        (animated_png(&first, &second), animated_png(&first, &third)),
    ];
    for (one, other) in pairs {
        let (one, other) = (sampled(&one), sampled(&other));
        assert!(one.beyond.frames && other.beyond.frames, "{}", one.decoded.format);
        assert_ne!(one.pixel_hash, other.pixel_hash, "{}", one.decoded.format);
    }
    assert!(!sampled(&gif(&[&first])).beyond.frames);
    let still = sampled(&encoded(first.clone(), Codec::Png));
    assert!(!still.beyond.frames && !still.beyond.transparency);
    assert_eq!(still.pixel_hash, fingerprint::pixel_hash(&first));
}

pub(super) fn animated_webp(frames: &[&RgbImage]) -> Vec<u8> {
    let chunk = |name: &[u8], body: &[u8]| {
        let length = u32::try_from(body.len()).expect("short").to_le_bytes();
        let padding = vec![0; body.len() % 2];
        [name, &length, body, &padding].concat()
    };
    let mut body = b"WEBP".to_vec();
    // flag: animation; canvas 16 × 16
    body.extend(chunk(b"VP8X", &[2, 0, 0, 0, 15, 0, 0, 15, 0, 0]));
    body.extend(chunk(b"ANIM", &[0; 6]));
    for frame in frames {
        let still = encoded((*frame).clone(), Codec::WebP);
        let header = [0, 0, 0, 0, 0, 0, 15, 0, 0, 15, 0, 0, 100, 0, 0, 0];
        body.extend(chunk(b"ANMF", &[&header, &still[12..]].concat()));
    }
    chunk(b"RIFF", &body)
}

fn animated_png(first: &RgbImage, second: &RgbImage) -> Vec<u8> {
    let chunk = |name: &[u8], body: &[u8]| {
        let typed = [name, body].concat();
        let length = u32::try_from(body.len()).expect("short").to_be_bytes();
        [&length[..], &typed, &crc32fast::hash(&typed).to_be_bytes()].concat()
    };
    let control = |sequence: u8| {
        let mut body = vec![0, 0, 0, sequence, 0, 0, 0, 16, 0, 0, 0, 16];
        body.extend([0; 8]);
        body.extend([0, 1, 0, 10, 0, 0]);
        chunk(b"fcTL", &body)
    };
    let data = |png: &[u8]| {
        let at = png.windows(4).position(|w| w == b"IDAT").expect("has data");
        let length = u32::from_be_bytes(png[at - 4..at].try_into().expect("four bytes")) as usize;
        png[at + 4..at + 4 + length].to_vec()
    };
    let png = encoded(first.clone(), Codec::Png);
    let frame = [&[0, 0, 0, 2], &data(&encoded(second.clone(), Codec::Png))[..]].concat();
    // signature and header are 33 bytes
    [
        &png[..33],
        &chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0]),
        &control(0),
        &chunk(b"IDAT", &data(&png)),
        &control(1),
        &chunk(b"fdAT", &frame),
        &chunk(b"IEND", &[]),
    ]
    .concat()
}
