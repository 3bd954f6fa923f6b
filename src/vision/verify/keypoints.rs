//! The keypoints of one preview, which cost more to find than all else that verification keeps of it.

use std::sync::Arc;

use super::describe::{self, Keypoint};
use super::detect;
use super::plane::Plane;
use crate::vision::wide::{Kernel, roomy};

/// About how many keypoints describe an image.
pub(super) const MOST: usize = 500;

/// The keypoints of an image; cheap to clone. They may be kept longer than the planes that they were found on, which are larger
/// and can be had again from the thumbnail.
#[derive(Debug, Clone)]
pub struct Keypoints {
    /// Bright corners first: corners of one kind are compared with each other only.
    all: Arc<[Keypoint]>,
    bright: usize,
}

impl Keypoints {
    /// Finds and describes those of a plane.
    pub(super) fn of(luma: &Plane) -> Self {
        roomy(Describe(luma))
    }

    pub(super) fn all(&self) -> &[Keypoint] {
        &self.all
    }

    /// How many of them, the first, are brighter than their surroundings.
    pub(super) fn bright(&self) -> usize {
        self.bright
    }

    /// Memory that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.all)
    }
}

/// Finds and describes the keypoints of a plane.
struct Describe<'a>(&'a Plane);

impl Kernel for Describe<'_> {
    type Output = Keypoints;

    #[inline(always)]
    fn call(self) -> Keypoints {
        let luma = self.0;
        let mut all = Vec::with_capacity(MOST + 64);
        let mut dark = Vec::with_capacity(MOST);
        let mut corners = Vec::with_capacity(MOST);
        for level in detect::levels(luma, MOST) {
            let size = (level.ratio[0] * level.ratio[1]).sqrt();
            corners.clear();
            for &detect::Corner { x, y, .. } in &level.corners {
                corners.push((x, y, describe::orientation(&level.plane, x, y)));
            }
            let described = describe::describe(&level.plane, &corners);
            for ((&(x, y, angle), bits), corner) in corners.iter().zip(described).zip(&level.corners) {
                let found = Keypoint {
                    at: [
                        (x as f32 + 0.5) * level.ratio[0],
                        (y as f32 + 0.5) * level.ratio[1],
                    ],
                    size,
                    angle,
                    bits,
                };
                let kind = if corner.dark { &mut dark } else { &mut all };
                kind.push(found);
            }
        }
        let bright = all.len();
        all.append(&mut dark);
        Keypoints {
            all: all.into(),
            bright,
        }
    }
}
