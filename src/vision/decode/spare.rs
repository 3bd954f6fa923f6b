//! Pixel buffers that go from one image to the next on a thread: a fresh one would be cleared by the system, page by page.

use std::cell::Cell;

use image::RgbImage;

/// Larger buffers are given back to the system (8 megapixels).
const LARGEST_KEPT: usize = 24_000_000;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A buffer of `length` bytes; what is in them is left over from before and has to be written over.
pub(super) fn buffer(length: usize) -> Vec<u8> {
    let mut spare = SPARE.take();
    if spare.capacity() < length {
        return vec![0; length];
    }
    spare.resize(length, 0);
    spare
}

/// Keeps an image's buffer for the next image that is decoded on this thread.
pub(in crate::vision) fn keep(image: RgbImage) {
    let buffer = image.into_raw();
    if buffer.capacity() <= LARGEST_KEPT {
        SPARE.set(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_buffer_is_used_again_and_a_giant_is_not_kept() {
        keep(RgbImage::new(100, 10));
        let again = buffer(2000);
        assert_eq!((again.len(), again.capacity()), (2000, 3000));
        assert_eq!(buffer(2000).capacity(), 2000, "only one image can have it");
        keep(RgbImage::new(5000, 2000));
        assert_eq!(buffer(10).capacity(), 10);
    }
}
