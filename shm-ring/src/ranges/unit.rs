//! Unit: the smallest part of a ranged file, a power of two of bytes, so that whoever counts in units shifts and masks.
//!
//! (I1) a power of two.
//! Computes; knows no file.

/// How large a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    log2: u32,
}

impl Unit {
    /// Of so many bytes: 1, 64 or 4096 (`layout/mapped.rs` takes nothing else for a header).
    pub(crate) fn new(bytes: u64) -> Self {
        assert!(bytes.is_power_of_two(), "the header was checked");
        Self { log2: bytes.trailing_zeros() }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn bytes(self) -> u64 {
        1 << self.log2
    }

    /// Whole units in so many bytes.
    #[inline]
    pub(crate) fn floor(self, bytes: u64) -> u64 {
        bytes >> self.log2
    }

    /// Units that so many bytes need.
    #[inline]
    pub(crate) fn ceil(self, bytes: u64) -> u64 {
        self.floor(bytes) + u64::from(self.rest(bytes) != 0)
    }

    /// Bytes behind the last whole unit.
    #[inline]
    pub(crate) fn rest(self, bytes: u64) -> u64 {
        bytes & (self.bytes() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is shifted is what a division would be. Method: every unit, bytes around its multiples and at the ends of the type.
    #[test]
    fn units_are_what_divisions_say() {
        for bytes in [1, 64, 4096] {
            let unit = Unit::new(bytes);
            assert_eq!(unit.bytes(), bytes);
            for n in [0, 1, 2, 63, 64, 65, 127, 4095, 4096, 4097, 1 << 40, u64::MAX - 1, u64::MAX] {
                assert_eq!(unit.floor(n), n / bytes);
                assert_eq!(unit.ceil(n), n.div_ceil(bytes));
                assert_eq!(unit.rest(n), n % bytes);
            }
        }
    }
}
