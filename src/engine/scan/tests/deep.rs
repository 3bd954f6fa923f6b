//! Deep scans, with a network that sees colour alone.

use super::*;

/// Embeds along the axis of the commonest colour.
struct Colour;

impl Embedder for Colour {
    fn embed(&self, images: &[RgbImage]) -> Result<Vec<Embedding>, VisionError> {
        let embed = |image: &RgbImage| {
            let mut sums = [0u64; 3];
            image
                .pixels()
                .for_each(|pixel| (0..3).for_each(|c| sums[c] += u64::from(pixel[c])));
            let axis = (0..3).max_by_key(|c| sums[*c]).expect("three colours");
            let vector: Vec<f32> = (0..3).map(|c| if c == axis { 1.0 } else { 0.0 }).collect();
            Embedding::normalised(&vector).expect("a direction")
        };
        Ok(images.iter().map(embed).collect())
    }

    fn dim(&self) -> usize {
        3
    }

    fn model_hash(&self) -> ModelHash {
        ModelHash::from_bytes([4; 32])
    }

    fn input_size(&self) -> u32 {
        16
    }
}

/// A picture with little of all colours but one.
fn tinted(seed: u64, width: u32, height: u32, colour: usize) -> RgbImage {
    let mut image = picture(seed, width, height);
    for pixel in image.pixels_mut() {
        (0..3).filter(|c| *c != colour).for_each(|c| pixel[c] /= 3);
    }
    image
}

#[test]
fn a_deep_scan_finds_a_picture_within_another_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let green = tinted(1, 200, 150, 1);
    let mut collage = tinted(2, 400, 300, 0);
    for (x, y, pixel) in green.enumerate_pixels() {
        collage.put_pixel(200 + x, 150 + y, *pixel);
    }
    fs::write(root.join("green.jpg"), jpeg(&green)).expect("written");
    fs::write(root.join("collage.jpg"), jpeg(&collage)).expect("written");
    fs::write(root.join("blue.jpg"), jpeg(&tinted(3, 300, 300, 2))).expect("written");
    let found = |deep: bool| {
        let options = ScanOptions {
            deep,
            ..options(root)
        };
        let report = scan(&options, Arc::new(Colour), &|_| {}).expect("the scan succeeds");
        groups(&report)
    };
    assert_eq!(
        found(false),
        Vec::<Vec<String>>::new(),
        "as a whole they have nothing in common"
    );
    let found = found(true);
    assert_eq!(found.len(), 1, "{found:?}");
    let mut names: Vec<&str> = found[0]
        .iter()
        .filter_map(|name| name.split(' ').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["collage.jpg", "green.jpg"]);
}
