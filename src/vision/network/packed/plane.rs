//! Activations between two layers: NHWC with a border of one zero pixel, so that windows need no edge cases.

/// Makes a buffer at least `length` long. It never shrinks, so that what is written over anyway is not cleared again.
pub(super) fn grow(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
}

/// `count` images of `height` × `width` × `channels`, each inside a border of zeros one pixel wide.
#[derive(Debug, Default)]
pub(super) struct Plane {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    data: Vec<f32>,
}

impl Plane {
    /// Takes a new shape and clears the borders; what is inside them is left to be written. Memory is reused.
    pub(super) fn reshape(&mut self, count: usize, [height, width, channels]: [usize; 3]) {
        (self.count, self.height, self.width, self.channels) = (count, height, width, channels);
        let row = self.row_stride();
        let stride = self.image_stride();
        grow(&mut self.data, count * stride);
        for image in self.data.chunks_exact_mut(stride).take(count) {
            let (top, rest) = image.split_at_mut(row);
            let (inner, bottom) = rest.split_at_mut(height * row);
            top.fill(0.0);
            bottom.fill(0.0);
            for line in inner.chunks_exact_mut(row) {
                line[..channels].fill(0.0);
                line[row - channels..].fill(0.0);
            }
        }
    }

    /// Copies images of NHWC without a border, `[count, height, width, channels]` as given to [`reshape`](Self::reshape).
    pub(super) fn fill(&mut self, images: &[f32]) {
        let (row, channels) = (self.width * self.channels, self.channels);
        debug_assert_eq!(images.len(), self.count * self.height * row);
        let stride = self.image_stride();
        let padded = self.row_stride();
        for (from, to) in images
            .chunks_exact(self.height * row)
            .zip(self.data.chunks_exact_mut(stride))
        {
            for (from, to) in from.chunks_exact(row).zip(to[padded..].chunks_exact_mut(padded)) {
                to[channels..channels + row].copy_from_slice(from);
            }
        }
    }

    /// Rows of one image without their borders, `[width × channels]` each.
    pub(super) fn rows(&self, image: usize) -> impl Iterator<Item = &[f32]> {
        let (padded, row) = (self.row_stride(), self.width * self.channels);
        self.data[image * self.image_stride() + padded..]
            .chunks_exact(padded)
            .take(self.height)
            .map(move |line| &line[self.channels..self.channels + row])
    }

    /// Where channel 0 of pixel (`y`, `x`) stands, counted with the border: (1, 1) is the first inner pixel.
    pub(super) fn offset(&self, image: usize, y: usize, x: usize) -> usize {
        image * self.image_stride() + y * self.row_stride() + x * self.channels
    }

    /// Floats from one row to the next.
    pub(super) fn row_stride(&self) -> usize {
        (self.width + 2) * self.channels
    }

    fn image_stride(&self) -> usize {
        (self.height + 2) * self.row_stride()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Height, width, channels.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    pub(super) fn data(&self) -> &[f32] {
        &self.data
    }

    pub(super) fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }
}
