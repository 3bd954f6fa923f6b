//! RepVGG (Ding et al., CVPR 2021): 3×3 convolutions and ReLU. The three branches of training become one convolution.

use candle_core::{Device, Tensor};

use super::description::ModelDescription;
use super::packed::{Isa, PackedNetwork};
use super::spec::{ConvSpec, Shape, unusable};
use super::tensors::{Tensors, identity, layer};
use super::weights::Layer;
use crate::vision::VisionError;

/// Stages after `stage0`.
const STAGES: usize = 4;

/// Reads a RepVGG and packs it.
pub(super) fn load(
    tensors: &Tensors,
    description: &ModelDescription,
    isa: &'static Isa,
) -> Result<PackedNetwork, VisionError> {
    let mut convolutions = vec![block(tensors, "stage0", 2)?];
    for stage in 1..=STAGES {
        let mut index = 0;
        while is_block(tensors, &format!("stage{stage}.{index}")) {
            let stride = if index == 0 { 2 } else { 1 };
            convolutions.push(block(tensors, &format!("stage{stage}.{index}"), stride)?);
            index += 1;
        }
        if index == 0 {
            return Err(unusable(format!("it has no block stage{stage}.0")));
        }
    }
    for pair in convolutions.windows(2) {
        if pair[0].0.output != pair[1].0.input {
            return Err(unusable(format!(
                "{} takes {} channels, {} come in",
                pair[1].0.name, pair[1].0.input, pair[0].0.output
            )));
        }
    }
    if convolutions[0].0.input != 3 {
        return Err(unusable(format!(
            "stage0 takes {} channels, not 3",
            convolutions[0].0.input
        )));
    }
    let channels = convolutions.last().map_or(0, |(spec, _)| spec.output);
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
    PackedNetwork::from_layers(isa, &convolutions, &fc, description.exponent())
        .map_err(|e| unusable(e.to_string()))
}

fn is_block(tensors: &Tensors, name: &str) -> bool {
    tensors.has(&format!("{name}.rbr_dense.conv.weight"))
        || tensors.has(&format!("{name}.rbr_reparam.weight"))
}

fn block(tensors: &Tensors, name: &str, stride: usize) -> Result<(ConvSpec, Layer), VisionError> {
    let deployed = format!("{name}.rbr_reparam");
    let layer = if tensors.has(&format!("{deployed}.weight")) {
        tensors.plain(&deployed)?
    } else {
        branches(tensors, name)?
    };
    let (output, input, 3, 3) = layer
        .weight
        .dims4()
        .map_err(|_| unusable(format!("{name} is no convolution")))?
    else {
        return Err(unusable(format!(
            "the convolution of {name} is not 3 × 3 or has groups"
        )));
    };
    let spec = ConvSpec {
        name: name.to_owned(),
        input,
        output,
        shape: Shape {
            kernel: 3,
            stride,
            residual: false,
        },
    };
    Ok((spec, layer))
}

/// The sum of the 3×3, the 1×1 and the identity branch, each with its normalisation, as one 3×3 convolution.
fn branches(tensors: &Tensors, name: &str) -> Result<Layer, VisionError> {
    let dense = tensors.normalised(&format!("{name}.rbr_dense.conv"), &format!("{name}.rbr_dense.bn"))?;
    let point = tensors.normalised(&format!("{name}.rbr_1x1.conv"), &format!("{name}.rbr_1x1.bn"))?;
    let failed = |e: candle_core::Error| unusable(format!("{name}: {e}"));
    // In the middle of a 3×3 kernel of zeros.
    let centred = |weight: &Tensor| weight.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1);
    let mut weight = centred(&point.weight)
        .and_then(|point| &dense.weight + point)
        .map_err(failed)?;
    let mut bias = (&dense.bias + &point.bias).map_err(failed)?;
    let norm = format!("{name}.rbr_identity");
    if tensors.has(&format!("{norm}.weight")) {
        let (output, input, ..) = weight.dims4().map_err(failed)?;
        if output != input {
            return Err(unusable(format!("{norm} carries {input} channels onto {output}")));
        }
        let pass = Tensor::eye(output, candle_core::DType::F32, &Device::Cpu)
            .and_then(|eye| eye.reshape((output, output, 1, 1)))
            .map_err(failed)?;
        let pass = tensors.folded(&norm, &pass, &vec![0.0; output])?;
        weight = centred(&pass.weight)
            .and_then(|pass| &weight + pass)
            .map_err(failed)?;
        bias = (&bias + &pass.bias).map_err(failed)?;
    }
    layer(&weight, bias.to_vec1().map_err(failed)?)
}
