//! Bincode: values through serde, in the format of bincode 1 (legacy configuration), which other crates read too.
//!
//! (I1) a decoder allocates at most sixteen times the record, whatever lengths the bytes claim.

use bincode::config::legacy;
use serde::{Serialize, de::DeserializeOwned};

/// Why a value could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

/// Writes `value` behind what is in `out`.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, legacy()).map_err(|e| CodecError(e.to_string()))?;
    Ok(())
}

/// Reads the value that fills `payload`.
pub(crate) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, CodecError> {
    // The limit is what lengths inside the value may add up to, and it is a constant: the smallest that the payload fits.
    let decoded = match payload.len() {
        0..=0xff => limited::<T, 0xff>(payload),
        0x100..=0xfff => limited::<T, 0xfff>(payload),
        0x1000..=0xffff => limited::<T, 0xffff>(payload),
        0x1_0000..=0xf_ffff => limited::<T, 0xf_ffff>(payload),
        0x10_0000..=0xff_ffff => limited::<T, 0xff_ffff>(payload),
        _ => limited::<T, { 1 << 31 }>(payload),
    };
    let (value, used) = decoded.map_err(|e| CodecError(e.to_string()))?;
    if used != payload.len() {
        return Err(CodecError(format!("the value ends after {used} of {} bytes", payload.len())));
    }
    Ok(value)
}

fn limited<T: DeserializeOwned, const BYTES: usize>(
    payload: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(payload, legacy().with_limit::<BYTES>())
}
