use std::collections::HashMap;

use candle_core::{Device, IndexOp as _, Tensor};

use super::*;
use crate::vision::network::description::ModelDescription;

/// Tensors under names, with values that repeat.
struct Made {
    tensors: HashMap<String, Tensor>,
    seed: u64,
}

impl Made {
    fn new() -> Self {
        Self {
            tensors: HashMap::new(),
            seed: 7,
        }
    }

    /// Uniform in `low..high`.
    fn put(&mut self, name: &str, dims: &[usize], low: f32, high: f32) {
        let values: Vec<f32> = (0..dims.iter().product())
            .map(|_| {
                self.seed = self
                    .seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                low + (high - low) * (self.seed >> 40) as f32 / (1_u64 << 24) as f32
            })
            .collect();
        let tensor = Tensor::from_vec(values, dims, &Device::Cpu).expect("as many values as the shape has");
        self.tensors.insert(name.to_owned(), tensor);
    }

    fn conv(&mut self, name: &str, dims: [usize; 4]) {
        let reach = (3.0 / (dims[1] * dims[2] * dims[3]) as f32).sqrt();
        self.put(&format!("{name}.weight"), &dims, -reach, reach);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for (part, low, high) in [
            ("weight", 0.5, 1.5),
            ("bias", -0.3, 0.5),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.3, 1.2),
        ] {
            self.put(&format!("{name}.{part}"), &[channels], low, high);
        }
    }

    fn file(&self) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("made.safetensors");
        candle_core::safetensors::save(&self.tensors, &path).expect("writes");
        std::fs::read(path).expect("reads")
    }

    /// A convolution in candle's own operations.
    fn stock(&self, x: &Tensor, name: &str, stride: usize) -> Tensor {
        let weight = &self.tensors[&format!("{name}.weight")];
        let pad = weight.dims()[2] / 2;
        x.conv2d(weight, pad, stride, 1, 1).expect("convolves")
    }

    /// Batch normalisation in candle's own operations.
    fn normed(&self, x: &Tensor, name: &str) -> Tensor {
        let part = |part: &str| {
            let tensor = &self.tensors[&format!("{name}.{part}")];
            tensor
                .reshape((1, tensor.elem_count(), 1, 1))
                .expect("one value a channel")
        };
        let deviation = (part("running_var") + 1e-5)
            .and_then(|v| v.sqrt())
            .expect("positive");
        x.broadcast_sub(&part("running_mean"))
            .and_then(|x| x.broadcast_div(&deviation))
            .and_then(|x| x.broadcast_mul(&part("weight")))
            .and_then(|x| x.broadcast_add(&part("bias")))
            .expect("shapes fit")
    }
}

fn description(architecture: &str, dim: usize, rest: &str) -> ModelDescription {
    let text = format!(
        "weights = \"w.safetensors\"\narchitecture = \"{architecture}\"\ninput_size = 64\nmean = [0.5, 0.5, 0.5]\n\
         std = [0.25, 0.25, 0.25]\ndim = {dim}\n{rest}"
    );
    ModelDescription::from_toml(&text).expect("a description")
}

fn relu(x: &Tensor) -> Tensor {
    x.relu().expect("runs")
}

/// Pictures `[2, 3, 64, 64]`, and the same as `[2, 64, 64, 3]`.
fn input() -> (Tensor, Tensor) {
    let mut made = Made::new();
    made.put("x", &[2, 3, 64, 64], -2.0, 2.0);
    let nchw = made.tensors["x"].clone();
    let nhwc = nchw
        .permute((0, 2, 3, 1))
        .and_then(|x| x.contiguous())
        .expect("four dimensions");
    (nchw, nhwc)
}

fn unit(x: &Tensor) -> Tensor {
    let norm = x.sqr().and_then(|x| x.sum_keepdim(1)).and_then(|x| x.sqrt());
    x.broadcast_div(&norm.expect("runs")).expect("runs")
}

fn assert_equal(description: &ModelDescription, made: &Made, expected: &Tensor) {
    let (_, nhwc) = input();
    for isa in Isa::supported() {
        let network = DescribedNetwork::new(description, &made.file(), isa).expect("loads");
        let got = unit(&network.forward(&nhwc).expect("runs"));
        assert_eq!(got.dims(), expected.dims());
        let gap: f32 = (got - unit(expected))
            .and_then(|gap| gap.abs()?.max_all()?.to_scalar())
            .expect("tensors of one shape");
        assert!(gap < 1e-4, "{gap} with {}", isa.name());
    }
}

