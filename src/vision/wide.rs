//! Loops compiled twice: for any processor, and with the vector instructions that most have. Answers are the same to the bit.

pub(super) use pulp::NullaryFnOnce as Kernel;

/// Runs a kernel with AVX2 and population counts where the processor has them. Whatever the kernel calls has to be inlined
/// into it to profit.
pub(super) fn wide<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = pulp::x86::V3::try_new() {
        return avx2.vectorize(kernel);
    }
    kernel.call()
}
