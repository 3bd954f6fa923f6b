//! ResNet (He et al., CVPR 2016) with torchvision's names: basic or bottleneck blocks.
//!
//! The first convolution (7×7) runs in candle's own operations, all others packed.

use candle_core::{Result, Tensor};

use super::description::ModelDescription;
use super::packed::{Isa, PackedConv};
use super::spec::{Shape, unusable};
use super::stock::GEM_EPS;
use super::tensors::{Tensors, identity};
use super::weights::Layer;
use crate::vision::VisionError;

/// Stages of blocks.
const STAGES: usize = 4;

/// A residual network, ready to run.
#[derive(Debug)]
pub(super) struct Resnet {
    stem: Layer,
    blocks: Vec<Block>,
    fc: Layer,
    exponent: f64,
}

/// Convolutions one after the other, added to what came in.
#[derive(Debug)]
struct Block {
    convolutions: Vec<PackedConv>,
    /// Where shape or width changes.
    shortcut: Option<PackedConv>,
}

/// Where a block stands, while it is read.
struct Place<'a> {
    tensors: &'a Tensors,
    isa: &'static Isa,
    name: String,
    input: usize,
    stride: usize,
}

impl Resnet {
    /// Reads a network and packs it.
    pub(super) fn load(
        tensors: &Tensors,
        description: &ModelDescription,
        isa: &'static Isa,
    ) -> std::result::Result<Self, VisionError> {
        let stem = tensors.normalised("conv1", "bn1")?;
        let [width, 3, 7, 7] = *stem.weight.dims() else {
            return Err(unusable(format!(
                "conv1.weight has the shape {:?}, [_, 3, 7, 7] is expected",
                stem.weight.dims()
            )));
        };
        let mut channels = width;
        let mut blocks = Vec::new();
        for stage in 1..=STAGES {
            let mut index = 0;
            while tensors.has(&format!("layer{stage}.{index}.conv1.weight")) {
                let place = Place {
                    tensors,
                    isa,
                    name: format!("layer{stage}.{index}"),
                    input: channels,
                    stride: if stage > 1 && index == 0 { 2 } else { 1 },
                };
                let (block, output) = place.block()?;
                blocks.push(block);
                channels = output;
                index += 1;
            }
            if index == 0 {
                return Err(unusable(format!("it has no block layer{stage}.0")));
            }
        }
        let fc = match &description.linear {
            Some(name) => tensors.linear(name, [description.dim, channels])?,
            None if channels == description.dim => identity(channels)?,
            None => {
                return Err(unusable(format!(
                    "it gives {channels} components, its description says {}",
                    description.dim
                )));
            }
        };
        Ok(Self {
            stem,
            blocks,
            fc,
            exponent: f64::from(description.exponent()),
        })
    }

    /// Embeds a batch: contiguous f32 `[n, height, width, 3]` to `[n, dim]`, rows of any length.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let channels = self.stem.bias.elem_count();
        let x = input
            .permute((0, 3, 1, 2))?
            .contiguous()?
            .conv2d(&self.stem.weight, 3, 2, 1, 1)?
            .broadcast_add(&self.stem.bias.reshape((1, channels, 1, 1))?)?
            .relu()?;
        // After ReLU a border of zeros changes no maximum.
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = x
            .max_pool2d_with_stride(3, 2)?
            .permute((0, 2, 3, 1))?
            .contiguous()?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let pooled = x
            .clamp(GEM_EPS, f32::MAX)?
            .powf(self.exponent)?
            .mean((1, 2))?
            .powf(1.0 / self.exponent)?;
        pooled.matmul(&self.fc.weight.t()?)?.broadcast_add(&self.fc.bias)
    }
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for convolution in &self.convolutions {
            y = y.apply_op1_no_bwd(convolution)?;
        }
        let x = match &self.shortcut {
            Some(shortcut) => x.apply_op1_no_bwd(shortcut)?,
            None => x.clone(),
        };
        (y + x)?.relu()
    }
}

impl Place<'_> {
    /// Basic: 3×3, 3×3. Bottleneck: 1×1, 3×3, 1×1. The stride is in the first 3×3. Answers the output channels too.
    fn block(&self) -> std::result::Result<(Block, usize), VisionError> {
        let bottleneck = self.tensors.has(&format!("{}.conv3.weight", self.name));
        let shapes: &[(usize, usize)] = if bottleneck {
            &[(1, 1), (3, self.stride), (1, 1)]
        } else {
            &[(3, self.stride), (3, 1)]
        };
        let mut channels = self.input;
        let mut convolutions = Vec::new();
        for (i, &(kernel, stride)) in shapes.iter().enumerate() {
            let names = [format!("conv{}", i + 1), format!("bn{}", i + 1)];
            let is_last = i + 1 == shapes.len();
            let (packed, output) = self.convolution(names, (kernel, stride), channels, !is_last)?;
            convolutions.push(packed);
            channels = output;
        }
        let shortcut = if self.tensors.has(&format!("{}.downsample.0.weight", self.name)) {
            let names = ["downsample.0", "downsample.1"].map(str::to_owned);
            let (packed, output) = self.convolution(names, (1, self.stride), self.input, false)?;
            if output != channels {
                return Err(unusable(format!(
                    "{}.downsample gives {output} channels, the block {channels}",
                    self.name
                )));
            }
            Some(packed)
        } else if channels == self.input && self.stride == 1 {
            None
        } else {
            return Err(unusable(format!(
                "it has no tensor {}.downsample.0.weight",
                self.name
            )));
        };
        let block = Block {
            convolutions,
            shortcut,
        };
        Ok((block, channels))
    }

    fn convolution(
        &self,
        [conv, norm]: [String; 2],
        (kernel, stride): (usize, usize),
        input: usize,
        relu: bool,
    ) -> std::result::Result<(PackedConv, usize), VisionError> {
        let name = format!("{}.{conv}", self.name);
        let layer = self.tensors.normalised(&name, &format!("{}.{norm}", self.name))?;
        let dims = layer.weight.dims();
        let output = dims[0];
        if dims != [output, input, kernel, kernel] {
            return Err(unusable(format!(
                "{name}.weight has the shape {dims:?}, {:?} is expected",
                [output, input, kernel, kernel]
            )));
        }
        let shape = Shape {
            kernel,
            stride,
            residual: false,
        };
        let packed = PackedConv::new(self.isa, shape, relu, (&layer.weight, &layer.bias))
            .map_err(|e| unusable(e.to_string()))?;
        Ok((packed, output))
    }
}
