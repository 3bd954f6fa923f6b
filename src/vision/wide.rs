//! Loops compiled twice: for any processor, and with the vector instructions that most have; those that count bits once more,
//! with the instructions that count those of a whole vector. Answers are the same to the bit.

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

/// The same with AVX-512 where the processor has it: for loops that keep more sums than sixteen registers hold.
pub(super) fn roomy<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx512) = pulp::x86::V4::try_new() {
        return avx512.vectorize(kernel);
    }
    wide(kernel)
}

/// The whole part of a number from 0 to 2²², as a cast gives it: casts are done one by one, and this side by side.
#[inline(always)]
pub(super) fn whole(number: f32) -> i32 {
    /// 2²³: what is added to it keeps no fraction.
    const LARGE: f32 = 8_388_608.0;
    let nearest = number + LARGE;
    let is_above = nearest - LARGE > number;
    (nearest.to_bits().wrapping_sub(LARGE.to_bits())).cast_signed() - i32::from(is_above)
}

#[cfg(target_arch = "x86_64")]
pulp::simd_type! {
    /// AVX-512 with a population count of every lane.
    #[allow(unsafe_code, reason = "written by the macro, which asks the processor before it makes a value")]
    struct Counting {
        avx512f: "avx512f",
        avx512vpopcntdq: "avx512vpopcntdq",
        popcnt: "popcnt",
    }
}

/// Runs a kernel that counts the bits of eight lanes at a time; `None` on a processor that would do so one by one.
#[cfg(target_arch = "x86_64")]
pub(super) fn counting<K: Kernel>(kernel: K) -> Option<K::Output> {
    Counting::try_new().map(|counting| counting.vectorize(kernel))
}

/// No such instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn counting<K: Kernel>(_: K) -> Option<K::Output> {
    None
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn whole_is_the_cast() {
        for step in 0..(1 << 21) {
            let number = step as f32 / 4096.0;
            for number in [
                number,
                number.next_down().max(0.0),
                number.next_up(),
                number * 8192.0,
            ] {
                assert_eq!(whole(number), number as i32, "{number}");
            }
        }
        assert_eq!(whole(-0.0), 0);
    }
}
