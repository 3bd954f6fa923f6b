//! Files for tests that hold more than the picture that is compared.

use crate::vision::RgbImage;

/// A TIFF file of uncompressed pages.
pub(crate) fn tiff(pages: &[&RgbImage]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    for (number, page) in (1..).zip(pages) {
        let samples = page.as_raw();
        let entries = 9;
        let after = file.len() + 2 + 12 * entries + 4;
        let [depth, strip, end] = [after, after + 6, after + 6 + samples.len()].map(|at| at as u32);
        let tags = [
            (256, 4, 1, page.width()),
            (257, 4, 1, page.height()),
            (258, 3, 3, depth),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, strip),
            (277, 3, 1, 3),
            (278, 4, 1, page.height()),
            (279, 4, 1, samples.len() as u32),
        ];
        file.extend((entries as u16).to_le_bytes());
        for (tag, kind, count, value) in tags {
            let [tag, kind] = [tag, kind].map(u16::to_le_bytes);
            file.extend([tag, kind].concat());
            file.extend([count, value].map(u32::to_le_bytes).concat());
        }
        file.extend(if number < pages.len() { end } else { 0 }.to_le_bytes());
        file.extend([8, 0, 8, 0, 8, 0]);
        file.extend(samples);
    }
    file
}

/// A PAM file of an image with transparency.
pub(crate) fn pam(image: &RgbImage, alpha: impl Fn(u32, u32) -> u8) -> Vec<u8> {
    let (width, height) = image.dimensions();
    let header =
        format!("P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n");
    let pixels = image
        .enumerate_pixels()
        .flat_map(|(x, y, p)| [p[0], p[1], p[2], alpha(x, y)]);
    header.bytes().chain(pixels).collect()
}
