use image::RgbImage;
use image::imageops::{flip_horizontal, flip_vertical, rotate90, rotate180, rotate270};

use super::*;

/// A test pattern in integers: cells of pseudo-random tone over a slope.
fn pattern(width: u32, height: u32) -> RgbImage {
    let tone = |x: u32, y: u32, c: u32| {
        let mut cell = (x / 29).wrapping_mul(2_654_435_761)
            ^ (y / 23).wrapping_mul(2_246_822_519)
            ^ c.wrapping_mul(3_266_489_917);
        cell ^= cell >> 15;
        cell = cell.wrapping_mul(2_246_822_519);
        cell ^= cell >> 13;
        u8::try_from(((cell & 0xff) * 3 + (((x * (c + 2) + y * 3) / 4) & 0xff)) / 4).expect("a mean of bytes")
    };
    RgbImage::from_fn(width, height, |x, y| image::Rgb([0, 1, 2].map(|c| tone(x, y, c))))
}

fn transpose(image: &RgbImage) -> RgbImage {
    flip_horizontal(&rotate90(image))
}

/// Hashes and qualities that the reference implementation (C++, `pdqHash256FromFloatLuma`) gives for [`pattern`].
const REFERENCE: [(u32, u32, u8, &str); 8] = [
    (
        64,
        64,
        36,
        "588e56ab562ba9d4a35598cc56aa562b89d4a9546733988e56ab762ba9d4ab55",
    ),
    (
        100,
        75,
        65,
        "aa552cd9d58b2ad52a54d122d52a2ad54c99d1a72e5c9326d52aaad52ed9d5ab",
    ),
    (
        401,
        233,
        100,
        "2a1197e59be4e5cb909a91b22e4d6e4d6b351e1e69196c5645ec6495c78ae378",
    ),
    (
        640,
        480,
        100,
        "c91a80fd93dd305756eaa148b69a9f98fe721bb13dbe7420596ef76828c001ec",
    ),
    (
        5,
        5,
        0,
        "972664996cdbcb72318cc67395a4390ece73348d972664d968dbcb72318cc671",
    ),
    (
        7,
        300,
        91,
        "3c788236687d9296d762293c9296b19e92368037c727c6d3c6d37cd9c3873e70",
    ),
    (
        1200,
        900,
        100,
        "e99919b87f81e7338d7debf08ed584251ac8197c5cd0a680fc2bfa955ab0920d",
    ),
    (
        4,
        9,
        0,
        "0000000000000000000000000000000000000000000000000000000000000000",
    ),
];

/// The eight variants of the reference for [`pattern`] at 401 × 233.
const REFERENCE_VARIANTS: [&str; 8] = [
    "2a1197e59be4e5cb909a91b22e4d6e4d6b351e1e69196c5645ec6495c78ae378",
    "7c03ee4093b593bfabf0aca1e3c38b747c0e8ce66489730a1b6b9c231c723c5b",
    "5f443d4fc6b14f60c5cf1b187b18c4e71e20b0b43c4cc67c10b9ce3f92df49d2",
    "a95644eac6e0391dfea5064bb69621fe295b26cc31dcd9a0ce3e3689492796f1",
    "aa19681a9be41a35989a6e4d2e4d91b26b75e5e1691b93a955ec9b6ac78a1c87",
    "7f44c2b0ceb1b09fcdcfc4e77b183b183e604b4b3d4e390310b931c092dfb62d",
    "7c0311bf93b56c40a3f0535ee3c374ab7c0e731964898cf51b6b63dc1c52d3a4",
    "2956bb154260c6ead6a5f9b4b696de01294bd93331dc265f4e3ec9764907690e",
];

#[test]
fn equals_the_reference_bit_by_bit() {
    for (width, height, quality, hash) in REFERENCE {
        let got = pdq(&pattern(width, height));
        assert_eq!(
            (got.hash.to_string().as_str(), got.quality),
            (hash, quality),
            "{width} × {height}"
        );
    }
}

#[test]
fn variants_equal_the_reference_bit_by_bit() {
    let (hashes, quality) = pdq_dihedral(&pattern(401, 233));
    assert_eq!(hashes.map(|h| h.to_string()), REFERENCE_VARIANTS);
    assert_eq!(quality, 100);
}

#[test]
fn variants_are_the_hashes_of_the_turned_images() {
    let image = pattern(640, 480);
    let (variants, _) = pdq_dihedral(&image);
    let turned = [
        image.clone(),
        rotate270(&image),
        rotate180(&image),
        rotate90(&image),
        flip_vertical(&image),
        flip_horizontal(&image),
        transpose(&image),
        rotate180(&transpose(&image)),
    ];
    for (i, (variant, image)) in variants.iter().zip(&turned).enumerate() {
        let distance = variant.hamming(&pdq(image).hash);
        assert!(distance <= 24, "variant {i} is {distance} bits away");
        for (j, other) in variants.iter().enumerate() {
            assert!(
                i == j || other.hamming(&pdq(image).hash) > 60,
                "{i} resembles {j}"
            );
        }
    }
}

#[test]
fn flat_images_have_no_quality() {
    assert_eq!(
        pdq(&RgbImage::from_pixel(300, 200, image::Rgb([120, 80, 10]))).quality,
        0
    );
}
