//! Script: the fuzzer's bytes, read as choices.
//!
//! (I1) every script ends, and yields zeros from then on; (I2) one byte is one choice, so that small edits of the input stay small.

/// What is left of the fuzzer's bytes.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether nothing is left.
    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is left, as it is.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `n` bytes, or as many as there are, as a script of their own.
    pub fn split(&mut self, n: usize) -> Self {
        let (first, rest) = self.bytes.split_at(n.min(self.bytes.len()));
        self.bytes = rest;
        Self { bytes: first }
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.split(1).bytes.first().copied().unwrap_or(0)
    }

    /// A choice below `n`, which is at most 256.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A word as it stands in the input.
    pub fn raw(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// A word that is likely to mean something: an edge, or one close to a word that stands in the ring.
    pub fn word(&mut self, near: &[u64]) -> u64 {
        let kind = self.byte();
        let close = |this: &mut Self| if near.is_empty() { 0 } else { near[this.below(near.len())] };
        match kind % 14 {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => (1u64 << 63).wrapping_add_signed(i64::from(self.byte() as i8) * 16),
            4 => close(self),
            5 => close(self).wrapping_add_signed(i64::from(self.byte() as i8)),
            6 => close(self).wrapping_add_signed(i64::from(self.byte() as i8) * 16),
            7 => close(self).wrapping_add(u64::from(self.short()) * 16),
            8 => close(self) ^ 1 << (self.byte() % 64),
            9 => u64::MAX - u64::from(self.byte()),
            10 => u64::from(self.byte()),
            11 => u64::from(self.short()) * 16,
            12 => (1u64 << 63).wrapping_sub(u64::from(self.short()) * 16),
            _ => self.raw(),
        }
    }
}
