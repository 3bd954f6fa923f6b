//! Searches of a service, by files.

use std::path::Path;

use doppel::vision::{RgbImage, thumbnail};

use crate::server::{Server, client, doppel, upload};

/// Blocks of noise of several sizes, different for every seed.
fn textured(seed: u32, width: u32, height: u32) -> RgbImage {
    let noise = |x: u32, y: u32, side: u32, channel: u32| {
        [x / side, y / side, side, channel]
            .iter()
            .fold(seed, |v, part| (v ^ v >> 15 ^ part).wrapping_mul(0x85eb_ca6b))
            >> 24
    };
    RgbImage::from_fn(width, height, |x, y| {
        let blocks = |channel| [40, 17, 7].map(|side| noise(x, y, side, channel));
        let level = |channel| (blocks(channel).iter().sum::<u32>() / 3) as u8;
        [level(0), level(1), level(2)].into()
    })
}

/// `picture` at a third of its size within a slope of grey.
fn pasted(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let (left, top) = (width / 3, height / 4);
    RgbImage::from_fn(width, height, |x, y| {
        let at = |place: u32, from: u32| place.checked_sub(from).map(|inner| inner * 3);
        match (at(x, left), at(y, top)) {
            (Some(x), Some(y)) if x < width && y < height => *picture.get_pixel(x, y),
            _ => [(y * 255 / height) as u8; 3].into(),
        }
    })
}

/// Its descriptors promise little, but more than those of any other picture.
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_pasted_into_another_one_is_found_where_nothing_is_likelier() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(&folder.path().join("data"));
    let http = client();
    let picture = textured(1, 480, 360);
    let stored = thumbnail::encode(&picture).expect("encodes");
    upload(&http, &server.base, stored).await.expect("taken in");
    for (image, name) in [
        (pasted(&picture), "copy"),
        (pasted(&textured(2, 480, 360)), "other"),
    ] {
        std::fs::write(
            folder.path().join(name),
            thumbnail::encode(&image).expect("encodes"),
        )
        .expect("writable");
    }
    let found = search(folder.path(), &server, "copy");
    assert!(found.contains("edited"), "{found}");
    let found = search(folder.path(), &server, "other");
    assert!(!found.contains("edited"), "{found}");
}

/// What `doppel search` prints for a file.
fn search(folder: &Path, server: &Server, file: &str) -> String {
    let output = doppel()
        .args(["search", file, "--server", &server.base])
        .current_dir(folder)
        .output()
        .expect("the binary runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
