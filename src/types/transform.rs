//! Geometry that relates one image to another.

/// Affine map from pixel coordinates of image A to those of image B, both in **relative units**
/// (0 to 1 along the width and the height), so it holds at any resolution.
///
/// `x' = m[0]·x + m[1]·y + m[2]`, `y' = m[3]·x + m[4]·y + m[5]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform {
    /// Row-major 2×3 matrix.
    pub matrix: [f64; 6],
    /// Rotation of the content in degrees, −180 to 180, counter-clockwise as seen, measured in pixels (not in
    /// relative units), after undoing a mirror.
    pub rotation: f32,
    /// Scale from A to B in pixels of the originals; 0.5 means that B shows the content at half the size.
    pub scale: f32,
    /// Whether B shows A mirrored.
    pub mirrored: bool,
}

impl Transform {
    /// The map of an image onto itself.
    pub const IDENTITY: Self = Self {
        matrix: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        rotation: 0.0,
        scale: 1.0,
        mirrored: false,
    };

    /// Maps a point given in relative units.
    #[must_use]
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.matrix;
        [a * x + b * y + c, d * x + e * y + f]
    }

    /// The map from B back to A; `None` when this one flattens the plane.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let [a, b, c, d, e, f] = self.matrix;
        let det = a * e - b * d;
        if !det.is_finite() || det.abs() < 1e-12 {
            return None;
        }
        // A turn undone is the opposite turn; seen in a mirror it is the same.
        let rotation = if self.mirrored {
            self.rotation
        } else {
            -self.rotation
        };
        Some(Self {
            matrix: [
                e / det,
                -b / det,
                (b * f - c * e) / det,
                -d / det,
                a / det,
                (c * d - a * f) / det,
            ],
            rotation,
            scale: 1.0 / self.scale,
            mirrored: self.mirrored,
        })
    }

    /// Pixels of the second image for a pixel of the first, along a side, for images of so many pixels.
    #[must_use]
    pub fn scale_between(&self, first: f64, second: f64) -> f64 {
        let [m0, m1, _, m3, m4, _] = self.matrix;
        ((m0 * m4 - m1 * m3).abs() * second / first.max(1.0)).sqrt()
    }
}

/// Axis-aligned rectangle in relative units, 0 to 1, origin at the top left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inverse_leads_back() {
        let there = Transform {
            matrix: [0.4, -0.2, 0.3, 0.1, 0.7, -0.1],
            rotation: 20.0,
            scale: 0.5,
            mirrored: false,
        };
        let back = there.inverse().expect("it is regular");
        let [x, y] = back.apply(there.apply([0.3, 0.8]));
        assert!((x - 0.3).abs() < 1e-9 && (y - 0.8).abs() < 1e-9);
        assert_eq!((back.rotation, back.scale), (-20.0, 2.0));
        let flat = Transform {
            matrix: [1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
            ..there
        };
        assert_eq!(flat.inverse(), None);
    }
}
