use candle_core::{Device, Tensor};

use super::*;
use crate::vision::network::{PackedNetwork, Weights};

const WEIGHTS: &[u8] = include_bytes!("../../../../../models/doppel-t.safetensors");
const ACTIVATIONS: &str = include_str!("../../../../../models/activations.json");

/// Whole numbers below `end`, the same on every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 40).expect("24 bits") % end
    }

    /// −.5 to .5.
    fn fraction(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 20) as f32 - 0.5
    }
}

/// One output code by the definition: whole numbers added one by one.
fn code(spec: &ConvSpec, layer: &Layer, steps: [f32; 2], x: &Plane<u8>, [image, y, x0, o]: [usize; 4]) -> u8 {
    let ConvSpec { input, shape, .. } = *spec;
    let rows = layer
        .weight
        .get(o)
        .expect("a channel")
        .to_vec3::<f32>()
        .expect("k × k × in");
    let bias = layer.bias.to_vec1::<f32>().expect("biases")[o];
    let largest = rows
        .iter()
        .flatten()
        .flatten()
        .fold(0.0_f32, |top, w| top.max(w.abs()));
    let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let shift = 1 - shape.kernel / 2;
    let mut sum = 0_i32;
    for i in 0..input {
        for (r, row) in rows[i].iter().enumerate() {
            for (c, weight) in row.iter().enumerate() {
                let at = x.offset(image, y * shape.stride + shift + r, x0 * shape.stride + shift + c) + i;
                sum += i32::from(x.data()[at]) * (weight / step).round() as i32;
            }
        }
    }
    let mut value = sum as f32 * (step * steps[0] / steps[1]) + (bias / steps[1] + 0.5);
    if shape.residual {
        value += f32::from(x.data()[x.offset(image, y + 1, x0 + 1) + o]) * (steps[0] / steps[1]);
    }
    value as u8
}

/// Every kernel of this machine, to the bit, on every kind of layer: channels that fill the registers and that do not,
/// sides that fill the tiles and that do not.
#[test]
fn layers_equal_the_definition() {
    let mut draw = Draw(1);
    for (kernel, stride, residual) in [(3, 2, false), (3, 1, true), (3, 1, false), (1, 1, false)] {
        for (input, output) in [(24, 48), (48, 48), (8, 33), (20, 20), (96, 64), (4, 1)] {
            if residual && input != output {
                continue;
            }
            for (count, height, width) in [(1, 10, 10), (2, 3, 7), (1, 1, 1)] {
                let shape = Shape {
                    kernel,
                    stride,
                    residual,
                };
                let spec = ConvSpec {
                    name: "test".to_owned(),
                    input,
                    output,
                    shape,
                };
                let weights: Vec<f32> = (0..output * input * kernel * kernel)
                    .map(|_| draw.fraction() / (kernel * kernel) as f32)
                    .collect();
                let bias: Vec<f32> = (0..output).map(|_| draw.fraction()).collect();
                let layer = Layer {
                    weight: Tensor::from_vec(weights, (output, input, kernel, kernel), &Device::Cpu)
                        .expect("as many as the shape has"),
                    bias: Tensor::from_vec(bias, output, &Device::Cpu).expect("as many as the shape has"),
                };
                let codes: Vec<u8> = (0..count * height * width * input)
                    .map(|_| u8::try_from(draw.below(256)).expect("a byte"))
                    .collect();
                let (mut from, mut to) = (Plane::default(), Plane::default());
                from.reshape(count, [height, width, input]);
                from.fill(&codes);
                let steps = [0.02, 0.015];
                for isa in Isa::supported() {
                    let packed = Int8Conv::new(isa, &spec, &layer, steps).expect("packs");
                    packed.run(&from, &mut to);
                    let mut seen = 0;
                    let [height, width, _] = to.shape();
                    for image in 0..count {
                        for (y, row) in to.rows(image).enumerate() {
                            for (x, pixel) in row.chunks_exact(output).enumerate() {
                                for (o, &got) in pixel.iter().enumerate() {
                                    let expected = code(&spec, &layer, steps, &from, [image, y, x, o]);
                                    assert_eq!(got, expected, "{} {spec:?} at {y}, {x}, {o}", isa.name());
                                    seen += 1;
                                }
                            }
                        }
                    }
                    assert_eq!(seen, count * height * width * output);
                }
            }
        }
    }
}

/// A picture of waves and edges, (x / 255 − .5) / .25.
fn pictures(count: usize, side: usize) -> Tensor {
    let mut draw = Draw(5);
    let mut data = Vec::new();
    for _ in 0..count {
        let waves: [f32; 6] = std::array::from_fn(|_| draw.fraction() * 0.4);
        let edge = draw.below(side as u32) as usize;
        for y in 0..side {
            for x in 0..side {
                for c in 0..3 {
                    let phase = x as f32 * waves[c] + y as f32 * waves[c + 3];
                    data.push(phase.sin() * if x > edge { 1.6 } else { 0.7 });
                }
            }
        }
    }
    Tensor::from_vec(data, (count, side, side, 3), &Device::Cpu).expect("as many as the shape has")
}

#[test]
fn the_network_points_where_the_one_in_f32_points() {
    let weights = Weights::from_safetensors(WEIGHTS).expect("the shipped weights load");
    let activations = Activations::from_json(ACTIVATIONS).expect("the shipped activations");
    let input = pictures(6, 160);
    for isa in Isa::supported() {
        let rows = |network: PackedNetwork| {
            let output = network.forward(&input).expect("runs");
            output.to_vec2::<f32>().expect("rows")
        };
        let exact = rows(PackedNetwork::new(&weights, isa).expect("packs"));
        let rounded = rows(PackedNetwork::in_eight_bits(&weights, &activations, isa).expect("packs"));
        for (a, b) in exact.iter().zip(&rounded) {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.99, "{cosine} on {}", isa.name());
        }
    }
}

#[test]
fn activations_that_do_not_fit_are_refused() {
    let refused = |text: &str| {
        Activations::from_json(text)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(refused("{}").is_err_and(|r| r.contains("missing field")));
    let zero = r#"{"model_sha256": "", "largest": {"stem": 0.0}}"#;
    assert!(refused(zero).is_err_and(|r| r.contains("stem is 0")));
    let weights = Weights::from_safetensors(WEIGHTS).expect("the shipped weights load");
    let few = Activations::from_json(r#"{"model_sha256": "", "largest": {"stem": 1.0}}"#).expect("reads");
    let error = PackedNetwork::in_eight_bits(&weights, &few, Isa::active()).map(|_| ());
    assert!(error.is_err_and(|e| e.to_string().contains("activations of stage1.down")));
}
