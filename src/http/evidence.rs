//! The evidence of a match as JSON: members that were not measured are left out.

use serde_json::{Map, Value, json};

use crate::dedup::Evidence;

pub(super) fn to_json(evidence: &Evidence) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    };
    put("pdq_distance", evidence.pdq_distance.map(Value::from));
    put("overlap_a", evidence.overlap_a.map(Value::from));
    put("overlap_b", evidence.overlap_b.map(Value::from));
    put("inliers", evidence.inliers.map(Value::from));
    put("tiles_agreeing", evidence.tiles_agreeing.map(Value::from));
    put("tiles_disagreeing", evidence.tiles_disagreeing.map(Value::from));
    put("correlation", evidence.correlation.map(Value::from));
    put("displacement", evidence.displacement.map(Value::from));
    let changed: Vec<Value> = evidence
        .changed
        .iter()
        .map(|region| json!({"x": region.x, "y": region.y, "width": region.width, "height": region.height}))
        .collect();
    put("changed", (!changed.is_empty()).then_some(Value::Array(changed)));
    put(
        "held_back",
        evidence.held_back.map(|gate| Value::from(gate.as_str())),
    );
    Value::Object(members)
}