/// Maximum of 3 × 3 with stride 2, by its definition.
fn pooled(x: &Tensor) -> Tensor {
    let (count, channels, height, width) = x.dims4().expect("four dimensions");
    let (oh, ow) = (height.div_ceil(2), width.div_ceil(2));
    let mut out = Vec::new();
    for n in 0..count {
        for c in 0..channels {
            let plane: Vec<Vec<f32>> = x.i((n, c)).and_then(|p| p.to_vec2()).expect("a plane");
            for oy in 0..oh {
                for ox in 0..ow {
                    let rows = (2 * oy).saturating_sub(1)..(2 * oy + 2).min(height);
                    let most = rows
                        .flat_map(|y| &plane[y][(2 * ox).saturating_sub(1)..(2 * ox + 2).min(width)])
                        .fold(f32::MIN, |most, v| most.max(*v));
                    out.push(most);
                }
            }
        }
    }
    Tensor::from_vec(out, (count, channels, oh, ow), &Device::Cpu).expect("as many values")
}

/// Blocks of a small network: name, input, middle and output channels, stride.
const BLOCKS: [(&str, [usize; 3], usize); 5] = [
    ("layer1.0", [8, 8, 8], 1),
    ("layer1.1", [8, 8, 8], 1),
    ("layer2.0", [8, 12, 12], 2),
    ("layer3.0", [12, 16, 16], 2),
    ("layer4.0", [16, 20, 20], 2),
];

fn resnet_stem(made: &mut Made, x: &Tensor) -> Tensor {
    made.conv("conv1", [8, 3, 7, 7]);
    made.norm("bn1", 8);
    pooled(&relu(&made.normed(&made.stock(x, "conv1", 2), "bn1")))
}

#[test]
fn a_resnet_of_basic_blocks_equals_stock_candle() {
    let mut made = Made::new();
    let mut x = resnet_stem(&mut made, &input().0);
    for (name, [input, _, output], stride) in BLOCKS {
        made.conv(&format!("{name}.conv1"), [output, input, 3, 3]);
        made.norm(&format!("{name}.bn1"), output);
        made.conv(&format!("{name}.conv2"), [output, output, 3, 3]);
        made.norm(&format!("{name}.bn2"), output);
        let y = relu(&made.normed(
            &made.stock(&x, &format!("{name}.conv1"), stride),
            &format!("{name}.bn1"),
        ));
        let y = made.normed(
            &made.stock(&y, &format!("{name}.conv2"), 1),
            &format!("{name}.bn2"),
        );
        x = shortcut(&mut made, &x, y, name, [input, output], stride);
    }
    made.put("fc.weight", &[6, 20], -0.5, 0.5);
    made.put("fc.bias", &[6], -0.1, 0.1);
    let mean = x.mean((2, 3)).expect("runs");
    let expected = mean
        .matmul(&made.tensors["fc.weight"].t().expect("a matrix"))
        .and_then(|y| y.broadcast_add(&made.tensors["fc.bias"]))
        .expect("runs");
    assert_equal(&description("resnet", 6, "linear = \"fc\""), &made, &expected);
    assert_equal(&description("resnet", 20, ""), &made, &mean);
    let gem = x
        .clamp(1e-6, f32::MAX)
        .and_then(|x| x.powf(3.0)?.mean((2, 3))?.powf(1.0 / 3.0))
        .expect("runs");
    assert_equal(&description("resnet", 20, "pooling = \"gem\""), &made, &gem);

    let refused = |description: &ModelDescription, made: &Made| {
        let isa = Isa::active();
        DescribedNetwork::new(description, &made.file(), isa)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(
        refused(&description("resnet", 21, ""), &made)
            .is_err_and(|r| r.contains("it gives 20 components, its description says 21"))
    );
    assert!(refused(&description("repvgg", 20, ""), &made).is_err_and(|r| r.contains("stage0")));
    made.tensors.remove("layer3.0.bn2.running_var");
    assert!(
        refused(&description("resnet", 20, ""), &made)
            .is_err_and(|r| r.contains("it has no tensor layer3.0.bn2.running_var"))
    );
}

fn shortcut(
    made: &mut Made,
    x: &Tensor,
    y: Tensor,
    name: &str,
    [input, output]: [usize; 2],
    stride: usize,
) -> Tensor {
    let passed = if input == output && stride == 1 {
        x.clone()
    } else {
        made.conv(&format!("{name}.downsample.0"), [output, input, 1, 1]);
        made.norm(&format!("{name}.downsample.1"), output);
        let conv = made.stock(x, &format!("{name}.downsample.0"), stride);
        made.normed(&conv, &format!("{name}.downsample.1"))
    };
    relu(&(y + passed).expect("one shape"))
}

#[test]
fn a_resnet_of_bottlenecks_equals_stock_candle() {
    let mut made = Made::new();
    let mut x = resnet_stem(&mut made, &input().0);
    for (name, [input, middle, output], stride) in BLOCKS {
        let (middle, dims) = (middle / 2, [(1, 1), (3, stride), (1, 1)]);
        let channels = [input, middle, middle, output];
        let mut y = x.clone();
        for (i, (kernel, stride)) in dims.into_iter().enumerate() {
            let (conv, norm) = (format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1));
            made.conv(&conv, [channels[i + 1], channels[i], kernel, kernel]);
            made.norm(&norm, channels[i + 1]);
            y = made.normed(&made.stock(&y, &conv, stride), &norm);
            if i < 2 {
                y = relu(&y);
            }
        }
        x = shortcut(&mut made, &x, y, name, [input, output], stride);
    }
    let expected = x.mean((2, 3)).expect("runs");
    assert_equal(&description("resnet", 20, ""), &made, &expected);
}

