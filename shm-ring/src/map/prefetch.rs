//! Prefetch: telling the processor what is about to be read, so that it does not wait for it then.
//!
//! (I1) a hint: nothing is read, nothing faults, nothing is waited for; where there is no such instruction, nothing is done.

/// Bytes of a processor's cache line.
const LINE_BYTES: usize = 64;

/// The line in which a value begins.
#[inline(always)]
pub(crate) fn line_of<T>(value: &T) {
    line(std::ptr::from_ref(value).cast());
}

/// The first two lines of a value.
#[inline(always)]
pub(crate) fn lines_of<T>(value: &T) {
    let first = std::ptr::from_ref(value).cast::<u8>();
    line(first);
    line(first.wrapping_add(LINE_BYTES));
}

/// The first bytes, and the last one, if they are few.
#[inline(always)]
pub(crate) fn bytes(bytes: &[u8]) {
    let first = bytes.as_ptr();
    line(first);
    line(first.wrapping_add(bytes.len().clamp(1, LINE_BYTES) - 1));
}

#[inline(always)]
fn line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and faults nowhere, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
