//! Affine maps between pixel coordinates.

/// `x' = a·x + b·y + c`, `y' = d·x + e·y + f`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine(pub(super) [f64; 6]);

impl Affine {
    #[cfg(test)]
    const IDENTITY: Self = Self([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);

    pub(super) fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [a, b, c, d, e, f] = self.0;
        [a * x + b * y + c, d * x + e * y + f]
    }

    /// First `self`, then `next`.
    pub(super) fn then(&self, next: &Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [p, q, r, s, t, u] = next.0;
        Self([
            p * a + q * d,
            p * b + q * e,
            p * c + q * f + r,
            s * a + t * d,
            s * b + t * e,
            s * c + t * f + u,
        ])
    }

    pub(super) fn scaling(x: f64, y: f64) -> Self {
        Self([x, 0.0, 0.0, 0.0, y, 0.0])
    }

    pub(super) fn determinant(&self) -> f64 {
        let [a, b, _, d, e, _] = self.0;
        a * e - b * d
    }

    /// `None` when the map flattens the plane.
    pub(super) fn inverse(&self) -> Option<Self> {
        let det = self.determinant();
        if !det.is_finite() || det.abs() < 1e-9 {
            return None;
        }
        let [a, b, c, d, e, f] = self.0;
        Some(Self([
            e / det,
            -b / det,
            (b * f - c * e) / det,
            -d / det,
            a / det,
            (c * d - a * f) / det,
        ]))
    }

    /// How far apart the places are, at most, that two maps carry some points to, pixels of the target.
    pub(super) fn apart<const N: usize>(&self, other: &Self, points: [[f64; 2]; N]) -> f64 {
        let distances = points.map(|point| {
            let ([x, y], [u, v]) = (self.apply(point), other.apply(point));
            (x - u).hypot(y - v)
        });
        distances.into_iter().fold(0.0, f64::max)
    }

    /// Square root of the change of area.
    pub(super) fn scale(&self) -> f64 {
        self.determinant().abs().sqrt()
    }

    /// Singular values, larger first: how much the map stretches.
    pub(super) fn stretch(&self) -> (f64, f64) {
        let [a, b, _, d, e, _] = self.0;
        let sum = (a * a + b * b + d * d + e * e) / 2.0;
        let det = self.determinant();
        let root = (sum * sum - det * det).max(0.0).sqrt();
        ((sum + root).sqrt(), (sum - root).max(0.0).sqrt())
    }

    pub(super) fn mirrored(&self) -> bool {
        self.determinant() < 0.0
    }

    /// Rotation of the content in degrees, −180 to 180, counter-clockwise as seen (y points down), after
    /// undoing a mirror of the x axis.
    pub(super) fn rotation(&self) -> f64 {
        let [a, b, _, d, e, _] = self.0;
        let (a, d) = if self.mirrored() { (-a, -d) } else { (a, d) };
        // The rotation nearest to the matrix [a b; d e].
        -(d - b).atan2(a + e).to_degrees()
    }
}

/// Solves the symmetric positive system `matrix · x = rhs` by Cholesky; `None` when it is singular.
pub(super) fn solve<const N: usize>(mut matrix: [[f64; N]; N], mut rhs: [f64; N]) -> Option<[f64; N]> {
    for i in 0..N {
        for j in 0..=i {
            let mut sum = matrix[i][j];
            for k in 0..j {
                sum -= matrix[i][k] * matrix[j][k];
            }
            if i == j {
                if sum.is_nan() || sum <= 1e-12 {
                    return None;
                }
                matrix[i][i] = sum.sqrt();
            } else {
                matrix[i][j] = sum / matrix[j][j];
            }
        }
    }
    for i in 0..N {
        for k in 0..i {
            rhs[i] -= matrix[i][k] * rhs[k];
        }
        rhs[i] /= matrix[i][i];
    }
    for i in (0..N).rev() {
        for k in i + 1..N {
            rhs[i] -= matrix[k][i] * rhs[k];
        }
        rhs[i] /= matrix[i][i];
    }
    Some(rhs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_and_composition_agree() {
        let map = Affine([0.9, -0.3, 12.0, 0.2, 1.1, -7.0]);
        let back = map.then(&map.inverse().expect("it is regular"));
        for (got, want) in back.0.iter().zip(Affine::IDENTITY.0) {
            assert!((got - want).abs() < 1e-9);
        }
    }

    #[test]
    fn rotation_is_counter_clockwise_as_seen() {
        // Content turned counter-clockwise by 90°: the right end goes to the top.
        let turned = Affine([0.0, 1.0, 0.0, -1.0, 0.0, 100.0]);
        assert!((turned.rotation() - 90.0).abs() < 1e-6);
        assert!(!turned.mirrored());
        let flipped = Affine([-1.0, 0.0, 100.0, 0.0, 1.0, 0.0]);
        assert!(flipped.mirrored() && flipped.rotation().abs() < 1e-6);
    }

    #[test]
    fn solves_a_small_system() {
        let x = solve([[4.0, 2.0], [2.0, 3.0]], [10.0, 9.0]).expect("positive definite");
        assert!((x[0] - 1.5).abs() < 1e-9 && (x[1] - 2.0).abs() < 1e-9);
        assert!(solve([[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]).is_none());
    }
}
