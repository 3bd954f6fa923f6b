//! Parts of polygons.

/// Horizontal, vertical.
pub(super) type Point = [f64; 2];

/// The part of a convex polygon that lies in the box from the origin to `limits` (Sutherland–Hodgman); empty when none does.
pub(super) fn clip(polygon: &[Point], limits: [f64; 2]) -> Vec<Point> {
    let mut polygon = polygon.to_vec();
    // inside where axis·sign ≤ limit·sign
    for (axis, limit, sign) in [
        (0, 0.0, -1.0),
        (0, limits[0], 1.0),
        (1, 0.0, -1.0),
        (1, limits[1], 1.0),
    ] {
        let excess = |p: &Point| (p[axis] - limit) * sign;
        let mut cut = Vec::with_capacity(polygon.len() + 1);
        for (i, p) in polygon.iter().enumerate() {
            let q = &polygon[(i + 1) % polygon.len()];
            let (ep, eq) = (excess(p), excess(q));
            if ep <= 0.0 {
                cut.push(*p);
            }
            if (ep <= 0.0) != (eq <= 0.0) {
                let t = ep / (ep - eq);
                cut.push([p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])]);
            }
        }
        polygon = cut;
    }
    polygon
}
