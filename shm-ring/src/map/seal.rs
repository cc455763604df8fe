//! Seal: the words that say that a mapped file is finished, stored and read.
//!
//! ```text
//!   crc of the data --> data to the medium --> length, crc, crc of both --> to the medium --> state SEALED --> to the medium
//! ```
//!
//! (I1) the state is stored last, and the words before it are covered by a checksum of their own: who dies in between leaves an open
//! file, also on the medium; (I2) data that was cut off while its checksum was computed is not sealed.
//! Takes no lock: its caller is the only writer.

use super::growable::Growable;
use crate::layout::header::Malformed;
use crate::layout::mapped::{Live, OPEN, SEALED, Seal};
use crate::sync::Ordering;
use std::io;

/// What the live page says; `None`: the file is open.
pub(crate) fn load(live: &Live, uuid: &[u8; 16]) -> Result<Option<Seal>, Malformed> {
    let words = &live.seal.0;
    // ORDER S2 (Acquire, pairs with S1): the other words, and the data that they are about.
    let state = words.state.load(Ordering::Acquire);
    let rest = [&words.sealed_len, &words.data_crc, &words.seal_crc];
    // ORDER none (Relaxed): behind the state, see S2.
    let [len_bytes, data_crc, seal_crc] = rest.map(|word| word.load(Ordering::Relaxed));
    Seal::decode([state, len_bytes, data_crc, seal_crc], uuid)
}

/// Whether somebody began to seal an open file, and did not live to finish.
pub(crate) fn is_begun(live: &Live) -> bool {
    let words = &live.seal.0;
    // ORDER none (Relaxed): shown.
    words.state.load(Ordering::Relaxed) == OPEN
        && [&words.sealed_len, &words.data_crc, &words.seal_crc]
            .iter()
            .any(|word| word.load(Ordering::Relaxed) != 0)
}

/// Seals the first `len_bytes` of the data, which nobody writes any more. After an error the file may be sealed: the medium may have the
/// state although it did not say so.
///
/// # Safety
/// - the mapping is writable, and its owner is the only writer of the file;
/// - nobody writes these bytes while this runs.
pub(crate) unsafe fn store(map: &Growable, uuid: &[u8; 16], len_bytes: u64) -> io::Result<Seal> {
    let length = usize::try_from(len_bytes).expect("below the mapped length, which fits");
    // SAFETY: not written while this runs: the caller's obligation.
    let data_crc = crc32c::crc32c(unsafe { map.bytes(0, length) });
    if map.was_hit() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    map.sync_data(0, len_bytes)?;
    let seal = Seal { len_bytes, data_crc };
    let words = &map.live().seal.0;
    for (word, value) in
        [&words.sealed_len, &words.data_crc, &words.seal_crc].into_iter().zip(seal.encode(uuid))
    {
        // ORDER none (Relaxed): before the state, see S1.
        word.store(value, Ordering::Relaxed);
    }
    // On the medium the state has nothing to wait for but this.
    map.sync_live()?;
    // ORDER S1 (Release, pairs with S2): the words above, and the data that they are about.
    words.state.store(SEALED, Ordering::Release);
    map.sync_live()?;
    Ok(seal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::mapped::{Extent, Kind};
    use crate::map::mirror::Access;

    // Goal: a seal that was stored is read, and covers what it says. Method: store, load, flip a word.
    #[test]
    fn a_stored_seal_is_read() {
        let (uuid, file) = (*b"0123456789abcdef", tempfile::tempfile().unwrap());
        let extent = Extent::new(Kind::Append, 4096).unwrap();
        file.set_len(3 * 4096).unwrap();
        let map = Growable::new(&file, extent, 3 * 4096, 0, Access::ReadWrite).unwrap();
        // SAFETY: nobody else has the file.
        unsafe { map.bytes_mut(0, 9) }.copy_from_slice(b"123456789");
        assert_eq!(load(map.live(), &uuid), Ok(None));
        // SAFETY: the same.
        let seal = unsafe { store(&map, &uuid, 9) }.unwrap();
        // The check value of crc32c.
        assert_eq!(seal, Seal { len_bytes: 9, data_crc: 0xe306_9283 });
        assert_eq!(load(map.live(), &uuid), Ok(Some(seal)));
        map.live().seal.0.sealed_len.store(8, Ordering::Relaxed);
        assert!(load(map.live(), &uuid).is_err());
    }
}
