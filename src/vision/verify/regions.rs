//! Boxes around what differs.

use crate::types::Region;

/// The boxes (left, right, top, bottom) as regions of an image of this width and height, whatever touches joined, largest first.
pub(super) fn regions(mut boxes: Vec<[f32; 4]>, [width, height]: [f32; 2]) -> Vec<Region> {
    let mut i = 0;
    while i < boxes.len() {
        let touching = (i + 1..boxes.len()).find(|&j| touches(boxes[i], boxes[j]));
        if let Some(j) = touching {
            let (one, other) = (boxes[i], boxes.swap_remove(j));
            boxes[i] = [
                one[0].min(other[0]),
                one[1].max(other[1]),
                one[2].min(other[2]),
                one[3].max(other[3]),
            ];
            i = 0;
        } else {
            i += 1;
        }
    }
    let mut regions: Vec<Region> = boxes
        .into_iter()
        .map(|[left, right, top, bottom]| Region {
            x: left / width,
            y: top / height,
            width: (right - left) / width,
            height: (bottom - top) / height,
        })
        .collect();
    regions.sort_by(|p, q| {
        (q.width * q.height)
            .total_cmp(&(p.width * p.height))
            .then(p.y.total_cmp(&q.y))
            .then(p.x.total_cmp(&q.x))
    });
    regions
}

fn touches(p: [f32; 4], q: [f32; 4]) -> bool {
    p[0] <= q[1] && q[0] <= p[1] && p[2] <= q[3] && q[2] <= p[3]
}
