use candle_core::{DType, Device, Tensor};

use super::spec::{ConvSpec, Shape};
use super::stock::convolution;
use super::weights::Layer;
use super::*;

const WEIGHTS: &[u8] = include_bytes!("../../../models/doppel-t.safetensors");
/// The shipped networks, and what the training framework says that they answer.
const PARITY: [[&[u8]; 2]; 2] = [
    [WEIGHTS, include_bytes!("../../../models/parity.safetensors")],
    [
        include_bytes!("../../../models/doppel-s/doppel-s.safetensors"),
        include_bytes!("../../../models/doppel-s/parity.safetensors"),
    ],
];

fn largest_gap(a: &Tensor, b: &Tensor) -> f32 {
    (a - b)
        .and_then(|gap| gap.abs()?.max_all()?.to_scalar())
        .expect("tensors of one shape")
}

#[test]
fn equals_the_training_framework() {
    for [weights, parity] in PARITY {
        let network =
            StockNetwork::new(Weights::from_safetensors(weights).expect("the shipped weights load"));
        let shipped =
            candle_core::safetensors::load_buffer(parity, &Device::Cpu).expect("the parity tensors load");
        for side in [96, 160] {
            let input = shipped[&format!("input_{side}")]
                .to_dtype(DType::F32)
                .expect("f16 to f32");
            let output = network.forward(&input).expect("runs");
            let gap = largest_gap(&output, &shipped[&format!("embedding_{side}")]);
            assert!(gap < 1e-4, "{gap} at {side}");
        }
    }
}

/// Uniform in −0.5..0.5, the same on every run.
fn noise(seed: u64, dims: &[usize]) -> Tensor {
    let mut state = seed;
    let values: Vec<f32> = (0..dims.iter().product::<usize>())
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect();
    Tensor::from_vec(values, dims, &Device::Cpu).expect("as many values as the shape has")
}

fn nhwc(x: &Tensor) -> Tensor {
    x.permute((0, 2, 3, 1))
        .and_then(|x| x.contiguous())
        .expect("four dimensions")
}

/// Every instruction set of this machine, on every kind of layer: channels that fill the registers and that do not,
/// sides that fill the tiles and that do not, one image and several.
#[test]
fn packed_layers_equal_stock_ones() {
    let kinds = [
        (3, 2, false),
        (3, 1, true),
        (3, 1, false),
        (1, 1, false),
        (1, 1, true),
        (1, 2, false),
    ];
    for isa in Isa::supported() {
        for (kernel, stride, residual) in kinds {
            for (input, output) in [
                (3, 24),
                (24, 48),
                (48, 48),
                (7, 33),
                (32, 64),
                (96, 96),
                (1, 1),
                (64, 64),
            ] {
                if residual && input != output {
                    continue;
                }
                for (count, height, width) in [
                    (1, 10, 10),
                    (3, 7, 13),
                    (1, 1, 1),
                    (16, 4, 4),
                    (2, 2, 9),
                    (1, 23, 5),
                ] {
                    let shape = Shape {
                        kernel,
                        stride,
                        residual,
                    };
                    let scale = 1.0 / (kernel * kernel * input) as f64;
                    let layer = Layer {
                        weight: (noise(1, &[output, input, kernel, kernel]) * (4.0 * scale.sqrt()))
                            .expect("scales"),
                        bias: noise(2, &[output]),
                    };
                    let x = noise(3, &[count, input, height, width]);
                    let spec = ConvSpec {
                        name: "test".to_owned(),
                        input,
                        output,
                        shape,
                    };
                    let expected = nhwc(&convolution(&spec, &layer, &x).expect("runs"));
                    let packed =
                        PackedConv::new(isa, shape, true, (&layer.weight, &layer.bias)).expect("packs");
                    let got = nhwc(&x).apply_op1_no_bwd(&packed).expect("runs");
                    assert_eq!(got.dims(), expected.dims());
                    let gap = largest_gap(&got, &expected);
                    // Outputs reach 1.5 here; Winograd's transforms cost a digit.
                    assert!(
                        gap < 3e-5,
                        "{gap}: {} {shape:?} {input} to {output}, {count} × {height} × {width}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn packed_network_equals_the_stock_one() {
    let weights = Weights::from_safetensors(WEIGHTS).expect("the shipped weights load");
    let stock = StockNetwork::new(weights.clone());
    for (count, side) in [(1, 160), (16, 160), (5, 96), (1, 33)] {
        let input = (noise(9, &[count, 3, side, side]) * 3.0).expect("scales");
        let expected = stock.forward(&input).expect("runs");
        for isa in Isa::supported() {
            let packed = PackedNetwork::new(&weights, isa).expect("packs");
            let gap = largest_gap(&packed.forward(&nhwc(&input)).expect("runs"), &expected);
            assert!(gap < 1e-5, "{gap}: {} {count} × {side}", isa.name());
        }
    }
}
