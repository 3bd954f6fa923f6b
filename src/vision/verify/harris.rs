//! Harris' response of corners (Harris and Stephens, "A combined corner and edge detector", 1988), from sums that move down
//! an image with the window.

use super::plane::Plane;

/// Half the window of Harris' response.
pub(super) const REACH: usize = 3;

/// Responses that are computed side by side.
pub(super) const RESPONSES: usize = 8;

/// Products of the gradients, summed over the rows of the window, one sum a column, and room for whole lanes.
pub(super) struct Columns {
    xx: Vec<i32>,
    xy: Vec<i32>,
    yy: Vec<i32>,
}

impl Columns {
    #[inline(always)]
    pub(super) fn new(width: usize) -> Self {
        let [xx, xy, yy] = [(); 3].map(|()| vec![0; width + RESPONSES]);
        Self { xx, xy, yy }
    }

    /// Forgets all sums; planes that come next are no wider than before.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        for sums in [&mut self.xx, &mut self.xy, &mut self.yy] {
            sums.fill(0);
        }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, plane: &Plane, y: usize) {
        let row = Gradients::of(plane, y);
        let (xx, xy, yy) = self.sums(row.right.len());
        for x in 0..row.right.len() {
            let (gx, gy) = row.at(x);
            xx[x] += gx * gx;
            xy[x] += gx * gy;
            yy[x] += gy * gy;
        }
    }

    /// Moves the window down by a row: `y` becomes its middle.
    #[inline(always)]
    pub(super) fn advance(&mut self, plane: &Plane, y: usize) {
        let (new, old) = (
            Gradients::of(plane, y + REACH),
            Gradients::of(plane, y - REACH - 1),
        );
        let (xx, xy, yy) = self.sums(new.right.len());
        for x in 0..new.right.len() {
            let ((gx, gy), (hx, hy)) = (new.at(x), old.at(x));
            xx[x] += gx * gx - hx * hx;
            xy[x] += gx * gy - hx * hy;
            yy[x] += gy * gy - hy * hy;
        }
    }

    /// The sums of the columns that have gradients.
    #[inline(always)]
    fn sums(&mut self, inner: usize) -> (&mut [i32], &mut [i32], &mut [i32]) {
        (
            &mut self.xx[1..=inner],
            &mut self.xy[1..=inner],
            &mut self.yy[1..=inner],
        )
    }

    /// The responses from column `x` on.
    #[inline(always)]
    pub(super) fn responses(&self, x: usize) -> [f32; RESPONSES] {
        let (xx, xy, yy) = (summed(&self.xx, x), summed(&self.xy, x), summed(&self.yy, x));
        let mut responses = [0.0; RESPONSES];
        for lane in 0..RESPONSES {
            let (xx, xy, yy) = (xx[lane] as f32, xy[lane] as f32, yy[lane] as f32);
            responses[lane] = xx * yy - xy * xy - 0.04 * (xx + yy) * (xx + yy);
        }
        responses
    }
}

/// The neighbours of one row's pixels, all but the first and the last.
struct Gradients<'a> {
    left: &'a [u8],
    right: &'a [u8],
    above: &'a [u8],
    below: &'a [u8],
}

impl<'a> Gradients<'a> {
    #[inline(always)]
    fn of(plane: &'a Plane, y: usize) -> Self {
        let inner = plane.width - 2;
        Self {
            left: &plane.row(y)[..inner],
            right: &plane.row(y)[2..],
            above: &plane.row(y - 1)[1..=inner],
            below: &plane.row(y + 1)[1..=inner],
        }
    }

    #[inline(always)]
    fn at(&self, x: usize) -> (i32, i32) {
        let gx = i32::from(i16::from(self.right[x]) - i16::from(self.left[x]));
        let gy = i32::from(i16::from(self.below[x]) - i16::from(self.above[x]));
        (gx, gy)
    }
}

/// Sums over the window's columns, for places from `x` on.
#[inline(always)]
fn summed(columns: &[i32], x: usize) -> [i32; RESPONSES] {
    let columns = &columns[x - REACH..x + REACH + RESPONSES];
    let mut sums = [0; RESPONSES];
    for step in 0..=2 * REACH {
        for lane in 0..RESPONSES {
            sums[lane] += columns[step + lane];
        }
    }
    sums
}
