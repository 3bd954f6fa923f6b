use candle_core::{DType, Device, Tensor};

use super::*;

const WEIGHTS: &[u8] = include_bytes!("../../../models/doppel-t.safetensors");
const PARITY: &[u8] = include_bytes!("../../../models/parity.safetensors");

fn largest_gap(a: &Tensor, b: &Tensor) -> f32 {
    (a - b)
        .and_then(|gap| gap.abs()?.max_all()?.to_scalar())
        .expect("tensors of one shape")
}

#[test]
fn equals_the_training_framework() {
    let network = StockNetwork::new(Weights::from_safetensors(WEIGHTS).expect("the shipped weights load"));
    let shipped =
        candle_core::safetensors::load_buffer(PARITY, &Device::Cpu).expect("the parity tensors load");
    for side in [96, 160] {
        let input = shipped[&format!("input_{side}")]
            .to_dtype(DType::F32)
            .expect("f16 to f32");
        let output = network.forward(&input).expect("runs");
        let gap = largest_gap(&output, &shipped[&format!("embedding_{side}")]);
        assert!(gap < 1e-4, "{gap} at {side}");
    }
}
