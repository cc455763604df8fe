//! Clock: the three times that the library uses, and its random numbers.
//!
//! (I1) liveness never depends on a clock; (I2) waiting uses the monotonic one, records the wall clock.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the Unix epoch, for a record's timestamp.
pub(crate) fn realtime_ns() -> u64 {
    ns(ClockId::CLOCK_REALTIME)
}

/// Nanoseconds since some moment of this boot, the same for all processes.
pub(crate) fn monotonic_ns() -> u64 {
    ns(ClockId::CLOCK_MONOTONIC)
}

fn ns(clock: ClockId) -> u64 {
    // Both clocks exist on every Linux and are positive; a wall clock set before 1970 reads as 1970.
    let Ok(time) = clock_gettime(clock) else { return 0 };
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

/// This boot's id, as the kernel names it; zeros where /proc is missing.
pub(crate) fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|h| u64::from_str_radix(h, 16).ok()).unwrap_or(0);
    [half(0..16), half(16..32)]
}

/// Whether two ids are of one boot, as far as is known: zeros, because /proc could not be read then or now, are no sign of a restart.
pub(crate) fn is_one_boot(one: [u64; 2], other: [u64; 2]) -> bool {
    one == other || one == [0, 0] || other == [0, 0]
}

/// A new random name (version 4, variant 1, as RFC 9562 wants it), and a secret.
pub(crate) fn uuid() -> std::io::Result<([u8; 16], u64)> {
    let random = random()?;
    let (uuid, secret) = random.split_at(16);
    let mut uuid: [u8; 16] = uuid.try_into().expect("24 bytes are 16 and 8");
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok((uuid, u64::from_le_bytes(secret.try_into().expect("24 bytes are 16 and 8"))))
}

/// Random bytes from the kernel.
pub(crate) fn random() -> std::io::Result<[u8; 24]> {
    use std::io::Read;
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
