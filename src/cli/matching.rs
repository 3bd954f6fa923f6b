//! A match in JSON, the same for every command.

use serde::Serialize;

use crate::dedup::{Lineage, Match};
use crate::types::{Region, Transform};
use crate::vision::lineage::Side;

#[derive(Debug, Serialize)]
pub(super) struct MatchJson {
    class: &'static str,
    probability: f32,
    similarity: f32,
    stage: &'static str,
    transform: Option<TransformJson>,
    overlap: Option<f32>,
    evidence: EvidenceJson,
}

#[derive(Debug, Serialize)]
struct TransformJson {
    matrix: [f64; 6],
    rotation: f32,
    scale: f32,
    mirrored: bool,
}

#[derive(Debug, Serialize)]
struct EvidenceJson {
    pdq_distance: Option<u32>,
    overlap_a: Option<f32>,
    overlap_b: Option<f32>,
    inliers: Option<u32>,
    tiles_agreeing: Option<u32>,
    tiles_disagreeing: Option<u32>,
    correlation: Option<f32>,
    displacement: Option<f32>,
    changed: Vec<RegionJson>,
    held_back: Option<&'static str>,
    lineage: Option<LineageJson>,
}

/// Which of the two was made from the other, and what shows it; without both where that was looked for and nothing tells.
#[derive(Debug, Serialize)]
struct LineageJson {
    later: Option<&'static str>,
    sign: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct RegionJson {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
}

impl MatchJson {
    pub(super) fn of(found: &Match) -> Self {
        let evidence = &found.evidence;
        Self {
            class: found.class.as_str(),
            probability: found.probability,
            similarity: found.similarity.get(),
            stage: found.stage.as_str(),
            transform: found.transform.map(TransformJson::of),
            overlap: found.overlap,
            evidence: EvidenceJson {
                pdq_distance: evidence.pdq_distance,
                overlap_a: evidence.overlap_a,
                overlap_b: evidence.overlap_b,
                inliers: evidence.inliers,
                tiles_agreeing: evidence.tiles_agreeing,
                tiles_disagreeing: evidence.tiles_disagreeing,
                correlation: evidence.correlation,
                displacement: evidence.displacement,
                changed: evidence.changed.iter().map(RegionJson::of).collect(),
                held_back: evidence.held_back.map(|gate| gate.as_str()),
                lineage: evidence.lineage.map(LineageJson::of),
            },
        }
    }
}

impl TransformJson {
    fn of(transform: Transform) -> Self {
        Self {
            matrix: transform.matrix,
            rotation: transform.rotation,
            scale: transform.scale,
            mirrored: transform.mirrored,
        }
    }
}

impl LineageJson {
    fn of(lineage: Lineage) -> Self {
        match lineage {
            Lineage::Known(later) => Self {
                later: Some(match later.side {
                    Side::First => "first",
                    Side::Second => "second",
                }),
                sign: Some(later.sign.as_str()),
            },
            Lineage::Open => Self {
                later: None,
                sign: None,
            },
        }
    }
}

impl RegionJson {
    fn of(region: &Region) -> Self {
        Self {
            x: region.x,
            y: region.y,
            width: region.width,
            height: region.height,
        }
    }
}
