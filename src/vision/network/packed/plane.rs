//! Activations between two layers: NHWC with a border of one zero pixel, so that windows need no edge cases.

/// Makes a buffer at least `length` long. It never shrinks, so that what is written over anyway is not cleared again.
pub(super) fn grow<T: Copy + Default>(buffer: &mut Vec<T>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, T::default());
    }
}

/// Where the pixels of `count` images stand, each `height` × `width` × `channels` inside a border one pixel wide.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Grid {
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
}

impl Grid {
    /// Where channel 0 of pixel (`y`, `x`) stands, counted with the border: (1, 1) is the first inner pixel.
    pub(super) fn offset(&self, image: usize, y: usize, x: usize) -> usize {
        image * self.image_stride() + y * self.row_stride() + x * self.channels
    }

    /// Values from one row to the next.
    pub(super) fn row_stride(&self) -> usize {
        (self.width + 2) * self.channels
    }

    fn image_stride(&self) -> usize {
        (self.height + 2) * self.row_stride()
    }

    /// Height, width, channels.
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }
}

/// Images inside borders of zeros: f32, or the codes of eight bits that stand for them.
#[derive(Debug, Default)]
pub(super) struct Plane<T = f32> {
    grid: Grid,
    data: Vec<T>,
}

impl<T: Copy + Default> Plane<T> {
    /// Takes a new shape and clears the borders; what is inside them is left to be written. Memory is reused.
    pub(super) fn reshape(&mut self, count: usize, [height, width, channels]: [usize; 3]) {
        self.grid = Grid {
            count,
            height,
            width,
            channels,
        };
        let row = self.row_stride();
        let stride = self.grid.image_stride();
        grow(&mut self.data, count * stride);
        for image in self.data.chunks_exact_mut(stride).take(count) {
            let (top, rest) = image.split_at_mut(row);
            let (inner, bottom) = rest.split_at_mut(height * row);
            top.fill(T::default());
            bottom.fill(T::default());
            for line in inner.chunks_exact_mut(row) {
                line[..channels].fill(T::default());
                line[row - channels..].fill(T::default());
            }
        }
    }

    /// Copies images of NHWC without a border, `[count, height, width, channels]` as given to [`reshape`](Self::reshape).
    pub(super) fn fill(&mut self, images: &[T]) {
        let [height, width, channels] = self.shape();
        let row = width * channels;
        debug_assert_eq!(images.len(), self.count() * height * row);
        let stride = self.grid.image_stride();
        let padded = self.row_stride();
        for (from, to) in images
            .chunks_exact(height * row)
            .zip(self.data.chunks_exact_mut(stride))
        {
            for (from, to) in from.chunks_exact(row).zip(to[padded..].chunks_exact_mut(padded)) {
                to[channels..channels + row].copy_from_slice(from);
            }
        }
    }

    /// Rows of one image without their borders, `[width × channels]` each.
    pub(super) fn rows(&self, image: usize) -> impl Iterator<Item = &[T]> {
        let (padded, [height, width, channels]) = (self.row_stride(), self.shape());
        self.data[image * self.grid.image_stride() + padded..]
            .chunks_exact(padded)
            .take(height)
            .map(move |line| &line[channels..channels + width * channels])
    }

    /// The same rows, to be written.
    pub(super) fn rows_mut(&mut self, image: usize) -> impl Iterator<Item = &mut [T]> {
        let (padded, [height, width, channels]) = (self.row_stride(), self.shape());
        let start = image * self.grid.image_stride() + padded;
        self.data[start..]
            .chunks_exact_mut(padded)
            .take(height)
            .map(move |line| &mut line[channels..channels + width * channels])
    }

    /// Where its pixels stand.
    pub(super) fn grid(&self) -> Grid {
        self.grid
    }

    /// As [`Grid::offset`].
    pub(super) fn offset(&self, image: usize, y: usize, x: usize) -> usize {
        self.grid.offset(image, y, x)
    }

    /// As [`Grid::row_stride`].
    pub(super) fn row_stride(&self) -> usize {
        self.grid.row_stride()
    }

    pub(super) fn count(&self) -> usize {
        self.grid.count
    }

    /// Height, width, channels.
    pub(super) fn shape(&self) -> [usize; 3] {
        self.grid.shape()
    }

    pub(super) fn data(&self) -> &[T] {
        &self.data
    }

    pub(super) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
}