#[test]
fn a_repvgg_equals_its_branches_in_stock_candle() {
    let blocks = [
        ("stage0", 3, 8, 2),
        ("stage1.0", 8, 8, 2),
        ("stage1.1", 8, 8, 1),
        ("stage2.0", 8, 12, 2),
        ("stage3.0", 12, 16, 2),
        ("stage3.1", 16, 16, 1),
        ("stage4.0", 16, 24, 2),
    ];
    let mut made = Made::new();
    let mut x = input().0;
    for (name, input, output, stride) in blocks {
        made.conv(&format!("{name}.rbr_dense.conv"), [output, input, 3, 3]);
        made.norm(&format!("{name}.rbr_dense.bn"), output);
        made.conv(&format!("{name}.rbr_1x1.conv"), [output, input, 1, 1]);
        made.norm(&format!("{name}.rbr_1x1.bn"), output);
        let branch = |made: &Made, branch: &str| {
            let conv = made.stock(&x, &format!("{name}.{branch}.conv"), stride);
            made.normed(&conv, &format!("{name}.{branch}.bn"))
        };
        let mut y = (branch(&made, "rbr_dense") + branch(&made, "rbr_1x1")).expect("one shape");
        if input == output && stride == 1 {
            made.norm(&format!("{name}.rbr_identity"), output);
            y = (y + made.normed(&x, &format!("{name}.rbr_identity"))).expect("one shape");
        }
        x = relu(&y);
    }
    let expected = x.mean((2, 3)).expect("runs");
    assert_equal(&description("repvgg", 24, ""), &made, &expected);
}

#[test]
fn a_deployed_repvgg_is_taken_as_it_is() {
    let mut made = Made::new();
    let mut x = input().0;
    for (name, input, output) in [
        ("stage0", 3, 8),
        ("stage1.0", 8, 8),
        ("stage2.0", 8, 8),
        ("stage3.0", 8, 8),
        ("stage4.0", 8, 16),
    ] {
        let name = format!("{name}.rbr_reparam");
        made.conv(&name, [output, input, 3, 3]);
        made.put(&format!("{name}.bias"), &[output], -0.1, 0.4);
        let bias = made.tensors[&format!("{name}.bias")]
            .reshape((1, output, 1, 1))
            .expect("one value a channel");
        x = relu(&made.stock(&x, &name, 2).broadcast_add(&bias).expect("one shape"));
    }
    let expected = x.mean((2, 3)).expect("runs");
    assert_equal(&description("repvgg", 16, ""), &made, &expected);
}

#[test]
fn a_description_says_what_is_wrong_with_it_and_is_part_of_the_hash() {
    let refused = |text: &str| {
        ModelDescription::from_toml(text)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(refused("weights = 1").is_err_and(|r| r.contains("unusable weights: its description")));
    let whole = "weights = \"w\"\narchitecture = \"resnet\"\ninput_size = 64\nmean = [0.5, 0.5, 0.5]\n\
                 std = [0.25, 0.25, 0.25]\ndim = 8\n";
    assert_eq!(refused(whole), Ok(()));
    assert!(refused(&whole.replace("64", "7")).is_err_and(|r| r.contains("input_size is 7")));
    assert!(refused(&whole.replace("0.25, 0.25, 0.25", "0.25, 0.0, 0.25")).is_err_and(|r| r.contains("std")));
    assert!(refused(&whole.replace("resnet", "vit")).is_err_and(|r| r.contains("vit")));
    assert!(refused(&format!("{whole}poolin = \"gem\"")).is_err_and(|r| r.contains("poolin")));
    let hash = |text: &str, weights: &[u8]| {
        ModelDescription::from_toml(text)
            .expect("a description")
            .model_hash(weights)
    };
    assert_eq!(
        hash(whole, b"w"),
        hash(&whole.replace("\"w\"", "\"elsewhere\""), b"w")
    );
    assert_ne!(hash(whole, b"w"), hash(whole, b"v"));
    assert_ne!(
        hash(whole, b"w"),
        hash(&whole.replace("0.5, 0.5", "0.5, 0.4"), b"w")
    );
}
